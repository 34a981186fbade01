//! Images: listing, inspecting, naming, removing, pulling.

use std::sync::Arc;

use berth_image::{Image, ImageStore, ImageSummary, Reference};
use http::StatusCode;
use serde_json::{Value, json};

use crate::api::Api;
use crate::error::ApiError;
use crate::filters::Filters;
use crate::query::Query;
use crate::respond::{self, Reply, ok};
use crate::sidecar::is_sidecar_image;
use crate::{system, time};

mod pull;

pub(crate) use pull::{create, login};

/// `GET /images/json`: one entry for each image, with all its names. Of the filters, `reference`
/// is understood.
pub(crate) async fn list(api: &Arc<Api>, query: &Query) -> Reply {
    let filters = Filters::parse_known(query.get("filters"), &["reference", "dangling"])?;
    let mut images: Vec<ImageSummary> = in_store(api, ImageStore::list).await?;
    images.retain(|image| filters.matches_reference(&image.name));
    images.sort_by(|a, b| (b.created, &a.id).cmp(&(a.created, &b.id)));
    let list: Vec<Value> = images
        .chunk_by(|a, b| a.id == b.id)
        .map(|image| {
            let (digests, tags) = split(image);
            json!({
                "Id": image[0].id.to_string(),
                "ParentId": "",
                "RepoTags": tags,
                "RepoDigests": digests,
                "Created": image[0].created,
                "Size": image[0].size,
                "VirtualSize": image[0].size,
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
    let (image, named) = find(api, name).await?;
    let of = image.clone();
    let digests = in_store(api, move |store| store.repo_digests(&of)).await?;
    let (_, tags) = split(&named);
    let size = named.first().map_or_else(
        || image.layers.iter().map(|layer| layer.size).sum(),
        |summary| summary.size,
    );
    let created = named.first().map(|summary| summary.created);
    let of = image.clone();
    // Of a committed image: what it was made from.
    let stored = in_store(api, move |store| store.config_json(&of)).await?;
    let parent = stored["parent"].as_str();
    let mut document = image_json(&image, &tags, size, created, parent);
    document["RepoDigests"] = digests.into();
    Ok(ok(&document))
}

/// Names with a digest (images that were asked for like this have them), and those with a tag.
fn split(named: &[ImageSummary]) -> (Vec<&str>, Vec<&str>) {
    let names = named.iter().map(|summary| summary.name.as_str());
    names.partition(|name| name.contains('@'))
}

/// An image and its names.
async fn find(api: &Arc<Api>, name: &str) -> Result<(Image, Vec<ImageSummary>), ApiError> {
    let reference = name.to_owned();
    let found = in_store(api, move |store| {
        let Some(image) = store.resolve(&reference)? else {
            return Ok(None);
        };
        let mut named = store.list()?;
        named.retain(|summary| summary.id == image.id);
        Ok(Some((image, named)))
    })
    .await?;
    found.ok_or_else(|| ApiError::not_found(format!("No such image: {name}")))
}

/// `POST /images/{name}/tag?repo=&tag=`: another name for an image.
pub(crate) async fn tag(api: &Arc<Api>, name: &str, query: &Query) -> Reply {
    let repo = query
        .get("repo")
        .ok_or_else(|| ApiError::bad_request("no repository name given"))?;
    let new = match query.get("tag") {
        Some(tag) => format!("{repo}:{tag}"),
        None => repo.to_owned(),
    };
    new.parse::<Reference>()
        .map_err(|error| ApiError::bad_request(berth_error::chain(&error)))?;
    let (image, _) = find(api, name).await?;
    in_store(api, move |store| store.tag(&image, &new)).await?;
    Ok(respond::empty(StatusCode::CREATED))
}

/// `DELETE /images/{reference}`: a name or, by its id, an image with all its names. Containers that
/// run go on: what they use stays in the store as long as they do.
pub(crate) async fn remove(api: &Arc<Api>, reference: &str) -> Reply {
    let (image, named) = find(api, reference).await?;
    let wanted = reference.to_owned();
    let (id, left) = in_store(api, move |store| {
        store.remove(&wanted)?;
        let mut left = store.list()?;
        left.retain(|summary| summary.id == image.id);
        if left.is_empty() {
            store.unpin_image(&image.id)?;
        }
        Ok((image.id.to_string(), left))
    })
    .await?;
    let gone = named
        .iter()
        .filter(|summary| !left.iter().any(|kept| kept.name == summary.name));
    let mut lines: Vec<Value> = gone
        .map(|summary| json!({"Untagged": summary.name}))
        .collect();
    if left.is_empty() {
        lines.push(json!({ "Deleted": id }));
    }
    Ok(ok(&lines.into()))
}

/// An OCI image configuration has the same keys as Docker's.
fn image_json(
    image: &Image,
    tags: &[&str],
    size: u64,
    created: Option<u64>,
    parent: Option<&str>,
) -> Value {
    let config = serde_json::to_value(&*image.config).unwrap_or_default();
    json!({
        "Id": image.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": [],
        "Parent": parent.unwrap_or_default(),
        "Created": time::rfc3339_or_never(created.map(|seconds| seconds.saturating_mul(1000))),
        "Size": size,
        "Architecture": config["architecture"],
        "Os": config["os"],
        "Config": config["config"],
        "RootFS": {"Type": "layers", "Layers": config["rootfs"]["diff_ids"]},
    })
}

/// Runs a blocking operation of the store beside the tasks of the server.
pub(crate) async fn in_store<T: Send + 'static>(
    api: &Arc<Api>,
    operation: impl FnOnce(&ImageStore) -> Result<T, berth_image::ImageError> + Send + 'static,
) -> Result<T, ApiError> {
    let store = api.engine.images().clone();
    tokio::task::spawn_blocking(move || operation(&store))
        .await
        .map_err(|error| ApiError::internal(format!("the image store: {error}")))?
        .map_err(|error| ApiError::internal(berth_error::chain(&error)))
}
