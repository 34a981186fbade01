//! Uploads of Workers: tried out before they are versions.

use axum::Extension;
use axum::extract::multipart::{Multipart, MultipartError};
use axum::extract::{Path, State};
use berth_control::upload::{Metadata, Part, Upload};
use berth_control::worker::{Version, Worker};
use schemars::JsonSchema;
use serde_json::json;

use super::versions;
use super::workers::Named;
use crate::Api;
use crate::envelope::{Answer, result};
use crate::failure::Failure;
use crate::guard::{Caller, blocking};

/// The parts of an upload; the others are its modules.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "the description only")]
pub(super) struct Form {
    metadata: Metadata,
}

/// `PUT scripts/{name}`: a version that is live at once, or (`berth.pending` of the answer) as soon as its
/// containers are known.
pub(super) async fn put(
    State(api): State<Api>,
    Path((_, name)): Named,
    Extension(caller): Extension<Caller>,
    form: Multipart,
) -> Answer {
    let (worker, version) = make(&api, &name, &caller, form, true).await?;
    result(json!({
        "id": worker.name,
        "tag": worker.id,
        "deployment_id": version.id,
        "etag": version.etag,
        "startup_time_ms": 0,
        "created_on": worker.created,
        "modified_on": worker.modified,
        "has_assets": version.assets.is_some(),
        "has_modules": version.main_module.is_some(),
        "handlers": [],
        "last_deployed_from": "wrangler",
        "usage_model": "standard",
        "berth": {"pending": worker.pending.is_some()},
    }))
}

/// `POST scripts/{name}/versions`: a version.
pub(super) async fn post(
    State(api): State<Api>,
    Path((_, name)): Named,
    Extension(caller): Extension<Caller>,
    form: Multipart,
) -> Answer {
    let (worker, version) = make(&api, &name, &caller, form, false).await?;
    result(versions::describe(&worker, &version))
}

async fn make(
    api: &Api,
    name: &str,
    Caller(token): &Caller,
    form: Multipart,
    live: bool,
) -> Result<(Worker, Version), Failure> {
    let (metadata, parts) = read(form).await?;
    let upload = Upload::parse(&metadata, parts)
        .map_err(|error| Failure::from(berth_control::ControlError::from(error)))?;
    let (control, worker, author) = (api.control.clone(), name.to_owned(), token.name.clone());
    let new = blocking(move || control.prepare(&worker, &author, upload)).await?;
    let id = new.id().to_owned();
    let (new, tried) = blocking(move || {
        let tried = new.tried()?;
        Ok((new, tried))
    })
    .await?;
    api.runtime
        .check(&tried)
        .await
        .map_err(Failure::not_valid)?;
    let worker = blocking(move || new.commit(live)).await?;
    if live && worker.pending.is_none() {
        settle(api, name).await?;
    }
    let version = worker.version(&id).cloned();
    let version = version.ok_or_else(|| Failure::bad_request("the version is gone again"))?;
    Ok((worker, version))
}

/// What is recorded is answered by, when the client hears of it.
pub(super) async fn settle(api: &Api, name: &str) -> Result<(), Failure> {
    let settled = api.runtime.settled(name).await;
    settled
        .map_err(|reason| Failure::not_valid(format!("It is deployed, but does not run: {reason}")))
}

/// The form: `metadata`, and a part for each module.
async fn read(mut form: Multipart) -> Result<(Vec<u8>, Vec<Part>), Failure> {
    let broken = |error: MultipartError| {
        Failure::new(
            error.status(),
            10001,
            format!("the upload cannot be read: {}", error.body_text()),
        )
    };
    let mut metadata = None;
    let mut parts = Vec::new();
    while let Some(field) = form.next_field().await.map_err(broken)? {
        let name = field.name().unwrap_or_default().to_owned();
        let content_type = field.content_type().unwrap_or_default().to_owned();
        let bytes = field.bytes().await.map_err(broken)?.to_vec();
        if name == "metadata" && metadata.is_none() {
            metadata = Some(bytes);
        } else {
            parts.push(Part {
                name,
                content_type,
                bytes,
            });
        }
    }
    let metadata =
        metadata.ok_or_else(|| Failure::bad_request("the upload has no part `metadata`"))?;
    Ok((metadata, parts))
}
