//! Versions, which wrangler shows and goes back to.

use axum::extract::{Path, State};
use berth_control::ControlError;
use berth_control::worker::{BindingKind, Version, Worker};
use serde_json::{Map, Value, json};

use super::workers::{Named, find};
use crate::Api;
use crate::envelope::{Answer, result};

/// `GET versions`: newest first.
pub(super) async fn list(State(api): State<Api>, Path((_, name)): Named) -> Answer {
    let worker = find(&api, &name).await?;
    let versions = worker.versions.iter().rev();
    let items: Vec<Value> = versions.map(|version| describe(&worker, version)).collect();
    result(json!({"items": items}))
}

/// `GET versions/{id}`.
pub(super) async fn one(
    State(api): State<Api>,
    Path((_, name, id)): Path<(String, String, String)>,
) -> Answer {
    let worker = find(&api, &name).await?;
    match worker.version(&id) {
        Some(version) => result(describe(&worker, version)),
        None => Err(ControlError::NoVersion {
            worker: name,
            version: id,
        }
        .into()),
    }
}

/// A version as the API has it, without the values of its secrets.
pub(super) fn describe(worker: &Worker, version: &Version) -> Value {
    let mut runtime = json!({
        "compatibility_date": version.compatibility_date,
        "compatibility_flags": version.compatibility_flags,
        "usage_model": "standard",
        "limits": {},
    });
    if !version.containers.is_empty() {
        runtime["containers"] = version.containers.clone().into();
    }
    json!({
        "id": version.id,
        "number": version.number,
        "metadata": {
            "created_on": version.created,
            "modified_on": version.created,
            "source": "wrangler",
            "author_id": version.author,
            "author_email": version.author,
            "has_preview": false,
        },
        "annotations": version.annotations,
        "resources": {
            "bindings": bindings(worker, version),
            "script": {
                "etag": version.etag,
                "handlers": Value::Null,
                "last_deployed_from": "wrangler",
            },
            "script_runtime": runtime,
        },
        "startup_time_ms": 0,
    })
}

/// The bindings with what the server knows about them.
pub(super) fn bindings(worker: &Worker, version: &Version) -> Vec<Value> {
    let mut bindings: Vec<Value> = version
        .bindings
        .iter()
        .map(|binding| {
            let mut shown = match serde_json::to_value(binding) {
                Ok(Value::Object(shown)) => shown,
                _ => Map::new(),
            };
            if let BindingKind::DurableObjectNamespace { class_name } = &binding.kind
                && let Some(class) = worker.classes_of(version).get(class_name)
            {
                shown.insert("namespace_id".to_owned(), class.namespace_id.clone().into());
            }
            Value::Object(shown)
        })
        .collect();
    let secrets = version.secrets.keys();
    bindings.extend(secrets.map(|name| json!({"name": name, "type": "secret_text"})));
    bindings
}
