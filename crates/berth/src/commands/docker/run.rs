//! `run` and `exec`.

use std::process::ExitCode;

use berth_docker::client::{ExecOptions, LogOptions};
use berth_docker::frame::{Frame, StreamKind};
use berth_error::{Report, ResultExt as _};
use futures_util::{Stream, StreamExt as _};
use serde_json::{Value, json};

use super::args::{ExecArgs, RunArgs};
use super::{Target, check_platform, refused};
use crate::commands::exec::attend;
use crate::printer;
use crate::signals::Signals;

pub(super) async fn exec(target: &Target, args: ExecArgs) -> Result<ExitCode, Report> {
    let terminal = if args.tty {
        crate::terminal::size()
    } else {
        None
    };
    let options = ExecOptions {
        command: args.command,
        env: args.env,
        working_dir: args.workdir,
        user: args.user,
        stdin: args.interactive,
        terminal,
    };
    let session = target.client.exec(&args.name, &options).await;
    attend(session.map_err(refused)?, &options).await
}

pub(super) async fn run(target: &Target, args: RunArgs) -> Result<ExitCode, Report> {
    check_platform(args.platform.as_deref())?;
    let client = &target.client;
    let created = client.create(args.name.as_deref(), &body(&args)).await;
    let id = created.map_err(refused)?;
    let outcome = match client.start(&id).await {
        Ok(()) if args.detach => {
            printer::line(&id);
            return Ok(ExitCode::SUCCESS);
        }
        Ok(()) => attached(target, &id).await,
        Err(error) => Err(refused(error)),
    };
    if args.rm || outcome.is_err() {
        client.remove(&id, true, true).await.map_err(refused)?;
    }
    outcome
}

/// Prints what the container writes until it ends; a signal stops it.
async fn attached(target: &Target, id: &str) -> Result<ExitCode, Report> {
    let client = &target.client;
    let mut signals = Signals::listen()?;
    let options = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    let mut lines = Box::pin(client.logs(id, options).await.map_err(refused)?);
    let mut printed = 0;
    let ended = client.wait(id);
    tokio::pin!(ended);
    let code = loop {
        tokio::select! {
            ended = &mut ended => break ended.map_err(refused)?,
            Some(line) = lines.next() => {
                print_frame(&line.context("the container's output broke off")?)?;
                printed += 1;
            }
            () = signals.next() => client.stop(id, 10).await.map_err(refused)?,
        }
    };
    // It has ended, so everything is in the log; what was printed already is left out.
    let lines = client.logs(id, LogOptions::default()).await;
    print_frames(&mut Box::pin(lines.map_err(refused)?), printed).await?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// Prints a log without its first lines.
pub(super) async fn print_frames(
    lines: &mut (impl Stream<Item = std::io::Result<Frame>> + Unpin),
    skip: usize,
) -> Result<(), Report> {
    let mut lines = lines.skip(skip);
    while let Some(line) = lines.next().await {
        if print_frame(&line.context("the container's output broke off")?).is_err() {
            // Nobody reads any more.
            break;
        }
    }
    Ok(())
}

fn print_frame(frame: &Frame) -> Result<(), Report> {
    let printed = match frame.stream {
        StreamKind::Stdout => printer::raw(&frame.payload),
        StreamKind::Stderr => printer::raw_error(&frame.payload),
    };
    printed.context("could not print the container's output")
}

/// The create request of `run`'s options.
fn body(args: &RunArgs) -> Value {
    let labels: serde_json::Map<String, Value> = args
        .labels
        .iter()
        .map(|label| {
            let (key, value) = label.split_once('=').unwrap_or((label, ""));
            (key.to_owned(), value.into())
        })
        .collect();
    let env: Vec<String> = args
        .env
        .iter()
        .filter_map(|entry| match entry.contains('=') {
            true => Some(entry.clone()),
            false => Some(format!("{entry}={}", std::env::var(entry).ok()?)),
        })
        .collect();
    json!({
        "Image": args.image,
        "Cmd": args.command,
        "Entrypoint": args.entrypoint.as_ref().map(|program| [program]),
        "Env": env,
        "Labels": labels,
        "User": args.user,
        "WorkingDir": args.workdir,
        "HostConfig": {"NetworkMode": args.network},
    })
}
