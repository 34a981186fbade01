//! `berth r2`.

mod bucket;
mod keys;
mod object;

use std::process::ExitCode;

use berth_error::Report;

use crate::cli::R2Command;
use crate::paths::Paths;

/// Does one of the commands.
pub(crate) async fn run(command: R2Command, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        R2Command::Bucket(command) => bucket::run(command, paths).await,
        R2Command::Object(command) => object::run(command, paths).await,
        R2Command::Keys(command) => keys::run(command, paths).await,
    }
}
