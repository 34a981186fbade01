//! `berth containers list`, `info`, `instances`, `delete`: container applications of a server.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use berth_client::{Client, segment};
use berth_error::Report;
use http::Method;
use serde_json::{Value, json};

use crate::cli::{ApplicationArgs, DeleteApplicationArgs, ServerArgs};
use crate::commands::versions::word;
use crate::paths::Paths;
use crate::table::Table;
use crate::{printer, remote, secret};

pub(super) async fn list(
    server: &ServerArgs,
    json: bool,
    paths: &Paths,
) -> Result<ExitCode, Report> {
    let client = remote::connect(server, paths)?;
    let applications: Value = client.get("containers/dash/applications").await?;
    if json {
        return printer::json(&applications);
    }
    let mut table = Table::new(["ID", "NAME", "STATE", "INSTANCES", "VERSION", "IMAGE"]);
    for one in applications.as_array().into_iter().flatten() {
        table.row([
            word(&one["id"]),
            word(&one["name"]),
            state(&one["health"]["instances"]).to_owned(),
            word(&one["instances"]),
            word(&one["version"]),
            word(&one["image"]),
        ]);
    }
    printer::line(table.render());
    Ok(ExitCode::SUCCESS)
}

/// As wrangler says it.
fn state(health: &Value) -> &'static str {
    let some = |name: &str| health[name].as_u64().unwrap_or_default() > 0;
    match () {
        () if some("failed") => "degraded",
        () if some("starting") || some("scheduling") => "provisioning",
        () if some("active") => "active",
        () => "ready",
    }
}

pub(super) async fn info(args: &ApplicationArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let client = remote::connect(&args.server, paths)?;
    let id = find(&client, &args.id).await?;
    let application: Value = client
        .get(format!("containers/applications/{}", segment(&id)))
        .await?;
    // There is no better form for people: it is a tree.
    printer::json(&application)
}

pub(super) async fn instances(args: &ApplicationArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let client = remote::connect(&args.server, paths)?;
    let id = find(&client, &args.id).await?;
    let path = format!("containers/dash/applications/{}/instances", segment(&id));
    let found: Value = client.get(path).await?;
    if args.json {
        return printer::json(&found);
    }
    let mut table = Table::new([
        "INSTANCE", "NAME", "STATE", "LOCATION", "VERSION", "CREATED",
    ]);
    for one in found["instances"].as_array().into_iter().flatten() {
        let status = &one["current_placement"]["status"];
        let state = match &status["container_status"] {
            Value::Null => &status["health"],
            state => state,
        };
        table.row([
            word(&one["id"]),
            word(&one["name"]),
            word(state),
            word(&one["location"]),
            word(&one["app_version"]),
            word(&one["created_at"]),
        ]);
    }
    printer::line(table.render());
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn delete(
    args: &DeleteApplicationArgs,
    paths: &Paths,
) -> Result<ExitCode, Report> {
    let application = &args.application;
    let client = remote::connect(&application.server, paths)?;
    let id = find(&client, &application.id).await?;
    let ask = !args.skip_confirmation && !application.json && std::io::stdin().is_terminal();
    if ask && !secret::confirm(&format!("Delete `{}` and its containers?", application.id))? {
        printer::line("nothing was changed");
        return Ok(ExitCode::SUCCESS);
    }
    let path = format!("containers/applications/{}", segment(&id));
    let _: Value = client.call(Method::DELETE, path).send().await?;
    if application.json {
        return printer::json(&json!({"id": id, "deleted": true}));
    }
    printer::line(format!("deleted `{}`", application.id));
    Ok(ExitCode::SUCCESS)
}

/// The id of an application that is named by id or name.
async fn find(client: &Client, wanted: &str) -> Result<String, Report> {
    let applications: Value = client.get("containers/applications").await?;
    let mut all = applications.as_array().into_iter().flatten();
    let found = all.find(|one| one["id"] == wanted || one["name"] == wanted);
    let id = found.and_then(|found| found["id"].as_str());
    id.map(str::to_owned).ok_or_else(|| {
        Report::new(
            format!("there is no container application `{wanted}`"),
            Some("`berth containers list` shows what there is".to_owned()),
        )
    })
}
