//! `berth images inspect`.

use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use berth_error::Report;
use berth_image::{Image, ImageStore, Usage};
use serde_json::{Value, json};

use super::{find, print_json};
use crate::cli::ImagesInspectArgs;

pub(super) fn run(store: &ImageStore, args: &ImagesInspectArgs) -> Result<ExitCode, Report> {
    let usage = store.usage()?;
    let documents = args
        .images
        .iter()
        .map(|reference| document(store, &usage, &find(store, reference)?))
        .collect::<Result<Vec<Value>, Report>>()?;
    print_json(&documents.into())
}

fn document(store: &ImageStore, usage: &Usage, image: &Image) -> Result<Value, Report> {
    let known = usage.images.iter().find(|known| known.id == image.id);
    let last_used = known.and_then(|known| known.last_used.duration_since(UNIX_EPOCH).ok());
    let config = store.config_json(image)?;
    let layers: Vec<Value> = image
        .layers
        .iter()
        .map(|layer| {
            json!({
                "diffId": layer.diff_id.to_string(),
                "digest": layer.digest.to_string(),
                "size": layer.size,
                "mediaType": layer.media_type,
            })
        })
        .collect();
    Ok(json!({
        "id": image.id.to_string(),
        "names": known.map(|known| known.names.clone()).unwrap_or_default(),
        "digest": image.manifest.to_string(),
        "repoDigests": store.repo_digests(image)?,
        "os": config["os"],
        "architecture": config["architecture"],
        "created": config["created"],
        "lastUsed": last_used.map(|since| since.as_secs()),
        "size": store.size(image)?,
        "onDisk": known.map(|known| known.bytes),
        "onDiskAlone": known.map(|known| known.unique_bytes),
        "neededBy": store.users(image)?,
        "config": config["config"],
        "layers": layers,
    }))
}
