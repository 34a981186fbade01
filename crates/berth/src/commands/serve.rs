//! `berth serve`.

use std::process::ExitCode;

use berth_error::Report;
use tokio::sync::mpsc;

use crate::cli::ServeArgs;
use crate::notify;
use crate::paths::Paths;
use crate::printer;
use crate::serve::server::Server;
use crate::serve::settings::settings;
use crate::signals::Signals;

/// Serves until a signal comes. What is under way may end; a second signal cuts it off. After SIGTERM containers
/// run on for the next server, if the settings say so.
pub(crate) async fn run(args: ServeArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let (mut signals, mut twice) = (Signals::but_hangup()?, Signals::but_hangup()?);
    let (config, paths) = settings(&args, paths)?;
    if args.check {
        return Ok(ExitCode::SUCCESS);
    }
    let (events, mut requests) = mpsc::unbounded_channel();
    let server = tokio::select! {
        server = Box::pin(Server::start(&paths, config, events)) => server?,
        () = signals.next() => return Ok(ExitCode::from(130)),
    };
    if args.json {
        let ready = serde_json::json!({
            "event": "ready",
            "address": server.address.to_string(),
            "tls_address": server.tls_address().map(|address| address.to_string()),
            "api": server.client.addresses.api,
            "s3": server.client.addresses.s3,
            "metrics": server.metrics_address().map(|address| address.to_string()),
            "account": server.client.account,
            "session": server.session(),
        });
        printer::line(ready.to_string());
    } else {
        greet(&server);
    }
    let alive = tokio::spawn(notify::keep_alive());
    notify::ready(&format!("Workers at {}", server.app_at("<name>")));
    let keep = loop {
        tokio::select! {
            terminated = signals.next_is_term() => break terminated && server.keeps_on_stop(),
            Some(event) = requests.recv() => {
                server.count(&event);
                tracing::info!(
                    method = event.method, path = event.path, status = event.status,
                    took = ?event.duration, "request"
                );
            }
        }
    };
    notify::stopping();
    let ended = tokio::select! {
        () = server.end(keep) => ExitCode::SUCCESS,
        () = twice.second() => ExitCode::from(130),
    };
    alive.abort();
    Ok(ended)
}

fn greet(server: &Server) {
    printer::line(format!("Workers at {}", server.app_at("<name>")));
    printer::line(format!("API at {}", server.client.addresses.api));
    if let Some(s3) = &server.client.addresses.s3 {
        printer::line(format!("S3 at {s3}"));
    }
    if server.first && notify::is_journaled() {
        printer::line("`berth env`, as root, prints what wrangler needs");
    } else if server.first {
        printer::line("For wrangler, in a shell (`eval \"$(berth env)\"` sets them):");
        for line in server.client.exports() {
            printer::line(format!("  {line}"));
        }
    }
}
