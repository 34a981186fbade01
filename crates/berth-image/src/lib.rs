//! OCI images on this machine: content store, unpacked layers, names.
#![forbid(unsafe_code)]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::image::ImageConfiguration;

/// `sha256:<64 hex>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub(crate) String);

/// One image: its configuration and its layers, lowest first.
#[derive(Clone, Debug)]
pub struct Image {
    /// Digest of the configuration: what Docker calls the image id.
    pub id: Digest,
    /// The OCI image configuration.
    pub config: Arc<ImageConfiguration>,
    /// Layers, lowest first.
    pub layers: Vec<Layer>,
}

/// One layer in the store: its blob and its unpacked tree exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Digest of the blob as stored.
    pub digest: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
    /// OCI media type of the blob.
    pub media_type: String,
}

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

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {}

/// The content store of one machine. Cheap to clone; safe to use from several processes at once.
#[derive(Clone, Debug)]
pub struct ImageStore {}

#[allow(unused_variables, missing_docs, clippy::todo)]
impl ImageStore {
    /// Opens or creates the store below `root`.
    pub fn open(root: &Path) -> Result<Self, ImageError> {
        todo!()
    }
    /// Finds an image by name (`node:22-slim`, `docker.io/library/node:22-slim`, no tag = `latest`) or id.
    pub fn resolve(&self, reference: &str) -> Result<Option<Image>, ImageError> {
        todo!()
    }
    pub fn list(&self) -> Result<Vec<ImageSummary>, ImageError> {
        todo!()
    }
    pub fn tag(&self, image: &Image, name: &str) -> Result<(), ImageError> {
        todo!()
    }
    /// Removes a name; returns whether it existed.
    pub fn untag(&self, name: &str) -> Result<bool, ImageError> {
        todo!()
    }
    /// A root file system tar (also gzip or zstd) becomes a one-layer image.
    pub fn import_rootfs(&self, tar: impl Read, name: &str) -> Result<Image, ImageError> {
        todo!()
    }
    /// An OCI layout (directory or tar) or a `docker save` tar.
    pub fn import_archive(
        &self,
        path: &Path,
        name: Option<&str>,
    ) -> Result<Vec<Image>, ImageError> {
        todo!()
    }
    /// Makes a layer of an overlay upper directory (ids as inside the container, overlay whiteouts).
    /// `upper` is consumed: it may be moved into the store. `None` when it is empty.
    pub fn add_layer(&self, upper: &Path) -> Result<Option<Layer>, ImageError> {
        todo!()
    }
    /// Stores an image made of layers that are in the store already.
    pub fn put_image(
        &self,
        config: ImageConfiguration,
        layers: Vec<Layer>,
    ) -> Result<Image, ImageError> {
        todo!()
    }
    /// The unpacked tree of a layer, for overlayfs `lowerdir` (whiteouts are overlay's own).
    pub fn layer_path(&self, layer: &Layer) -> PathBuf {
        todo!()
    }
    /// A directory on the store's file system for temporary trees (overlay uppers, build steps).
    pub fn scratch_dir(&self) -> PathBuf {
        todo!()
    }
}
