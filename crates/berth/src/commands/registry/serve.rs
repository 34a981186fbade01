//! `berth registry serve`.

use std::process::ExitCode;

use berth_error::Report;
use berth_registry::auth::Anonymous;
use berth_registry::server::{Server, ServerOptions};
use berth_registry::{CollectOptions, Limits, RegistryOptions};
use tokio_util::sync::CancellationToken;

use super::{Kept, collect_options};
use crate::cli::{AnonymousArg, RegistryServeArgs};
use crate::paths::Paths;
use crate::printer;
use crate::signals::Signals;

/// Serves until a signal comes. What is under way may end; a second signal cuts it off.
pub(crate) async fn run(args: RegistryServeArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let (mut signals, mut twice) = (Signals::listen()?, Signals::listen()?);
    check_exposure(&args)?;
    let kept = Kept::open(&args.storage, paths)?;
    let _lock = match &kept.directory {
        None => None,
        Some(directory) => {
            let lock = directory.lock()?.ok_or_else(|| {
                Report::new(
                    format!("another registry serves `{}`", directory.root().display()),
                    Some("give this one another `--data-dir`".to_owned()),
                )
            })?;
            directory.sweep()?;
            Some(lock)
        }
    };
    let anonymous = match args.anonymous {
        AnonymousArg::Nothing => Anonymous::Nothing,
        AnonymousArg::Read => Anonymous::Read,
        AnonymousArg::Everything => Anonymous::Everything,
    };
    let registry = kept.registry(anonymous, options(&args)).await?;
    let tls = args.tls_cert.clone().zip(args.tls_key.clone());
    let server_options = ServerOptions {
        tls,
        ..ServerOptions::default()
    };
    let server = Server::bind(args.listen, server_options).await?;
    let (address, secure) = (server.address(), server.is_secure());
    let scheme = if secure { "https" } else { "http" };
    if args.json {
        let ready = serde_json::json!({
            "event": "ready", "address": address.to_string(), "url": format!("{scheme}://{address}"),
        });
        printer::line(ready.to_string());
    } else {
        printer::line(format!("Registry at {scheme}://{address}"));
    }
    let stop = CancellationToken::new();
    let serving = server.run(registry.router(secure), stop.clone());
    tokio::pin!(serving);
    tokio::select! {
        () = serving.as_mut() => {}
        () = registry.keep_collecting() => {}
        () = signals.next() => {}
    }
    stop.cancel();
    tokio::select! {
        () = serving => Ok(ExitCode::SUCCESS),
        () = twice.second() => Ok(ExitCode::from(130)),
    }
}

fn options(args: &RegistryServeArgs) -> RegistryOptions {
    RegistryOptions {
        limits: Limits {
            image: args.image_limit,
            total: args.total_limit,
        },
        public_url: args.public_url.clone(),
        sparse_images: args.sparse_images,
        collect: CollectOptions {
            interval: (!args.collect_every.is_zero()).then_some(args.collect_every),
            ..collect_options(&args.collect)
        },
        ..RegistryOptions::default()
    }
}

/// Passwords in plain text stay on this machine, unless somebody insists.
fn check_exposure(args: &RegistryServeArgs) -> Result<(), Report> {
    if args.tls_cert.is_some() || args.listen.ip().is_loopback() || args.insecure {
        return Ok(());
    }
    Err(Report::new(
        format!("{} can be reached from other machines without TLS", args.listen),
        Some(
            "give `--tls-cert` and `--tls-key`, or `--insecure` if something in front of it has TLS"
                .to_owned(),
        ),
    ))
}
