//! What bindings lead to and is not there yet: the server makes it, once, under wrangler's names.

use berth_client::{Client, ClientError, segment};
use berth_config::Project;
use berth_error::Report;
use http::Method;
use serde_json::{Value, json};

use super::live::optional;
use super::steps::Steps;
use super::upload::Upload;

/// Gives every binding of an upload its id.
pub(super) async fn fill(
    client: &Client,
    project: &Project,
    upload: &mut Upload,
    steps: &Steps,
) -> Result<(), Report> {
    let Some(bindings) = upload.metadata.get_mut("bindings") else {
        return Ok(());
    };
    let bindings = bindings.as_array_mut().into_iter().flatten();
    let mut lacking: Vec<&mut Value> = bindings.filter(|binding| lacks(binding)).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let path = format!("workers/scripts/{}/settings", segment(&project.name));
    let settings = optional(client, path).await?;
    let present = settings["bindings"].as_array().cloned().unwrap_or_default();
    for binding in &mut lacking {
        let name = word(binding, "name");
        let kind = word(binding, "type");
        let same = |other: &Value| other["name"] == *name && other["type"] == *kind;
        if present.iter().any(same) && kind != "r2_bucket" && kind != "queue" {
            **binding = json!({"name": name, "type": "inherit"});
            continue;
        }
        let wanted = wanted_name(project, binding);
        let work = async {
            let made = make(client, &kind, &wanted).await?;
            Ok((made, format!("{kind} `{wanted}` for env.{name}")))
        };
        let id = steps.run("provision", work).await?;
        binding[id_field(&kind)] = id.into();
    }
    Ok(())
}

fn id_field(kind: &str) -> &'static str {
    match kind {
        "kv_namespace" => "namespace_id",
        "d1" => "id",
        "r2_bucket" => "bucket_name",
        _ => "queue_name",
    }
}

fn lacks(binding: &Value) -> bool {
    let kind = binding["type"].as_str().unwrap_or_default();
    match kind {
        "kv_namespace" | "d1" => binding.get(id_field(kind)).is_none(),
        // Their names are their ids: there may be nothing of the name yet.
        "r2_bucket" | "queue" => true,
        _ => false,
    }
}

fn word(binding: &Value, name: &str) -> String {
    binding[name].as_str().unwrap_or_default().to_owned()
}

/// What has a name in the file has that, everything else is named after Worker and binding.
fn wanted_name(project: &Project, binding: &Value) -> String {
    let name = word(binding, "name");
    if let Some(named) = binding[id_field(&word(binding, "type"))].as_str() {
        return named.to_owned();
    }
    let databases = project.d1_databases.iter();
    let mut named = databases.filter(|database| database.database_name != database.binding);
    if word(binding, "type") == "d1"
        && let Some(database) = named.find(|database| database.binding == name)
    {
        return database.database_name.clone();
    }
    let suffix = name.to_lowercase().replace('_', "-");
    format!("{}-{suffix}", project.name)
}

/// The id of the thing of this name, which is made if it is not there.
async fn make(client: &Client, kind: &str, name: &str) -> Result<String, ClientError> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match kind {
        "kv_namespace" => {
            let all: Value = client
                .call(Method::GET, "storage/kv/namespaces")
                .query("per_page", 1000)
                .send()
                .await?;
            let mut all = all.as_array().into_iter().flatten();
            if let Some(found) = all.find(|found| found["title"] == name) {
                return Ok(text(&found["id"]));
            }
            let call = client.call(Method::POST, "storage/kv/namespaces");
            let made: Value = call.json(&json!({"title": name})).send().await?;
            Ok(text(&made["id"]))
        }
        "d1" => {
            let found = optional(client, format!("d1/database/{}", segment(name))).await?;
            if !found.is_null() {
                return Ok(text(&found["uuid"]));
            }
            let call = client.call(Method::POST, "d1/database");
            let made: Value = call.json(&json!({"name": name})).send().await?;
            Ok(text(&made["uuid"]))
        }
        "r2_bucket" => {
            let found = optional(client, format!("r2/buckets/{}", segment(name))).await?;
            if found.is_null() {
                let call = client.call(Method::POST, "r2/buckets");
                let _: Value = call.json(&json!({"name": name})).send().await?;
            }
            Ok(name.to_owned())
        }
        _ => {
            let call = client.call(Method::GET, "queues").query("name", name);
            let found: Value = call.send().await?;
            if found.as_array().is_none_or(Vec::is_empty) {
                let call = client.call(Method::POST, "queues");
                let _: Value = call.json(&json!({"queue_name": name})).send().await?;
            }
            Ok(name.to_owned())
        }
    }
}
