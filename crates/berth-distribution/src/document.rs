//! The documents of an image in a registry: manifests, indexes, configurations.
//!
//! Sources: OCI image specification v1.1 (manifest.md, image-index.md, media-types.md), Docker image
//! manifest v2 schema 2. A document is one thing: what could be read as a manifest and as an index
//! is refused (CVE-2021-41190).

use berth_image::Digest;
use serde::Deserialize;
use serde_json::Value;

use crate::platform::Platform;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_V1: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// Largest manifest or index: what the distribution specification asks registries to take.
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;
/// Largest configuration of an image.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;
/// Most layers of an image: overlayfs takes no more.
const MAX_LAYERS: usize = 500;

/// For `Accept`: everything that is understood.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// A reference to content.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) platform: Option<Platform>,
}

/// A manifest or an index.
#[derive(Clone, Debug)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Vec<Descriptor>),
}

/// One image for one platform.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    // Of Docker's schema 1.
    fs_layers: Option<Value>,
    history: Option<Value>,
}

/// Why a document is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// It contradicts itself or cannot be read.
    Broken(String),
    /// It is something else than an image; its media type.
    NotAnImage(String),
}

impl Document {
    /// Reads a document; `content_type` is what the registry, or the descriptor that led here, says
    /// it is. Empty: it does not say.
    pub(crate) fn parse(bytes: &[u8], content_type: &str) -> Result<Self, Unusable> {
        let broken = |problem: &str| Unusable::Broken(problem.to_owned());
        let raw: Raw = serde_json::from_slice(bytes)
            .map_err(|error| Unusable::Broken(format!("its manifest cannot be read: {error}")))?;
        let said = essence(content_type);
        if DOCKER_V1.contains(&said) || raw.schema_version == Some(1) || raw.fs_layers.is_some() {
            return Err(broken(
                "it is in Docker's old format (manifest schema 1), which no one makes any more",
            ));
        }
        if raw.history.is_some() {
            return Err(broken("its manifest has fields of two formats"));
        }
        if raw.schema_version != Some(2) {
            return Err(broken("its manifest has no `schemaVersion` 2"));
        }
        let own = raw.media_type.as_deref().unwrap_or_default();
        let generic = matches!(
            said,
            "" | "application/json" | "application/octet-stream" | "text/plain"
        );
        if !own.is_empty() && !generic && own != said {
            return Err(Unusable::Broken(format!(
                "its manifest says it is `{own}`, the registry says `{said}`"
            )));
        }
        let kind = if generic { own } else { said };
        match (raw.manifests, raw.layers, raw.config) {
            (Some(manifests), None, None) if is_one_of(kind, [OCI_INDEX, DOCKER_INDEX]) => {
                Ok(Self::Index(manifests))
            }
            (None, Some(layers), Some(config))
                if is_one_of(kind, [OCI_MANIFEST, DOCKER_MANIFEST]) =>
            {
                let media_type = if kind.is_empty() { OCI_MANIFEST } else { kind };
                manifest(media_type, raw.artifact_type, config, layers)
            }
            (Some(_), _, _) if kind != OCI_MANIFEST && kind != DOCKER_MANIFEST => Err(broken(
                "a document claims to be a manifest and an index at once",
            )),
            (None, Some(_), Some(_)) if kind != OCI_INDEX && kind != DOCKER_INDEX => {
                Err(Unusable::NotAnImage(kind.to_owned()))
            }
            _ => Err(Unusable::Broken(format!(
                "its manifest does not have the fields of `{kind}`"
            ))),
        }
    }
}

fn is_one_of(kind: &str, kinds: [&str; 2]) -> bool {
    kind.is_empty() || kinds.contains(&kind)
}

fn manifest(
    media_type: &str,
    artifact_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
) -> Result<Document, Unusable> {
    if ![OCI_CONFIG, DOCKER_CONFIG, ""].contains(&config.media_type.as_str()) {
        return Err(Unusable::NotAnImage(
            artifact_type.unwrap_or(config.media_type),
        ));
    }
    if layers.len() > MAX_LAYERS {
        return Err(Unusable::Broken(format!(
            "it has {} layers, more than {MAX_LAYERS}",
            layers.len()
        )));
    }
    Ok(Document::Manifest(Manifest {
        media_type: media_type.to_owned(),
        config,
        layers,
    }))
}

/// What a layer is, by its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerKind {
    /// A tar, plain or compressed in a way that its first bytes tell.
    Tar,
    /// Registries do not have it.
    Foreign,
    /// Something else.
    Unknown,
}

pub(crate) fn layer_kind(media_type: &str) -> LayerKind {
    const DOCKER: &str = "application/vnd.docker.image.rootfs.";
    const OCI: &str = "application/vnd.oci.image.layer.";
    let compressed = |rest: &str| {
        matches!(
            rest,
            "tar" | "tar+gzip" | "tar+zstd" | "tar.gzip" | "tar.zstd"
        )
    };
    if media_type.is_empty() {
        return LayerKind::Tar;
    }
    if let Some(rest) = media_type.strip_prefix(DOCKER) {
        if rest.starts_with("foreign.") {
            return LayerKind::Foreign;
        }
        return match rest.strip_prefix("diff.") {
            Some(rest) if compressed(rest) => LayerKind::Tar,
            _ => LayerKind::Unknown,
        };
    }
    match media_type.strip_prefix(OCI) {
        Some(rest) if rest.starts_with("nondistributable.") => LayerKind::Foreign,
        Some(rest) if rest.strip_prefix("v1.").is_some_and(compressed) => LayerKind::Tar,
        _ => LayerKind::Unknown,
    }
}

/// A media type without parameters.
pub(crate) fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests;
