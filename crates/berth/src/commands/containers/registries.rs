//! `berth containers registries`.

mod configure;
mod credentials;
mod delete;
mod list;

use std::process::ExitCode;

use berth_distribution::credentials::Vault;
use berth_error::Report;

use crate::cli::RegistriesCommand;
use crate::paths::Paths;

pub(super) async fn run(command: RegistriesCommand, paths: &Paths) -> Result<ExitCode, Report> {
    let vault = Vault::open(&paths.data);
    match command {
        RegistriesCommand::Configure(args) => configure::run(&vault, &args),
        RegistriesCommand::List { json } => list::run(&vault, json),
        RegistriesCommand::Delete(args) => delete::run(&vault, &args),
        RegistriesCommand::Credentials(args) => credentials::run(&args, paths).await,
    }
}
