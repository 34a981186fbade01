//! `berth kv namespace`.

use std::process::ExitCode;

use berth_error::Report;
use http::Method;
use serde_json::{Value, json};

use super::{NAMESPACES, by_name, find, path};
use crate::cli::KvNamespaceCommand;
use crate::paths::Paths;
use crate::{answer, remote};

pub(super) async fn run(command: KvNamespaceCommand, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        KvNamespaceCommand::Create { namespace, data } => {
            let client = remote::connect(&data.server, paths)?;
            let call = client.call(Method::POST, NAMESPACES);
            let made: Value = call.json(&json!({"title": namespace})).send().await?;
            answer::done(&data, &made, || {
                format!("made `{namespace}` ({})", answer::text(&made["id"]))
            })
        }
        KvNamespaceCommand::List { data } => {
            let client = remote::connect(&data.server, paths)?;
            let all = answer::pages(&client, NAMESPACES).await?;
            answer::list(&data, all, ["ID", "TITLE"], |one| {
                [answer::text(&one["id"]), answer::text(&one["title"])]
            })
        }
        KvNamespaceCommand::Rename {
            old_name,
            namespace_id,
            new_name,
            data,
        } => {
            let client = remote::connect(&data.server, paths)?;
            let named = namespace_id.or(old_name).unwrap_or_default();
            let id = by_name(&client, &named).await?;
            let call = client.call(Method::PUT, path(&id, ""));
            let call = call.json(&json!({"title": new_name}));
            let renamed: Value = call.send().await?;
            answer::done(&data, &renamed, || format!("`{named}` is `{new_name}` now"))
        }
        KvNamespaceCommand::Delete {
            namespace,
            of,
            sure,
            data,
        } => {
            let client = remote::connect(&data.server, paths)?;
            let id = match &namespace {
                Some(named) => by_name(&client, named).await?,
                None => find(&client, &of).await?,
            };
            let doomed = answer::Doomed {
                path: path(&id, ""),
                what: format!("the KV namespace {id} with all that is in it"),
                named: ("id", &id),
            };
            answer::delete(&client, doomed, &sure, &data).await
        }
    }
}
