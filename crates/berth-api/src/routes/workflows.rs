//! Workflows, and instances of them in the Worker that runs them.

pub(super) mod instances;

use axum::extract::{Path, Query, State};
use berth_control::resources::Workflow;
use bytes::Bytes;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::settings::parse;
use super::workers::{Named, find as find_worker};
use crate::Api;
use crate::data::encoded;
use crate::envelope::{Answer, paged, result};
use crate::failure::Failure;
use crate::guard::blocking;

/// A Workflow and an instance of it.
type Instance = Path<(String, String, String)>;

fn described(workflow: &Workflow) -> Value {
    json!({
        "id": workflow.id,
        "name": workflow.name,
        "script_name": workflow.script_name,
        "class_name": workflow.class_name,
        "created_on": workflow.created,
        "modified_on": workflow.modified,
        "instances": {},
    })
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Page {
    page: Option<usize>,
    per_page: Option<usize>,
}

/// `GET workflows`.
pub(super) async fn list(State(api): State<Api>, Query(page): Query<Page>) -> Answer {
    let control = api.control.clone();
    let all = blocking(move || control.workflows()).await?;
    paged(
        all.iter().map(described).collect(),
        page.page,
        page.per_page,
    )
}

/// `GET workflows/{name}`.
pub(super) async fn one(State(api): State<Api>, Path((_, name)): Named) -> Answer {
    result(described(&find(&api, &name).await?))
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct NewWorkflow {
    script_name: String,
    class_name: String,
    #[serde(default)]
    schedules: Option<Value>,
}

/// `PUT workflows/{name}`.
pub(super) async fn put(State(api): State<Api>, Path((_, name)): Named, body: Bytes) -> Answer {
    let new: NewWorkflow = parse(&body)?;
    let schedules = new.schedules.unwrap_or_default();
    if schedules.as_array().is_some_and(|all| !all.is_empty()) || schedules.is_object() {
        let text = "`schedules` of a Workflow are not supported: a cron trigger of the Worker can \
                    make instances";
        return Err(Failure::bad_request(text));
    }
    let control = api.control.clone();
    let set = move || control.set_workflow(&name, &new.script_name, &new.class_name);
    let workflow = blocking(set).await?;
    let mut described = described(&workflow);
    let worker = find_worker(&api, &workflow.script_name).await?;
    let live = worker.live().map(|live| live.id.clone());
    described["version_id"] = live.into();
    result(described)
}

/// `DELETE workflows/{name}`.
pub(super) async fn delete(State(api): State<Api>, Path((_, name)): Named) -> Answer {
    let control = api.control.clone();
    let gone = blocking(move || control.delete_workflow(&name)).await?;
    result(json!({"status": "ok", "name": gone.name}))
}

/// `GET workflows/{name}/versions`: the Worker's live one is the Workflow's.
pub(super) async fn versions(State(api): State<Api>, Path((_, name)): Named) -> Answer {
    let workflow = find(&api, &name).await?;
    let worker = find_worker(&api, &workflow.script_name).await?;
    let versions = worker.live().into_iter().map(|live| {
        json!({
            "id": live.id,
            "class_name": workflow.class_name,
            "created_on": live.created,
            "modified_on": live.created,
            "workflow_id": workflow.id,
        })
    });
    result(versions.collect::<Vec<_>>())
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct NewInstance {
    instance_id: Option<String>,
    params: Option<Value>,
}

/// `POST workflows/{name}/instances`.
pub(super) async fn trigger(State(api): State<Api>, Path((_, name)): Named, body: Bytes) -> Answer {
    let new: NewInstance = parse(&body)?;
    let workflow = find(&api, &name).await?;
    let body = json!({"id": new.instance_id, "params": new.params});
    let made = call(&api, &workflow, "create", &body).await?;
    result(json!({
        "id": made["id"],
        "status": made["status"],
        "workflow_id": workflow.id,
    }))
}

/// `GET workflows/{name}/instances/{id}`.
pub(super) async fn instance(State(api): State<Api>, Path((_, name, id)): Instance) -> Answer {
    let workflow = find(&api, &name).await?;
    let found = call(&api, &workflow, "status", &json!({"id": id})).await?;
    let status = found["status"].as_str().unwrap_or("unknown");
    result(json!({
        "status": status,
        "output": found["output"],
        "error": found["error"],
        "success": match status {
            "complete" => json!(true),
            "errored" | "terminated" => json!(false),
            _ => Value::Null,
        },
        "trigger": {"source": "unknown"},
        "steps": [],
        "step_count": 0,
    }))
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct NewStatus {
    status: String,
}

/// `PATCH workflows/{name}/instances/{id}/status`.
pub(super) async fn set_status(
    State(api): State<Api>,
    Path((_, name, id)): Instance,
    body: Bytes,
) -> Answer {
    let new: NewStatus = parse(&body)?;
    if !["pause", "resume", "restart", "terminate"].contains(&new.status.as_str()) {
        let text = format!(
            "`status` is `{}`, not pause, resume, restart or terminate",
            new.status
        );
        return Err(Failure::bad_request(text));
    }
    let workflow = find(&api, &name).await?;
    let found = call(&api, &workflow, &new.status, &json!({"id": id})).await?;
    result(json!({"status": found["status"]}))
}

/// `POST workflows/{name}/instances/{id}/events/{event}`.
pub(super) async fn send_event(
    State(api): State<Api>,
    Path((_, name, id, event)): Path<(String, String, String, String)>,
    body: Bytes,
) -> Answer {
    let payload: Value = if body.is_empty() {
        Value::Null
    } else {
        parse(&body)?
    };
    let workflow = find(&api, &name).await?;
    let event = json!({"type": event, "payload": payload});
    call(&api, &workflow, "send", &json!({"id": id, "event": event})).await?;
    result(json!({}))
}

async fn find(api: &Api, name: &str) -> Result<Workflow, Failure> {
    let (control, name) = (api.control.clone(), name.to_owned());
    blocking(move || control.workflow(&name)).await
}

async fn call(api: &Api, workflow: &Workflow, verb: &str, body: &Value) -> Result<Value, Failure> {
    let path = format!("/workflow/{}/{verb}", encoded(&workflow.name));
    let called = api
        .runtime
        .call(&workflow.script_name, &path, body.to_string().into())
        .await;
    let refused = |status, text| Failure::new(status, 10_001, text);
    let response = called.map_err(|reason| refused(StatusCode::SERVICE_UNAVAILABLE, reason))?;
    let answer: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    if response.status().is_success() {
        return Ok(answer);
    }
    let text = answer["error"]
        .as_str()
        .unwrap_or("the Workflow cannot be reached");
    let status = match text.contains("not_found") {
        true => StatusCode::NOT_FOUND,
        false => StatusCode::BAD_REQUEST,
    };
    Err(refused(status, text.to_owned()))
}
