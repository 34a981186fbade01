//! The loop of a dev session: waits for a changed file, a key or a signal, and acts.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use berth_error::Report;

use super::event::DevEvent;
use super::keys::{Key, Keys};
use super::screen::Screen;
use super::session::DevSession;
use super::watch::FileWatcher;
use super::{bindings, pump};
use crate::cli::DevArgs;
use crate::paths::Paths;
use crate::printer;
use crate::signals::Signals;

/// Runs a session until it is told to end. When this returns nothing of the session remains.
pub(crate) async fn run(args: &DevArgs, paths: &Paths, screen: Screen) -> Result<ExitCode, Report> {
    let (mut signals, mut first) = (Signals::listen()?, Signals::listen()?);
    let outcome = tokio::select! {
        outcome = Box::pin(live(args, paths, screen, &mut first)) => outcome,
        // The first signal is the inner loop's, which ends the session in order; while it starts
        // or ends, this one drops everything where it is.
        () = signals.second() => Ok(ExitCode::from(130)),
    };
    // What was dropped half-way, a killed session of the past: anything without a living owner.
    berth_engine::sweep(&paths.sessions())?;
    outcome
}

async fn live(
    args: &DevArgs,
    paths: &Paths,
    screen: Screen,
    signals: &mut Signals,
) -> Result<ExitCode, Report> {
    let began = Instant::now();
    let start = Box::pin(DevSession::start(args, paths, screen));
    let (mut session, streams, watch) = tokio::select! {
        started = start => started?,
        () = signals.next() => return Ok(ExitCode::from(130)),
    };
    screen.show(&DevEvent::Ready {
        url: session.url(),
        control: session.socket().display().to_string(),
        session: session.id().to_owned(),
        elapsed_ms: milliseconds(began.elapsed()),
        bindings: bindings::table(&session.project),
    });
    let pump = pump::start(&session, streams, screen);
    let outcome = interact(&mut session, watch, screen, signals).await;
    screen.show(&DevEvent::Leaving);
    pump.abort();
    // Only tells that it was aborted.
    let _ = pump.await;
    session.end().await;
    outcome
}

async fn interact(
    session: &mut DevSession,
    watch: Vec<PathBuf>,
    screen: Screen,
    signals: &mut Signals,
) -> Result<ExitCode, Report> {
    let mut keys = Keys::listen();
    let mut watcher = FileWatcher::new()?;
    watcher.watch(watch.into_iter().chain(session.config_files()));
    if keys.available() {
        help(screen);
    }
    loop {
        tokio::select! {
            () = signals.next() => return Ok(ExitCode::SUCCESS),
            changed = watcher.changed() => {
                tracing::debug!(?changed, "reloading");
                tokio::select! {
                    () = reload(session, &mut watcher, screen) => {}
                    () = signals.next() => return Ok(ExitCode::SUCCESS),
                }
            }
            key = keys.next() => match key {
                Key::Leave => return Ok(ExitCode::SUCCESS),
                Key::Clear => for_people(screen, "\x1b[2J\x1b[3J\x1b[H"),
                Key::Open => open_browser(&session.url(), screen),
                Key::Help => help(screen),
                Key::Rebuild => tokio::select! {
                    () = rebuild(session, screen) => {}
                    () = signals.next() => return Ok(ExitCode::SUCCESS),
                },
            },
        }
    }
}

async fn reload(session: &mut DevSession, watcher: &mut FileWatcher, screen: Screen) {
    let began = Instant::now();
    match session.reload().await {
        Ok((watch, replaced)) => {
            watcher.watch(watch.into_iter().chain(session.config_files()));
            if replaced {
                screen.show(&DevEvent::Reloaded {
                    elapsed_ms: milliseconds(began.elapsed()),
                });
            }
        }
        Err(report) => screen.show(&DevEvent::Error {
            message: report.render(),
        }),
    }
}

async fn rebuild(session: &mut DevSession, screen: Screen) {
    match session.rebuild().await {
        Ok(stopped) => screen.show(&DevEvent::Rebuilt { stopped }),
        Err(report) => screen.show(&DevEvent::Error {
            message: report.render(),
        }),
    }
}

fn help(screen: Screen) {
    for_people(
        screen,
        "[r] rebuild and restart containers  [o] open browser  [c] clear  [x] leave",
    );
}

/// Tools get events and nothing else.
fn for_people(screen: Screen, text: &str) {
    if matches!(screen, Screen::Text) {
        printer::line(text);
    }
}

fn open_browser(url: &str, screen: Screen) {
    let program = std::env::var("BROWSER").unwrap_or_else(|_| "xdg-open".to_owned());
    let started = std::process::Command::new(&program)
        .arg(url)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    match started {
        // It is reaped so that no zombie stays while the session lives.
        Ok(mut child) => drop(std::thread::spawn(move || child.wait())),
        Err(error) => screen.show(&DevEvent::Warning {
            message: format!("could not open {url} with `{program}`: {error}"),
        }),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
