//! `berth serve`.

use std::process::ExitCode;

use berth_error::Report;
use tokio::sync::mpsc;

use crate::cli::ServeArgs;
use crate::paths::Paths;
use crate::printer;
use crate::serve::server::{Options, Server};
use crate::signals::Signals;

/// Serves until a signal comes. What is under way may end; a second signal cuts it off.
pub(crate) async fn run(args: ServeArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let (mut signals, mut twice) = (Signals::listen()?, Signals::listen()?);
    check_exposure(&args)?;
    let (events, mut requests) = mpsc::unbounded_channel();
    let options = Options {
        listen: args.listen,
        api: args.api,
        base_domain: args.base_domain,
    };
    let server = tokio::select! {
        server = Box::pin(Server::start(paths, options, events)) => server?,
        () = signals.next() => return Ok(ExitCode::from(130)),
    };
    if args.json {
        let ready = serde_json::json!({
            "event": "ready",
            "address": server.address.to_string(),
            "api": server.client.api,
            "account": server.client.account,
            "session": server.session(),
        });
        printer::line(ready.to_string());
    } else {
        greet(&server);
    }
    loop {
        tokio::select! {
            () = signals.next() => break,
            Some(event) = requests.recv() => tracing::info!(
                method = event.method, path = event.path, status = event.status,
                took = ?event.duration, "request"
            ),
        }
    }
    tokio::select! {
        ended = server.end() => ended.map(|()| ExitCode::SUCCESS),
        () = twice.second() => Ok(ExitCode::from(130)),
    }
}

fn greet(server: &Server) {
    printer::line(format!("Workers at http://<name>.{}", server.apps_at()));
    printer::line(format!("API at {}", server.client.api));
    if server.first {
        printer::line("For wrangler, in a shell (again with `berth env`):");
        for line in server.client.exports() {
            printer::line(format!("  {line}"));
        }
    }
}

/// Tokens in plain text stay on this machine, unless somebody insists.
fn check_exposure(args: &ServeArgs) -> Result<(), Report> {
    if args.api.ip().is_loopback() || args.insecure {
        return Ok(());
    }
    Err(Report::new(
        format!(
            "the API at {} can be reached from other machines without TLS",
            args.api
        ),
        Some(
            "let it listen on 127.0.0.1, or give `--insecure` if something in front of it has TLS"
                .to_owned(),
        ),
    ))
}
