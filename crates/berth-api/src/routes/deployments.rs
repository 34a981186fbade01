//! Deployments: which version is live, and was.

use std::collections::{BTreeMap, BTreeSet};

use axum::Extension;
use axum::extract::{Path, Query, State};
use berth_control::ControlError;
use berth_control::worker::{Deployment, Worker};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::settings::parse;
use super::upload::settle;
use super::waiting;
use super::workers::{Named, find};
use crate::Api;
use crate::envelope::{Answer, result};
use crate::failure::Failure;
use crate::guard::{Caller, blocking};

/// `GET deployments`: newest first; beside them the version that waits for its containers, if there is one.
pub(super) async fn list(State(api): State<Api>, Path((_, name)): Named) -> Answer {
    let worker = find(&api, &name).await?;
    let deployments: Vec<Value> = worker.deployments.iter().map(describe).collect();
    let mut shown = json!({"deployments": deployments});
    if let Some(pending) = waiting::describe(&worker) {
        shown["pending"] = pending;
    }
    result(shown)
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
    if let Some(pending) = &worker.pending
        && pending.version_id == version
    {
        waiting::go_live(&api, &worker, &version).await?;
        let worker = find(&api, &name).await?;
        let deployment = worker.deployments.first();
        return result(deployment.map(describe));
    }
    let mut tried = worker.clone();
    if let Some(first) = tried.deployments.first_mut() {
        first.version_id.clone_from(&version);
        if tried.live().is_some() {
            let checked = api.runtime.check(&tried).await;
            checked.map_err(Failure::not_valid)?;
        }
    }
    provide_images(&api, &worker, &version).await?;
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

/// Whatever the version's containers run with is here, before anything changes.
async fn provide_images(api: &Api, worker: &Worker, version: &str) -> Result<(), Failure> {
    let (control, of, id) = (api.control.clone(), worker.clone(), version.to_owned());
    let configurations = blocking(move || control.configurations_of(&of, &id)).await?;
    let images = configurations.values();
    let mut images: BTreeSet<String> = images
        .filter_map(|configuration| Some(configuration.get("image")?.as_str()?.to_owned()))
        .collect();
    if let Some(version) = worker.version(version) {
        let classes = worker.classes.keys();
        images.extend(classes.flat_map(|class| version.images(class).into_values()));
    }
    for image in images {
        let provided = api.runtime.provide_image(&image).await;
        provided.map_err(|reason| {
            Failure::bad_request(format!(
                "The version {version} ran with the image `{image}`, which is gone ({reason}). Nothing \
                 was changed: push the image again, or choose another version"
            ))
        })?;
    }
    Ok(())
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
