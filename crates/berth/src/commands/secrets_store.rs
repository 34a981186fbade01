//! `berth secrets-store`.

mod secret;
mod store;

use std::process::ExitCode;

use berth_client::segment;
use berth_error::Report;

use crate::cli::SecretsStoreCommand;
use crate::paths::Paths;

const STORES: &str = "secrets_store/stores";

pub(crate) async fn run(command: SecretsStoreCommand, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        SecretsStoreCommand::Store(command) => store::run(command, paths).await,
        SecretsStoreCommand::Secret(command) => secret::run(command, paths).await,
    }
}

/// Below a store.
fn path(store: &str, rest: &str) -> String {
    format!("{STORES}/{}{rest}", segment(store))
}
