//! What an image is to the rest of Berth: a configuration and a list of unpacked layers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use oci_spec::image::{Config, ImageConfiguration};
use serde::{Deserialize, Serialize};

use crate::{Digest, Hold};

/// One image: its configuration and its layers, lowest first. As long as it or a clone of it lives,
/// nothing of it is collected.
#[derive(Clone, Debug)]
pub struct Image {
    /// Digest of the configuration: what Docker calls the image id.
    pub id: Digest,
    /// The OCI image configuration.
    pub config: Arc<ImageConfiguration>,
    /// Layers, lowest first.
    pub layers: Vec<Layer>,
    /// Digest of its manifest.
    pub manifest: Digest,
    pub(crate) _kept: Kept,
}

/// One layer in the store: its blob and its unpacked tree exist, and are not collected as long as it
/// or a clone of it lives. One that was read from a record must be claimed first
/// ([`ImageStore::claim_layer`](crate::ImageStore::claim_layer)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Digest of the blob as stored.
    pub digest: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
    /// OCI media type of the blob.
    pub media_type: String,
    #[serde(skip)]
    pub(crate) kept: Kept,
}

impl Layer {
    /// A layer as documents describe it, which need not be in the store and is not held.
    pub fn new(diff_id: Digest, digest: Digest, size: u64, media_type: String) -> Self {
        Self {
            diff_id,
            digest,
            size,
            media_type,
            kept: Kept::default(),
        }
    }
}

/// The hold on something that has one; all are equal.
#[derive(Clone, Default)]
pub(crate) struct Kept(Option<Hold>);

impl From<Hold> for Kept {
    fn from(hold: Hold) -> Self {
        Self(Some(hold))
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "held" } else { "not held" })
    }
}

impl PartialEq for Kept {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Kept {}

/// One named image, for listings.
#[derive(Clone, Debug)]
pub struct ImageSummary {
    /// `name:tag`.
    pub name: String,
    /// The image id.
    pub id: Digest,
    /// Bytes of all unpacked layers together.
    pub size: u64,
    /// Unix time in seconds.
    pub created: u64,
}

impl Image {
    fn runtime(&self) -> Option<&Config> {
        self.config.config().as_ref()
    }

    /// `ENTRYPOINT`; empty if there is none.
    pub fn entrypoint(&self) -> &[String] {
        self.runtime()
            .and_then(|config| config.entrypoint().as_deref())
            .unwrap_or_default()
    }

    /// `CMD`; empty if there is none.
    pub fn cmd(&self) -> &[String] {
        self.runtime()
            .and_then(|config| config.cmd().as_deref())
            .unwrap_or_default()
    }

    /// `ENV`, as `KEY=value`.
    pub fn env(&self) -> &[String] {
        self.runtime()
            .and_then(|config| config.env().as_deref())
            .unwrap_or_default()
    }

    /// `WORKDIR`; empty means `/`.
    pub fn working_dir(&self) -> &str {
        self.runtime()
            .and_then(|config| config.working_dir().as_deref())
            .unwrap_or_default()
    }

    /// `USER`; empty means root.
    pub fn user(&self) -> &str {
        self.runtime()
            .and_then(|config| config.user().as_deref())
            .unwrap_or_default()
    }

    /// `EXPOSE`, as `port/protocol`, sorted.
    pub fn exposed_ports(&self) -> Vec<&str> {
        let mut ports: Vec<&str> = self
            .runtime()
            .and_then(|config| config.exposed_ports().as_ref())
            .map(|ports| ports.iter().map(String::as_str).collect())
            .unwrap_or_default();
        ports.sort_unstable();
        ports
    }

    /// `LABEL`s.
    pub fn labels(&self) -> BTreeMap<&str, &str> {
        self.runtime()
            .and_then(|config| config.labels().as_ref())
            .map(|labels| {
                labels
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_str()))
                    .collect()
            })
            .unwrap_or_default()
    }
}
