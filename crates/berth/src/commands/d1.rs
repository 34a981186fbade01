//! `berth d1`.

mod database;
mod execute;
mod export;
mod migrations;

use std::process::ExitCode;

use berth_client::segment;
use berth_error::Report;

use crate::cli::D1Command;
use crate::paths::Paths;

const DATABASES: &str = "d1/database";

pub(crate) async fn run(command: D1Command, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        D1Command::Create { name, data } => database::create(&name, &data, paths).await,
        D1Command::List { data } => database::list(&data, paths).await,
        D1Command::Info { name, data } => database::info(&name, &data, paths).await,
        D1Command::Delete { name, sure, data } => {
            database::delete(&name, &sure, &data, paths).await
        }
        D1Command::Execute {
            database,
            command,
            file,
            data,
        } => execute::run(&database, command, file.as_deref(), &data, paths).await,
        D1Command::Export {
            name,
            output,
            tables,
            no_schema,
            no_data,
            server,
        } => {
            let wanted = export::Wanted {
                tables,
                no_schema,
                no_data,
            };
            export::run(&name, &wanted, output.as_deref(), &server, paths).await
        }
        D1Command::Migrations(command) => migrations::run(command, paths).await,
    }
}

/// Below a database, by its name or id.
fn path(name: &str, rest: &str) -> String {
    format!("{DATABASES}/{}{rest}", segment(name))
}
