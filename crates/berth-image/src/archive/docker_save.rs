//! What `docker save` wrote before it wrote OCI layouts: `manifest.json`, a configuration file and a
//! plain tar per layer.

use oci_spec::image::ImageConfiguration;
use serde::Deserialize;

use super::{Found, Source, check_platform, in_parallel};
use crate::store::{Ingest, Plain};
use crate::{Digest, ImageError, ImageStore};

/// One image of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Takes in every image of the archive. The configuration stays as it is, so the image id is Docker's.
pub(super) fn import(store: &ImageStore, source: &Source) -> Result<Vec<Found>, ImageError> {
    let saved: Vec<Saved> =
        crate::json::parse(&source.document("manifest.json")?, "`manifest.json`")?;
    saved
        .into_iter()
        .map(|saved| import_one(store, source, saved))
        .collect()
}

fn import_one(store: &ImageStore, source: &Source, saved: Saved) -> Result<Found, ImageError> {
    let config_bytes = source.document(&saved.config)?;
    check_name(&saved.config, &config_bytes)?;
    let config: ImageConfiguration = crate::json::parse(&config_bytes, "the image configuration")?;
    check_platform(&config.os().to_string(), &config.architecture().to_string())?;
    let diff_ids = config.rootfs().diff_ids();
    if diff_ids.len() != saved.layers.len() {
        return Err(source.bad("its layers are not those of the image's configuration"));
    }
    let layers: Vec<_> = saved.layers.iter().zip(diff_ids).collect();
    let layers = in_parallel(&layers, |(path, diff_id)| {
        let diff_id: Digest = diff_id.parse()?;
        if let Some(layer) = store.layer(&diff_id)?
            && store.has_layer(&layer)
        {
            return Ok(layer);
        }
        let mut how = Ingest::new(format!("layer `{path}`"));
        how.diff_id = Some(diff_id);
        how.plain = Plain::Compress;
        store.ingest(source.need(path)?, &how)
    })?;
    Ok(Found {
        image: store.put_config(&config_bytes, layers)?,
        names: saved.repo_tags.unwrap_or_default(),
    })
}

/// The configuration's file is named by its digest.
fn check_name(name: &str, bytes: &[u8]) -> Result<(), ImageError> {
    let stem = name.rsplit('/').next().unwrap_or(name);
    let stem = stem.strip_suffix(".json").unwrap_or(stem);
    let actual = Digest::of(bytes);
    match format!("sha256:{stem}").parse::<Digest>() {
        Ok(expected) if expected != actual => Err(ImageError::DigestMismatch {
            what: format!("`{name}`"),
            expected,
            actual,
        }),
        _ => Ok(()),
    }
}
