//! `berth exec`.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use berth_docker::client::{ExecControl, ExecOptions, ExecSession};
use berth_docker::frame::StreamKind;
use berth_error::{Report, ResultExt as _};
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{ExecArgs, ServerArgs, SessionArgs};
use crate::paths::Paths;
use crate::running::Target;
use crate::terminal::{RawTerminal, size};
use crate::{printer, running};

mod remote;

/// What is run.
pub(crate) struct Wanted {
    pub(crate) command: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) workdir: Option<String>,
    pub(crate) user: Option<String>,
    /// No terminal even if this is one.
    pub(crate) no_tty: bool,
}

pub(crate) async fn run(args: ExecArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let wanted = Wanted {
        command: args.command,
        env: args.env,
        workdir: args.workdir,
        user: args.user,
        no_tty: args.no_tty,
    };
    at(&args.session, &args.server, &args.instance, wanted, paths).await
}

/// Runs it in the instance that is meant, of a session or a server.
pub(crate) async fn at(
    session: &SessionArgs,
    server: &ServerArgs,
    instance: &str,
    wanted: Wanted,
    paths: &Paths,
) -> Result<ExitCode, Report> {
    let interactive =
        !wanted.no_tty && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let terminal = if interactive { size() } else { None };
    let target = running::target(session, server, paths)?;
    let rows = target.list(true).await?;
    let container = running::choose_instance(rows, instance)?;
    match target {
        Target::Session(client) => {
            let options = ExecOptions {
                command: wanted.command,
                env: wanted.env,
                working_dir: wanted.workdir,
                user: wanted.user,
                stdin: true,
                terminal,
            };
            let name = container["name"].as_str().unwrap_or_default();
            let session = client.exec(name, &options).await?;
            attend(session, &options).await
        }
        Target::Server(client) => {
            let id = container["id"].as_str().unwrap_or_default();
            remote::attend(&client, id, &wanted, terminal).await
        }
    }
}

/// Connects a command to this process's streams and terminal until it ends; its exit code.
pub(crate) async fn attend(
    session: ExecSession,
    options: &ExecOptions,
) -> Result<ExitCode, Report> {
    let (input, mut output, control) = session.into_parts();
    let _raw = options.terminal.map(|_| RawTerminal::enter());
    let feed = options.stdin.then(|| tokio::spawn(feed(input)));
    let resize = options
        .terminal
        .map(|_| tokio::spawn(follow_size(control.clone())));
    while let Some(frame) = output.next().await {
        let frame = frame.context("the connection to the command broke off")?;
        let printed = match frame.stream {
            StreamKind::Stdout => printer::raw(&frame.payload),
            StreamKind::Stderr => printer::raw_error(&frame.payload),
        };
        printed.context("could not print the command's output")?;
    }
    for task in [feed, resize].into_iter().flatten() {
        task.abort();
    }
    let code = control.exit_code().await?.unwrap_or(0);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// Copies standard input to the command, and its end as the end of file.
async fn feed(mut input: tokio::net::unix::OwnedWriteHalf) {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; 16 << 10];
    loop {
        match stdin.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(length) => {
                if input.write_all(&buffer[..length]).await.is_err() {
                    // The command has closed its input or ended.
                    return;
                }
            }
        }
    }
    // Fails only when the command has ended.
    let _ = input.shutdown().await;
}

/// Tells the command's terminal whenever this one changes its size.
async fn follow_size(control: ExecControl) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else {
        return;
    };
    while changes.recv().await.is_some() {
        let Some((rows, columns)) = size() else {
            return;
        };
        if let Err(error) = control.resize(rows, columns).await {
            tracing::debug!(%error, "the terminal keeps its size");
        }
    }
}
