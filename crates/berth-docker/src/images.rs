//! Images: listing, inspecting, and the answer to a pull.

use std::sync::Arc;

use berth_image::{Image, ImageStore};
use http::StatusCode;
use serde_json::{Value, json};

use crate::api::Api;
use crate::error::ApiError;
use crate::query::Query;
use crate::respond::{Reply, ok, typed};
use crate::sidecar::is_sidecar_image;
use crate::{system, time};

/// `GET /images/json`.
pub(crate) async fn list(api: &Arc<Api>) -> Reply {
    let images = in_store(api, ImageStore::list).await?;
    let list: Vec<Value> = images
        .iter()
        .map(|image| {
            json!({
                "Id": image.id.to_string(),
                "ParentId": "",
                "RepoTags": [image.name],
                "RepoDigests": [],
                "Created": image.created,
                "Size": image.size,
                "SharedSize": -1,
                "Labels": Value::Null,
                "Containers": -1,
            })
        })
        .collect();
    Ok(ok(&list.into()))
}

/// `GET /images/{name}/json`. The sidecar's image always exists.
pub(crate) async fn inspect(api: &Arc<Api>, name: &str) -> Reply {
    if is_sidecar_image(name) {
        return Ok(ok(&json!({
            "Id": format!("sha256:{}", "0".repeat(64)),
            "RepoTags": [name],
            "Parent": "",
            "Size": 0,
            "Architecture": system::architecture(),
            "Os": "linux",
            "Config": {"ExposedPorts": {crate::sidecar::INGRESS_PORT: {}}},
        })));
    }
    let reference = name.to_owned();
    let found = in_store(api, move |store| {
        let Some(image) = store.resolve(&reference)? else {
            return Ok(None);
        };
        let named: Vec<_> = store
            .list()?
            .into_iter()
            .filter(|summary| summary.id == image.id)
            .collect();
        Ok(Some((image, named)))
    })
    .await?;
    let (image, named) =
        found.ok_or_else(|| ApiError::not_found(format!("No such image: {name}")))?;
    let tags: Vec<&str> = named.iter().map(|summary| summary.name.as_str()).collect();
    let size = named.first().map_or_else(
        || image.layers.iter().map(|layer| layer.size).sum(),
        |summary| summary.size,
    );
    let created = named.first().map(|summary| summary.created);
    Ok(ok(&image_json(&image, &tags, size, created)))
}

/// An OCI image configuration has the same keys as Docker's.
fn image_json(image: &Image, tags: &[&str], size: u64, created: Option<u64>) -> Value {
    let config = serde_json::to_value(&*image.config).unwrap_or_default();
    json!({
        "Id": image.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": [],
        "Parent": "",
        "Created": time::rfc3339_or_never(created.map(|seconds| seconds.saturating_mul(1000))),
        "Size": size,
        "Architecture": config["architecture"],
        "Os": config["os"],
        "Config": config["config"],
        "RootFS": {"Type": "layers", "Layers": config["rootfs"]["diff_ids"]},
    })
}

/// `POST /images/create`: images that are here count as pulled; nothing is fetched.
pub(crate) async fn pull(api: &Arc<Api>, query: &Query) -> Reply {
    let image = query
        .get("fromImage")
        .ok_or_else(|| ApiError::unsupported("making an image of an upload"))?;
    let reference = match query.get("tag") {
        Some(tag) if tag.starts_with("sha256:") => format!("{image}@{tag}"),
        Some(tag) => format!("{image}:{tag}"),
        None => image.to_owned(),
    };
    let wanted = reference.clone();
    let here =
        is_sidecar_image(&reference) || in_store(api, move |s| s.resolve(&wanted)).await?.is_some();
    if !here {
        return Err(ApiError::not_found(format!(
            "the image {reference} is not in the local store, and pulling is not supported yet: \
             bring it in with `berth images import`"
        )));
    }
    let line = json!({"status": format!("Status: Image is up to date for {reference}")});
    Ok(typed(
        StatusCode::OK,
        "application/json",
        format!("{line}\n"),
    ))
}

/// Runs a blocking operation of the store beside the tasks of the server.
async fn in_store<T: Send + 'static>(
    api: &Arc<Api>,
    operation: impl FnOnce(&ImageStore) -> Result<T, berth_image::ImageError> + Send + 'static,
) -> Result<T, ApiError> {
    let store = api.engine.images().clone();
    tokio::task::spawn_blocking(move || operation(&store))
        .await
        .map_err(|error| ApiError::internal(format!("the image store: {error}")))?
        .map_err(|error| ApiError::internal(berth_error::chain(&error)))
}
