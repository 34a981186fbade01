//! Rollouts of container applications: asked for, looked at, and led by hand.

use axum::extract::{Path, State};
use berth_control::containers::{Application, Rollout};
use berth_control::rollout::{Act, Step};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::containers::{find, health};
use super::settings::parse;
use crate::Api;
use crate::envelope::{Answer, result};
use crate::failure::Failure;
use crate::guard::blocking;

/// Below an account and an application.
type OfApplication = Path<(String, String)>;
/// Below these: a rollout.
type OfRollout = Path<(String, String, String)>;

/// `POST applications/{id}/rollouts`: begins one. Its steps go on without the client.
pub(super) async fn create(
    State(api): State<Api>,
    Path((_, id)): OfApplication,
    body: Bytes,
) -> Answer {
    let request: Map<String, Value> = parse(&body)?;
    find(&api, &id).await?;
    if let Some(target) = request.get("target_configuration")
        && let Some(image) = target.get("image").and_then(Value::as_str)
    {
        let provided = api.runtime.provide_image(image).await;
        provided.map_err(Failure::bad_request)?;
    }
    let control = api.control.clone();
    let (application, rollout) = blocking(move || control.roll_out(&id, &request)).await?;
    result(describe(&api, &application, &rollout))
}

/// `GET applications/{id}/rollouts`: newest first.
pub(super) async fn list(State(api): State<Api>, Path((_, id)): OfApplication) -> Answer {
    let application = find(&api, &id).await?;
    let rollouts = application.rollouts.iter();
    let shown = rollouts.map(|rollout| describe(&api, &application, rollout));
    result(shown.collect::<Vec<_>>())
}

/// `GET applications/{id}/rollouts/{rollout}`.
pub(super) async fn one(State(api): State<Api>, Path((_, id, rollout)): OfRollout) -> Answer {
    let application = find(&api, &id).await?;
    let mut rollouts = application.rollouts.iter();
    let found = rollouts.find(|one| one.id == rollout);
    let found = found.ok_or(berth_control::ControlError::NoRollout(rollout))?;
    result(describe(&api, &application, found))
}

/// What is to be done with a rollout.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    /// Begin the next step.
    Next,
    /// Undo the last step.
    Previous,
    /// Undo all of them.
    Revert,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Asked {
    action: Action,
}

/// `POST applications/{id}/rollouts/{rollout}`: the next step, the one before, or none.
pub(super) async fn act(
    State(api): State<Api>,
    Path((_, id, rollout)): OfRollout,
    body: Bytes,
) -> Answer {
    let Asked { action } = parse(&body)?;
    let act = match action {
        Action::Next => Act::Next,
        Action::Previous => Act::Previous,
        Action::Revert => Act::Revert,
    };
    let application = find(&api, &id).await?;
    let seen = api.runtime.seen(&application.namespace_id);
    let control = api.control.clone();
    let acted = blocking(move || control.act_on_rollout(&id, &rollout, act, &seen)).await?;
    let (application, rollout) = acted;
    result(json!({
        "success": true,
        "message": "",
        "rollout": describe(&api, &application, &rollout),
    }))
}

fn describe(api: &Api, application: &Application, rollout: &Rollout) -> Value {
    let seen = api.runtime.seen(&application.namespace_id);
    let updated = seen.iter().filter(|one| one.version == rollout.to_version);
    let first = rollout.steps.first();
    let mut shown = json!({
        "id": rollout.id,
        "created_at": rollout.created,
        "last_updated_at": if rollout.updated.is_empty() { &rollout.created } else { &rollout.updated },
        "description": rollout.description,
        "kind": rollout.kind,
        "strategy": "rolling",
        "current_version": rollout.from_version,
        "target_version": rollout.to_version,
        "current_configuration": rollout.former,
        "target_configuration": rollout.configuration,
        "status": rollout.status,
        "health": {"instances": health(api, application)},
        "progress": {
            "total_steps": rollout.steps.len(),
            "current_step": rollout.begun,
            "updated_instances": updated.count(),
            "total_instances": seen.len(),
        },
        "steps": rollout.steps.iter().enumerate().map(describe_step).collect::<Vec<_>>(),
    });
    if rollout.atomic {
        shown["atomic"] = true.into();
    }
    if let Some(started) = first.and_then(|step| step.started.as_ref()) {
        shown["started_at"] = started.clone().into();
    }
    shown
}

/// Nothing is `null`: wrangler's client tells it from what is absent.
fn describe_step((index, step): (usize, &Step)) -> Value {
    let mut shown = json!({
        "id": index + 1,
        "step_size": {"percentage": step.percentage},
        "description": step.description,
        "status": step.status,
    });
    for (name, value) in [
        ("reason", &step.reason),
        ("started_at", &step.started),
        ("completed_at", &step.completed),
    ] {
        if let Some(value) = value {
            shown[name] = value.clone().into();
        }
    }
    shown
}
