//! Volumes: what directory snapshots are kept in.
//!
//! workerd 1.20261117.1 keeps a snapshot in `workerd-snap-<uuid>` and, for each restore, makes a
//! `workerd-snap-clone-<uuid>` of it that it deletes with the container.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_engine::{EngineError, VolumeInfo, Volumes};
use http::StatusCode;
use serde_json::{Value, json};

use crate::api::Api;
use crate::body::CreateVolume;
use crate::error::ApiError;
use crate::filters::{Candidate, Filters};
use crate::query::Query;
use crate::respond::{Reply, empty, json_reply, ok};
use crate::time::rfc3339;

/// How workerd's own volumes begin. They end with the session: clones, because their containers do;
/// snapshots, unless they have been filled.
pub(crate) const WORKERDS_PREFIX: &str = "workerd-snap-";
/// How those of them begin that are copies for a container.
pub(crate) const CLONES_PREFIX: &str = "workerd-snap-clone-";

/// `POST /volumes/create`: 201; a volume that exists is answered as it is.
pub(crate) async fn create(api: &Arc<Api>, body: CreateVolume) -> Reply {
    if !matches!(body.driver.as_str(), "" | "local") {
        let message = format!("the volume driver {}", body.driver);
        return Err(ApiError::unsupported(&message));
    }
    let name = if body.name.is_empty() {
        crate::api::random_id()
    } else {
        body.name
    };
    let (labels, options) = (body.labels, body.driver_opts);
    let create = if name.starts_with(WORKERDS_PREFIX) {
        Volumes::create_passing
    } else {
        Volumes::create
    };
    let made = blocking(api, move |volumes| create(volumes, &name, labels, options)).await?;
    Ok(json_reply(StatusCode::CREATED, &volume_json(&made)))
}

/// `GET /volumes/{name}`: 200; 404. workerd's first call when it restores a snapshot: it is used now.
pub(crate) async fn inspect(api: &Arc<Api>, name: &str) -> Reply {
    let wanted = name.to_owned();
    let found = blocking(api, move |volumes| {
        let found = volumes.get(&wanted);
        volumes.touch(&wanted);
        found.ok_or(EngineError::NoSuchVolume(wanted))
    });
    Ok(ok(&volume_json(&found.await?)))
}

/// `GET /volumes`: all, or those that the filters `name` and `label` leave.
pub(crate) async fn list(api: &Arc<Api>, query: &Query) -> Reply {
    let filters = Filters::parse_known(query.get("filters"), &["name", "label"])?;
    let all = blocking(api, Volumes::list).await?;
    let wanted = all.iter().filter(|volume| {
        filters.matches(&Candidate {
            id: "",
            name: &volume.name,
            image: "",
            image_id: "",
            status: "",
            labels: &volume.labels,
        })
    });
    let volumes: Vec<Value> = wanted.map(volume_json).collect();
    Ok(ok(&json!({"Volumes": volumes, "Warnings": Value::Null})))
}

/// `DELETE /volumes/{name}`: 204; 404; 409 while something uses it.
pub(crate) async fn remove(api: &Arc<Api>, name: &str) -> Reply {
    let wanted = name.to_owned();
    blocking(api, move |volumes| volumes.remove(&wanted)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

fn volume_json(volume: &VolumeInfo) -> Value {
    let labels: &BTreeMap<String, String> = &volume.labels;
    json!({
        "Name": volume.name,
        "Driver": "local",
        "Mountpoint": "",
        "CreatedAt": rfc3339(volume.created_ms),
        "Labels": labels,
        "Options": volume.options,
        "Scope": "local",
    })
}

/// Runs a blocking operation beside the tasks of the server.
async fn blocking<T: Send + 'static>(
    api: &Arc<Api>,
    operation: impl FnOnce(&Volumes) -> Result<T, EngineError> + Send + 'static,
) -> Result<T, ApiError> {
    let volumes = api.engine.volumes().clone();
    let done = tokio::task::spawn_blocking(move || operation(&volumes)).await;
    Ok(done.map_err(|error| ApiError::internal(format!("the volumes: {error}")))??)
}
