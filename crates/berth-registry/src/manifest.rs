//! Manifests: what a registry must understand of them, and the refusal of everything that could be
//! read in two ways.
//!
//! A document that is an image for one client and an index for another (CVE-2021-41190) is refused:
//! its media type must be the one it was pushed with, an image has `config` and `layers` and no
//! `manifests`, an index has `manifests` and neither of the others, and no field stands twice.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Longest manifest, in bytes: what the distribution specification asks registries to take.
pub const MAX_MANIFEST: usize = 4 * 1024 * 1024;
/// Most descriptors in one manifest.
const MAX_DESCRIPTORS: usize = 10_000;

const OCI_IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// The media type of an index, for answers of ours.
pub(crate) const INDEX_MEDIA_TYPE: &str = OCI_INDEX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Image,
    Index,
}

fn kind(media_type: &str) -> Option<Kind> {
    match media_type {
        OCI_IMAGE | DOCKER_IMAGE => Some(Kind::Image),
        OCI_INDEX | DOCKER_LIST => Some(Kind::Index),
        _ => None,
    }
}

/// A manifest that was understood.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Its own, or the one it was pushed with.
    pub media_type: String,
    /// Blobs that must be in the repository, with their sizes.
    pub blobs: Vec<(Digest, u64)>,
    /// Blobs that may be elsewhere: layers with other places to fetch them from.
    pub optional: Vec<Digest>,
    /// Manifests of an index. They may be missing: sparse indexes are allowed.
    pub children: Vec<Digest>,
    /// What it is about.
    pub subject: Option<Digest>,
    /// For the list of referrers.
    pub artifact_type: Option<String>,
    /// For the list of referrers.
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Manifest {
    /// Bytes of the whole image: what is compared with the limit. Each blob counts once.
    pub fn image_size(&self) -> u64 {
        let blobs: BTreeMap<_, _> = self.blobs.iter().map(|(d, size)| (d, *size)).collect();
        blobs
            .values()
            .fold(0, |sum, size| sum.saturating_add(*size))
    }

    /// Everything it needs to stay: blobs and manifests.
    pub(crate) fn references(&self) -> impl Iterator<Item = &Digest> {
        let blobs = self.blobs.iter().map(|(digest, _)| digest);
        blobs.chain(&self.optional).chain(&self.children)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
    /// Of schema 1, which nobody should mix in.
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: Option<String>,
    digest: String,
    size: u64,
    urls: Option<Vec<String>>,
}

impl Descriptor {
    fn digest(&self) -> Result<Digest, String> {
        self.digest.parse().map_err(|_| {
            format!(
                "`{}` is not a sha256 or sha512 digest",
                shortened(&self.digest)
            )
        })
    }

    /// Whether the blob may be elsewhere.
    fn is_foreign(&self) -> bool {
        let media_type = self.media_type.as_deref().unwrap_or_default();
        self.urls.as_ref().is_some_and(|urls| !urls.is_empty())
            || media_type.contains(".nondistributable.")
            || media_type == "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

/// Understands a manifest, given the media type it was pushed with. The error is a sentence for the
/// client.
pub fn parse(content: &[u8], content_type: Option<&str>) -> Result<Manifest, String> {
    let document: Document = serde_json::from_slice(content)
        .map_err(|error| format!("the manifest is not understood: {error}"))?;
    let media_type = media_type(&document, content_type)?;
    let Some(kind) = kind(&media_type) else {
        return Err(format!(
            "manifests of type `{}` are not supported; push an OCI image or index, or Docker's schema 2",
            shortened(&media_type)
        ));
    };
    if document.schema_version != 2 {
        return Err(format!(
            "`schemaVersion` is {}, expected 2",
            document.schema_version
        ));
    }
    check_shape(&document, kind)?;
    let mut manifest = Manifest {
        media_type,
        blobs: Vec::new(),
        optional: Vec::new(),
        children: Vec::new(),
        subject: document
            .subject
            .as_ref()
            .map(Descriptor::digest)
            .transpose()?,
        artifact_type: document.artifact_type.filter(|kind| !kind.is_empty()),
        annotations: document.annotations,
    };
    let layers = document.layers.unwrap_or_default();
    let children = document.manifests.unwrap_or_default();
    if layers.len() + children.len() > MAX_DESCRIPTORS {
        return Err(format!("more than {MAX_DESCRIPTORS} layers or manifests"));
    }
    if let Some(config) = document.config {
        manifest.blobs.push((config.digest()?, config.size));
        if manifest.artifact_type.is_none() {
            manifest.artifact_type = config.media_type;
        }
    }
    for layer in layers {
        if layer.is_foreign() {
            manifest.optional.push(layer.digest()?);
        } else {
            manifest.blobs.push((layer.digest()?, layer.size));
        }
    }
    for child in children {
        manifest.children.push(child.digest()?);
    }
    Ok(manifest)
}

fn media_type(document: &Document, content_type: Option<&str>) -> Result<String, String> {
    let given = content_type
        .map(|value| value.split(';').next().unwrap_or_default().trim())
        .filter(|value| !value.is_empty());
    match (&document.media_type, given) {
        (Some(own), Some(given)) if own != given => Err(format!(
            "`mediaType` is `{}`, but it was pushed as `{}`",
            shortened(own),
            shortened(given)
        )),
        (Some(own), _) => Ok(own.clone()),
        (None, Some(given)) => Ok(given.to_owned()),
        (None, None) => Err("neither `Content-Type` nor `mediaType` says what it is".to_owned()),
    }
}

fn check_shape(document: &Document, kind: Kind) -> Result<(), String> {
    let wrong = |field: &str, kind: &str| Err(format!("`{field}` does not belong into an {kind}"));
    if document.fs_layers.is_some() {
        return wrong("fsLayers", "image or index of schema 2");
    }
    match kind {
        Kind::Image if document.manifests.is_some() => wrong("manifests", "image manifest"),
        Kind::Index if document.layers.is_some() => wrong("layers", "index"),
        Kind::Index if document.config.is_some() => wrong("config", "index"),
        Kind::Image if document.config.is_none() => Err("`config` is missing".to_owned()),
        Kind::Image if document.layers.is_none() => Err("`layers` is missing".to_owned()),
        Kind::Index if document.manifests.is_none() => Err("`manifests` is missing".to_owned()),
        Kind::Image | Kind::Index => Ok(()),
    }
}

/// A manifest as it is stored: whole in one record.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) media_type: String,
    pub(crate) content: Bytes,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    media_type: String,
}

impl Stored {
    pub(crate) fn encode(&self) -> Bytes {
        let header = serde_json::json!({"mediaType": self.media_type}).to_string();
        let mut record = Vec::with_capacity(header.len() + 1 + self.content.len());
        record.extend_from_slice(header.as_bytes());
        record.push(b'\n');
        record.extend_from_slice(&self.content);
        record.into()
    }

    /// Of a record; `None` if that is not one of ours.
    pub(crate) fn decode(record: &Bytes) -> Option<Self> {
        let end = record.iter().position(|b| *b == b'\n')?;
        let header: Header = serde_json::from_slice(&record[..end]).ok()?;
        Some(Self {
            media_type: header.media_type,
            content: record.slice(end + 1..),
        })
    }

    pub(crate) fn parse(&self) -> Result<Manifest, String> {
        parse(&self.content, Some(&self.media_type))
    }
}

#[cfg(test)]
mod tests;
