//! `berth workflows list`, `describe`, `delete`.

use std::process::ExitCode;

use berth_error::Report;
use serde_json::Value;

use super::{WORKFLOWS, path};
use crate::cli::{DataArgs, SureArgs};
use crate::paths::Paths;
use crate::{answer, remote};

pub(super) async fn list(data: &DataArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let client = remote::connect(&data.server, paths)?;
    let all = answer::pages(&client, WORKFLOWS).await?;
    answer::list(data, all, ["NAME", "WORKER", "CLASS", "CREATED"], |one| {
        let field = |name: &str| answer::text(&one[name]);
        [
            field("name"),
            field("script_name"),
            field("class_name"),
            field("created_on"),
        ]
    })
}

pub(super) async fn describe(
    name: &str,
    data: &DataArgs,
    paths: &Paths,
) -> Result<ExitCode, Report> {
    let client = remote::connect(&data.server, paths)?;
    let found: Value = client.get(path(name, "")).await?;
    let field = |name: &str| answer::text(&found[name]);
    let fields = [
        ("Id", field("id")),
        ("Name", field("name")),
        ("Worker", field("script_name")),
        ("Class", field("class_name")),
        ("Created", field("created_on")),
        ("Modified", field("modified_on")),
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
    let _: Value = client.get(path(name, "")).await?;
    let doomed = answer::Doomed {
        path: path(name, ""),
        what: format!("the Workflow `{name}`"),
        named: ("name", name),
    };
    answer::delete(&client, doomed, sure, data).await
}
