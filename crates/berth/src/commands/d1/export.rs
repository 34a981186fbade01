//! `berth d1 export`.

use std::path::Path;
use std::process::ExitCode;

use berth_error::{Report, ResultExt as _};
use http::Method;
use serde_json::{Value, json};

use super::path;
use crate::cli::ServerArgs;
use crate::paths::Paths;
use crate::{printer, remote};

/// What of a database.
pub(super) struct Wanted {
    pub(super) tables: Vec<String>,
    pub(super) no_schema: bool,
    pub(super) no_data: bool,
}

pub(super) async fn run(
    name: &str,
    wanted: &Wanted,
    output: Option<&Path>,
    server: &ServerArgs,
    paths: &Paths,
) -> Result<ExitCode, Report> {
    let client = remote::connect(server, paths)?;
    let options = json!({"output_format": "polling", "dump_options": {
        "tables": wanted.tables, "no_schema": wanted.no_schema, "no_data": wanted.no_data,
    }});
    let call = client.call(Method::POST, path(name, "/export"));
    let made: Value = call.json(&options).send().await?;
    let url = made["result"]["signed_url"].as_str().unwrap_or_default();
    // The server is reached where it was reached before, whatever it is called there.
    let transfer = url.rsplit_once("/transfers/").map(|(_, id)| id);
    let transfer = transfer.ok_or_else(|| Report::new("the server names no file", None))?;
    let call = client.at(Method::GET, format!("/transfers/{transfer}"));
    let sql = call.stream().await?.bytes().await;
    let sql = sql.context("the SQL broke off")?;
    match output {
        Some(file) => {
            fs_err::write(file, &sql).context("could not write the SQL")?;
            printer::note(format!("wrote `{}`", file.display()));
        }
        None => printer::raw(&sql).context("could not print the SQL")?,
    }
    Ok(ExitCode::SUCCESS)
}
