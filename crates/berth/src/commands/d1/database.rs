//! `berth d1 create`, `list`, `info`, `delete`.

use std::process::ExitCode;

use berth_error::Report;
use http::Method;
use serde_json::{Value, json};

use super::{DATABASES, path};
use crate::cli::{DataArgs, SureArgs};
use crate::paths::Paths;
use crate::{answer, remote};

pub(super) async fn create(name: &str, data: &DataArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let client = remote::connect(&data.server, paths)?;
    let call = client.call(Method::POST, DATABASES);
    let made: Value = call.json(&json!({"name": name})).send().await?;
    answer::done(data, &made, || {
        format!("made `{name}` ({})", answer::text(&made["uuid"]))
    })
}

pub(super) async fn list(data: &DataArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let client = remote::connect(&data.server, paths)?;
    let all = answer::pages(&client, DATABASES).await?;
    answer::list(data, all, ["ID", "NAME", "CREATED"], |one| {
        let field = |name: &str| answer::text(&one[name]);
        [field("uuid"), field("name"), field("created_at")]
    })
}

pub(super) async fn info(name: &str, data: &DataArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let client = remote::connect(&data.server, paths)?;
    let found: Value = client.get(path(name, "")).await?;
    let field = |name: &str| answer::text(&found[name]);
    let fields = [
        ("Id", field("uuid")),
        ("Name", field("name")),
        ("Created", field("created_at")),
        ("Bytes", field("file_size")),
        ("Tables", field("num_tables")),
    ];
    answer::fields(data, &found, fields)
}

pub(super) async fn delete(
    name: &str,
    sure: &SureArgs,
    data: &DataArgs,
    paths: &Paths,
) -> Result<ExitCode, Report> {
    let client = remote::connect(&data.server, paths)?;
    // What is not there is said before anything is asked.
    let found: Value = client.get(path(name, "")).await?;
    let id = answer::text(&found["uuid"]);
    let doomed = answer::Doomed {
        path: path(&id, ""),
        what: format!("the D1 database `{name}` with all that is in it"),
        named: ("uuid", &id),
    };
    answer::delete(&client, doomed, sure, data).await
}
