//! The `berth` program: thin commands over the crates. It re-executes itself as the jail's helper.
#![forbid(unsafe_code)]

mod answer;
mod arguments;
mod backup;
mod base;
mod buckets;
mod build;
mod cli;
mod commands;
mod daemon;
mod deploy;
mod dev;
mod host;
mod listing;
mod lock;
mod notify;
mod paths;
mod printer;
mod recent;
mod registries;
mod remote;
mod running;
mod secret;
mod serve;
mod signals;
mod store_limit;
mod table;
mod terminal;
mod transfer;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::{Cli, Command};
use crate::paths::Paths;

fn main() -> ExitCode {
    // The helper must be single-threaded, so this comes before anything that could start a thread.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == berth_jail::ZYGOTE_ARG)
    {
        return berth_jail::zygote_main();
    }
    let cli = Cli::parse_from(arguments::of_process());
    start_tracing(cli.global.verbose);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let report = berth_error::Report::from_error(&error).context("could not start");
            printer::error(&report);
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(cli));
    // Nothing that matters is left running here: commands await their own work.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(report) => {
            printer::error(&report);
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<ExitCode, berth_error::Report> {
    let paths = Paths::resolve(&cli.global)?;
    match cli.command {
        Command::Dev(args) => Box::pin(commands::dev::run(*args, paths)).await,
        Command::Serve(args) => Box::pin(commands::serve::run(args, &paths)).await,
        Command::Deploy(args) => Box::pin(deploy::run(&args, &paths)).await,
        Command::Delete(args) => commands::delete::run(&args, &paths).await,
        Command::Versions(command) => Box::pin(commands::versions::run(command, &paths)).await,
        Command::Deployments(command) => commands::deployments::run(command, &paths).await,
        Command::Rollback(args) => commands::rollback::run(&args, &paths).await,
        Command::Secret(command) => commands::secret::run(command, &paths).await,
        Command::Token(command) => commands::token::run(command, &paths).await,
        Command::Status(args) => commands::status::run(&args, &paths).await,
        Command::Usage(args) => commands::usage::run(&args, &paths).await,
        Command::Backup(args) => Box::pin(commands::backup::run(&args, &paths)).await,
        Command::Restore(args) => commands::restore::run(args, &paths).await,
        Command::Ssh(args) => commands::ssh::run(args, &paths).await,
        Command::Env(args) => commands::env::run(&args, &paths).await,
        Command::Whoami(args) => commands::whoami::run(&args, &paths).await,
        Command::Engine(args) => Box::pin(commands::engine::run(args, paths)).await,
        Command::Docker(args) => Box::pin(commands::docker::run(args.arguments, paths)).await,
        Command::Ps(args) => commands::ps::run(&args, &paths).await,
        Command::Trace(args) => commands::trace::run(&args, &paths).await,
        Command::Logs(args) => commands::logs::run(&args, &paths).await,
        Command::Exec(args) => commands::exec::run(args, &paths).await,
        Command::Images(command) => commands::images::run(command, &paths).await,
        Command::Containers(command) => Box::pin(commands::containers::run(command, &paths)).await,
        Command::Kv(command) => Box::pin(commands::kv::run(command, &paths)).await,
        Command::D1(command) => Box::pin(commands::d1::run(command, &paths)).await,
        Command::R2(command) => Box::pin(commands::r2::run(command, &paths)).await,
        Command::Queues(command) => Box::pin(commands::queues::run(command, &paths)).await,
        Command::SecretsStore(command) => {
            Box::pin(commands::secrets_store::run(command, &paths)).await
        }
        Command::Workflows(command) => Box::pin(commands::workflows::run(command, &paths)).await,
        Command::Registry(command) => commands::registry::run(command, &paths).await,
    }
}

fn start_tracing(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "info,berth=debug",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("BERTH_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let shown = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(verbose > 0)
        .without_time()
        .with_filter(filter);
    tracing_subscriber::registry()
        .with(shown)
        .with(recent::Remember.with_filter(LevelFilter::ERROR))
        .init();
}
