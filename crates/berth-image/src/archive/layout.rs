//! OCI image layout: `index.json` and `blobs/<algorithm>/<hex>`.

use oci_spec::image::ImageConfiguration;
use serde::Deserialize;
use serde_json::Value;

use super::{Found, OS, Source, architecture, check_platform, in_parallel};
use crate::store::{Ingest, Manifest, pair_layers};
use crate::{Digest, Image, ImageError, ImageStore};

/// Most indexes inside each other.
const MAX_DEPTH: usize = 4;

/// `index.json`, or an index blob.
#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Member>,
    /// Must be absent, see [`Manifest`].
    layers: Option<Value>,
    config: Option<Value>,
}

/// One line of an index.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    digest: Digest,
    #[serde(default)]
    media_type: String,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Debug, Default, Deserialize)]
struct Annotations {
    #[serde(rename = "io.containerd.image.name")]
    full_name: Option<String>,
    #[serde(rename = "org.opencontainers.image.ref.name")]
    ref_name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

impl Platform {
    fn fits(&self) -> bool {
        self.os == OS && self.architecture == architecture()
    }
}

impl Member {
    fn is_index(&self) -> bool {
        matches!(
            self.media_type.as_str(),
            "application/vnd.oci.image.index.v1+json"
                | "application/vnd.docker.distribution.manifest.list.v2+json"
        )
    }

    fn name(&self) -> Option<String> {
        [&self.annotations.full_name, &self.annotations.ref_name]
            .into_iter()
            .flatten()
            .find(|name| name.parse::<crate::Reference>().is_ok())
            .cloned()
    }
}

/// Takes in every image of the layout that is for this machine.
pub(super) fn import(store: &ImageStore, source: &Source) -> Result<Vec<Found>, ImageError> {
    let index = parse_index(&source.document("index.json")?)?;
    let mut found = Vec::new();
    for member in fitting(&index)? {
        let image = import_member(store, source, member, &mut Vec::new())?;
        found.push(Found {
            image,
            names: member.name().into_iter().collect(),
        });
    }
    Ok(found)
}

fn parse_index(bytes: &[u8]) -> Result<Index, ImageError> {
    let index: Index = crate::json::parse(bytes, "the image index")?;
    if index.layers.is_some() || index.config.is_some() {
        return Err(ImageError::BadImage(
            "a document claims to be a manifest and an index at once".to_owned(),
        ));
    }
    Ok(index)
}

/// The members for this machine; those that do not say are looked at later.
fn fitting(index: &Index) -> Result<Vec<&Member>, ImageError> {
    let fits = |member: &&Member| member.platform.as_ref().is_none_or(Platform::fits);
    let members: Vec<&Member> = index.manifests.iter().filter(fits).collect();
    if members.is_empty() && !index.manifests.is_empty() {
        let mut found: Vec<String> = index
            .manifests
            .iter()
            .filter_map(|member| member.platform.as_ref())
            .map(|platform| format!("{}/{}", platform.os, platform.architecture))
            .collect();
        found.dedup();
        return Err(ImageError::Platform {
            wanted: format!("{OS}/{}", architecture()),
            found: found.join(", "),
        });
    }
    Ok(members)
}

fn import_member(
    store: &ImageStore,
    source: &Source,
    member: &Member,
    indexes: &mut Vec<Digest>,
) -> Result<Image, ImageError> {
    if !member.is_index() {
        return import_manifest(store, source, &member.digest, indexes);
    }
    if indexes.len() >= MAX_DEPTH {
        return Err(source.bad("too many indexes inside each other"));
    }
    let index = parse_index(&blob(source, "the image index", &member.digest)?)?;
    indexes.push(member.digest.clone());
    // An index names one image for several platforms: the first that fits is it.
    match fitting(&index)?.first() {
        Some(first) => import_member(store, source, first, indexes),
        None => Err(source.bad("an index in it is empty")),
    }
}

fn import_manifest(
    store: &ImageStore,
    source: &Source,
    digest: &Digest,
    indexes: &[Digest],
) -> Result<Image, ImageError> {
    let bytes = blob(source, "the image manifest", digest)?;
    let manifest = Manifest::parse(&bytes)?;
    let config_bytes = blob(source, "the image configuration", &manifest.config.digest)?;
    let config: ImageConfiguration = crate::json::parse(&config_bytes, "the image configuration")?;
    check_platform(&config.os().to_string(), &config.architecture().to_string())?;
    let layers = pair_layers(manifest.layers, &config)?;
    let layers = in_parallel(&layers, |layer| {
        if let Some(layer) = store.claim_layer(layer)? {
            return Ok(layer);
        }
        let file = source.need(&blob_name(&layer.digest))?;
        let mut how = Ingest::new(format!("layer {}", layer.digest));
        how.diff_id = Some(layer.diff_id.clone());
        how.digest = Some(layer.digest.clone());
        store.ingest(file, &how)
    })?;
    store.add_image(digest, &bytes, &config_bytes, &layers, indexes)
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A document of the layout, checked.
fn blob(source: &Source, what: &str, digest: &Digest) -> Result<Vec<u8>, ImageError> {
    digest.check(source.document(&blob_name(digest))?, what)
}
