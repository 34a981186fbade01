//! `berth workflows trigger`, `berth workflows instances`.

use std::process::ExitCode;

use berth_client::segment;
use berth_error::Report;
use http::Method;
use serde_json::{Value, json};

use super::{parse, path};
use crate::cli::{ChangeInstance, DataArgs, InstanceOf, InstancesCommand};
use crate::paths::Paths;
use crate::{answer, remote};

pub(super) async fn run(command: InstancesCommand, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        InstancesCommand::List {
            name,
            status,
            page,
            per_page,
            data,
        } => {
            let client = remote::connect(&data.server, paths)?;
            let call = client.call(Method::GET, path(&name, "/instances"));
            let mut call = call.query("page", page).query("per_page", per_page);
            if let Some(status) = status {
                call = call.query("status", status);
            }
            let found: Vec<Value> = call.send().await?;
            answer::list(&data, found, ["INSTANCE", "STATUS", "CREATED"], |one| {
                let field = |name: &str| answer::text(&one[name]);
                [field("id"), field("status"), field("created_on")]
            })
        }
        InstancesCommand::Describe { of, data } => {
            let client = remote::connect(&data.server, paths)?;
            let found: Value = client.get(of.path("")).await?;
            let field = |name: &str| answer::text(&found[name]);
            let fields = [
                ("Workflow", of.name.clone()),
                ("Instance", of.id.clone()),
                ("Status", field("status")),
                ("Output", field("output")),
                ("Error", field("error")),
            ];
            answer::fields(&data, &found, fields)
        }
        InstancesCommand::Pause(args) => change(&args, "pause", paths).await,
        InstancesCommand::Resume(args) => change(&args, "resume", paths).await,
        InstancesCommand::Restart(args) => change(&args, "restart", paths).await,
        InstancesCommand::Terminate(args) => change(&args, "terminate", paths).await,
        InstancesCommand::SendEvent {
            of,
            kind,
            payload,
            data,
        } => {
            let payload = parse(&payload, "`--payload`")?;
            let client = remote::connect(&data.server, paths)?;
            let path = of.path(&format!("/events/{}", segment(&kind)));
            let call = client.call(Method::POST, path).json(&payload);
            let _: Value = call.send().await?;
            let sent = json!({"id": of.id, "type": kind});
            answer::done(&data, &sent, || format!("sent `{kind}` to `{}`", of.id))
        }
    }
}

pub(super) async fn trigger(
    name: &str,
    params: Option<&str>,
    id: Option<String>,
    data: &DataArgs,
    paths: &Paths,
) -> Result<ExitCode, Report> {
    let params = params.filter(|params| !params.is_empty());
    let params = params
        .map(|params| parse(params, "what is passed"))
        .transpose()?;
    let client = remote::connect(&data.server, paths)?;
    let call = client.call(Method::POST, path(name, "/instances"));
    let new = json!({"instance_id": id, "params": params});
    let made: Value = call.json(&new).send().await?;
    answer::done(data, &made, || {
        format!(
            "`{}` is {}",
            answer::text(&made["id"]),
            answer::text(&made["status"])
        )
    })
}

impl InstanceOf {
    fn path(&self, rest: &str) -> String {
        let below = format!("/instances/{}{rest}", segment(&self.id));
        path(&self.name, &below)
    }
}

async fn change(args: &ChangeInstance, how: &str, paths: &Paths) -> Result<ExitCode, Report> {
    let ChangeInstance { of, data } = args;
    let client = remote::connect(&data.server, paths)?;
    let call = client.call(Method::PATCH, of.path("/status"));
    let changed: Value = call.json(&json!({"status": how})).send().await?;
    answer::done(data, &changed, || {
        format!("`{}` is {}", of.id, answer::text(&changed["status"]))
    })
}
