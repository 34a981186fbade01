//! `POST /commit`: an image of a container.

use std::sync::Arc;

use berth_engine::CommitSpec;
use berth_image::Reference;
use http::StatusCode;
use serde_json::json;

use crate::api::Api;
use crate::error::ApiError;
use crate::images::in_store;
use crate::query::Query;
use crate::respond::{Reply, json_reply};
use crate::time::{now_ms, rfc3339};

/// How workerd names the snapshots of containers.
pub(crate) const SNAPSHOT: &str = "workerd-container-snap-";

/// 201 with the image's id; 404. Docker pauses the container unless told otherwise.
pub(crate) async fn commit(api: &Arc<Api>, query: &Query) -> Reply {
    let container = query
        .get("container")
        .ok_or_else(|| ApiError::bad_request("no container given"))?;
    if query.get("changes").is_some() {
        return Err(ApiError::unsupported(
            "changing the configuration of a commit",
        ));
    }
    let reference = match (query.get("repo"), query.get("tag")) {
        (None, _) => None,
        (Some(repo), None) => Some(repo.to_owned()),
        (Some(repo), Some(tag)) => Some(format!("{repo}:{tag}")),
    };
    if let Some(reference) = &reference {
        reference
            .parse::<Reference>()
            .map_err(|error| ApiError::bad_request(berth_error::chain(&error)))?;
    }
    let snapshot = reference.clone().filter(|name| name.starts_with(SNAPSHOT));
    let spec = CommitSpec {
        reference,
        pause: query.get("pause").is_none() || query.flag("pause"),
        comment: query.get("comment").unwrap_or_default().to_owned(),
        author: query.get("author").unwrap_or_default().to_owned(),
        created: rfc3339(now_ms()),
    };
    let image = api.engine.commit(container, spec).await?;
    if let Some(name) = snapshot {
        // An object may ask for it at any time: it is not removed because nothing uses it now.
        let image = image.clone();
        in_store(api, move |store| {
            store.pin(&format!("snapshot `{name}`"), &image)
        })
        .await?;
    }
    Ok(json_reply(
        StatusCode::CREATED,
        &json!({"Id": image.id.to_string()}),
    ))
}
