//! `berth engine`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use berth_engine::Engine;
use berth_error::Report;
use tokio::sync::broadcast::error::RecvError;

use crate::cli::EngineArgs;
use crate::daemon::Daemon;
use crate::dev::event::DevEvent;
use crate::dev::pump;
use crate::dev::screen::Screen;
use crate::paths::Paths;
use crate::signals::Signals;

/// Serves until a signal comes. When this returns nothing of the session remains.
pub(crate) async fn run(args: EngineArgs, paths: Paths) -> Result<ExitCode, Report> {
    let screen = if args.json {
        Screen::Json
    } else {
        Screen::Text
    };
    let (mut signals, mut first) = (Signals::listen()?, Signals::listen()?);
    let outcome = tokio::select! {
        outcome = Box::pin(serve(&args, &paths, screen, &mut first)) => outcome,
        // The first signal ends the daemon in order; this one while it starts or ends.
        () = signals.second() => Ok(ExitCode::from(130)),
    };
    berth_engine::sweep(&paths.sessions())?;
    match (outcome, screen) {
        (Err(report), Screen::Json) => {
            screen.show(&DevEvent::Error {
                message: report.render(),
            });
            Ok(ExitCode::FAILURE)
        }
        (outcome, _) => outcome,
    }
}

async fn serve(
    args: &EngineArgs,
    paths: &Paths,
    screen: Screen,
    signals: &mut Signals,
) -> Result<ExitCode, Report> {
    let began = Instant::now();
    let limit = args.store_limit.images_max_size;
    let start = Box::pin(Daemon::start(
        paths,
        args.socket.as_deref(),
        limit,
        Vec::new(),
        None,
    ));
    let daemon = tokio::select! {
        started = start => started?,
        () = signals.next() => return Ok(ExitCode::from(130)),
    };
    let show = tokio::spawn(show(daemon.host.engine.clone(), screen));
    screen.show(&DevEvent::EngineReady {
        docker_host: daemon.docker_host(),
        docker_bin: daemon.docker.display().to_string(),
        session: daemon.host.session.id.clone(),
        elapsed_ms: milliseconds(began.elapsed()),
    });
    signals.next().await;
    screen.show(&DevEvent::Leaving);
    show.abort();
    // Only tells that it was aborted.
    let _ = show.await;
    daemon.end().await;
    Ok(ExitCode::SUCCESS)
}

/// Shows what containers do and write.
async fn show(engine: Engine, screen: Screen) {
    let mut events = engine.events();
    loop {
        match events.recv().await {
            Ok(event) => {
                if let Some(event) = pump::container(&event) {
                    screen.show(&event);
                }
            }
            Err(RecvError::Lagged(lost)) => screen.show(&pump::lost(lost)),
            Err(RecvError::Closed) => return,
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
