//! `berth containers`.

mod applications;
mod build;
mod push;
mod registries;

use std::process::ExitCode;

use berth_error::Report;

use crate::cli::ContainersCommand;
use crate::paths::Paths;

pub(crate) async fn run(command: ContainersCommand, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        ContainersCommand::Build(args) => Box::pin(build::run(*args, paths)).await,
        ContainersCommand::Push(args) => Box::pin(push::run(&args, paths)).await,
        ContainersCommand::List { server, json } => applications::list(&server, json, paths).await,
        ContainersCommand::Info(args) => applications::info(&args, paths).await,
        ContainersCommand::Instances(args) => applications::instances(&args, paths).await,
        ContainersCommand::Delete(args) => applications::delete(&args, paths).await,
        ContainersCommand::Registries(command) => registries::run(command, paths).await,
    }
}
