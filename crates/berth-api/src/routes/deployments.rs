//! Deployments: which version is live, and was.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::{Path, Query, State};
use berth_control::ControlError;
use berth_control::worker::Deployment;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::settings::parse;
use super::upload::settle;
use super::workers::{Named, find};
use crate::Api;
use crate::envelope::{Answer, result};
use crate::guard::{Caller, blocking};

/// `GET deployments`: newest first.
pub(super) async fn list(State(api): State<Api>, Path((_, name)): Named) -> Answer {
    let worker = find(&api, &name).await?;
    let deployments: Vec<Value> = worker.deployments.iter().map(describe).collect();
    result(json!({"deployments": deployments}))
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Force {
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct NewDeployment {
    strategy: String,
    versions: Vec<Share>,
    #[serde(default)]
    annotations: BTreeMap<String, Option<String>>,
}

#[derive(Deserialize, JsonSchema)]
struct Share {
    version_id: String,
    percentage: f64,
}

/// `POST deployments`: makes a version live, also an old one.
pub(super) async fn create(
    State(api): State<Api>,
    Path((_, name)): Named,
    Query(Force { force }): Query<Force>,
    Extension(Caller(token)): Extension<Caller>,
    body: Bytes,
) -> Answer {
    let new: NewDeployment = parse(&body)?;
    let [
        Share {
            version_id,
            percentage,
        },
    ] = new.versions.as_slice()
    else {
        return Err(
            ControlError::Split(format!("{} versions were named", new.versions.len())).into(),
        );
    };
    if (percentage - 100.0).abs() > f64::EPSILON || new.strategy != "percentage" {
        return Err(ControlError::Split(format!("{percentage} % were given to one")).into());
    }
    let version = version_id.clone();
    let worker = find(&api, &name).await?;
    let mut tried = worker.clone();
    if let Some(first) = tried.deployments.first_mut() {
        first.version_id.clone_from(&version);
        if tried.live().is_some() {
            let checked = api.runtime.check(&tried).await;
            checked.map_err(crate::failure::Failure::not_valid)?;
        }
    }
    let annotations = new.annotations.into_iter();
    let annotations = annotations
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let (control, target) = (api.control.clone(), name.clone());
    let deployment =
        blocking(move || control.deploy(&target, &version, &token.name, &annotations, force))
            .await?;
    settle(&api, &name).await?;
    result(describe(&deployment))
}

fn describe(deployment: &Deployment) -> Value {
    json!({
        "id": deployment.id,
        "source": "wrangler",
        "strategy": "percentage",
        "author_email": deployment.author,
        "created_on": deployment.created,
        "annotations": deployment.annotations,
        "versions": [{"version_id": deployment.version_id, "percentage": 100}],
    })
}
