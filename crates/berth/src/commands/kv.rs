//! `berth kv`.

mod bulk;
mod key;
mod namespace;

use std::process::ExitCode;

use berth_client::{Client, segment};
use berth_error::Report;
use serde_json::Value;

use crate::answer;
use crate::cli::{KvCommand, KvOf};
use crate::deploy::source;
use crate::paths::Paths;

const NAMESPACES: &str = "storage/kv/namespaces";

pub(crate) async fn run(command: KvCommand, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        KvCommand::Namespace(command) => namespace::run(command, paths).await,
        KvCommand::Key(command) => key::run(command, paths).await,
        KvCommand::Bulk(command) => bulk::run(command, paths).await,
    }
}

/// Below a namespace.
fn path(id: &str, rest: &str) -> String {
    format!("{NAMESPACES}/{}{rest}", segment(id))
}

/// The id of the namespace that is meant.
async fn find(client: &Client, of: &KvOf) -> Result<String, Report> {
    match (&of.namespace_id, &of.binding) {
        (Some(named), _) => by_name(client, named).await,
        (None, Some(binding)) => by_binding(client, of, binding).await,
        (None, None) => Err(Report::new(
            "no KV namespace is named",
            Some("name it by `--namespace-id` (its id or title), or by `--binding`".to_owned()),
        )),
    }
}

/// By its id, or by its title.
async fn by_name(client: &Client, named: &str) -> Result<String, Report> {
    let all = answer::pages(client, NAMESPACES).await?;
    let by_id = all.iter().find(|one| one["id"] == *named);
    let found = by_id.or_else(|| all.iter().find(|one| one["title"] == *named));
    let id = found.and_then(|one| one["id"].as_str());
    id.map(str::to_owned).ok_or_else(|| {
        Report::new(
            format!("there is no KV namespace `{named}`"),
            Some("`berth kv namespace list` shows what there is".to_owned()),
        )
    })
}

/// As the project's configuration has it, or, if that says nothing, the deployed Worker.
async fn by_binding(client: &Client, of: &KvOf, binding: &str) -> Result<String, Report> {
    let project = source::project(&of.project)?;
    let found = project
        .kv_namespaces
        .iter()
        .find(|one| one.binding == binding);
    let found = found.ok_or_else(|| {
        Report::new(
            format!(
                "`{}` has no KV namespace with the binding `{binding}`",
                project.config_path.display()
            ),
            None,
        )
    })?;
    if found.id != found.binding {
        return Ok(found.id.clone());
    }
    let worker = format!("workers/scripts/{}/settings", segment(&project.name));
    let settings: Value = client.get(worker).await?;
    let mut bindings = settings["bindings"].as_array().into_iter().flatten();
    let bound = bindings.find(|one| one["type"] == "kv_namespace" && one["name"] == *binding);
    let id = bound.and_then(|one| one["namespace_id"].as_str());
    id.map(str::to_owned).ok_or_else(|| {
        Report::new(
            format!("the binding `{binding}` has no `id`, and no namespace was made for it yet"),
            Some("deploy the Worker, which makes it, or name one by `--namespace-id`".to_owned()),
        )
    })
}
