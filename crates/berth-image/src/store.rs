//! The content store of one machine.
//!
//! ```text
//! <root>/
//!   lock                      shared by every process that has the store open; exclusive for `gc`
//!   blobs/sha256/<hex>        manifests, configurations and layers as they came in or go out
//!   layers/<diff id hex>/fs   the unpacked tree of a layer, a `lowerdir` for overlayfs
//!   layers/<diff id hex>/layer.json   blob digest, sizes
//!   locks/<diff id hex>       held while that layer is put in place
//!   images.json               names and image ids → manifests; replaced as a whole
//!   images.lock               held while it is changed
//!   cache/                    records of others (the builder), named by them
//!   scratch/                  unfinished things; emptied by whoever opens the store alone
//! ```
//!
//! Everything appears under its final name by `rename`, complete and flushed to disk. Directories
//! are closed to other users: trees hold set-user-id programs of images.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;
use fs_err::File;
use oci_spec::image::ImageConfiguration;
use rustix::fs::FlockOperation;
use serde_json::Value;

use crate::{Digest, Image, ImageError, ImageSummary, Layer, Reference};

mod blobs;
mod collect;
mod images;
mod ingest;
mod layers;
mod names;
mod receive;

pub(crate) use blobs::MAX_DOCUMENT;
pub use collect::Collected;
pub(crate) use images::{Manifest, pair_layers};
pub(crate) use ingest::{Ingest, Plain, ZSTD_LEVEL};
pub(crate) use layers::LayerRecord;

/// The content store of one machine. Cheap to clone; safe to use from several processes at once.
#[derive(Clone, Debug)]
pub struct ImageStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    /// Held shared as long as the store is open.
    lock: File,
}

impl ImageStore {
    /// Opens or creates the store below `root`.
    pub fn open(root: &Path) -> Result<Self, ImageError> {
        fs::create_dir_all(root).map_err(ImageError::io("create", root))?;
        let root = fs::canonicalize(root).map_err(ImageError::io("resolve", root))?;
        for name in [
            "blobs",
            "blobs/sha256",
            "layers",
            "locks",
            "cache",
            "scratch",
        ] {
            make_private(&root.join(name))?;
        }
        let path = root.join("lock");
        let lock = open_lock(&path)?;
        let store = Self {
            inner: Arc::new(Inner { root, lock }),
        };
        if flock(&store.inner.lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            store.empty_scratch();
        }
        flock(&store.inner.lock, FlockOperation::LockShared)
            .map_err(ImageError::errno("lock", &path))?;
        Ok(store)
    }

    /// Where the store is.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Finds an image by name (`node:22-slim`, `docker.io/library/node:22-slim`, no tag = `latest`),
    /// by digest (`name@sha256:…`), or by id (`sha256:…`, or at least twelve hex digits).
    pub fn resolve(&self, reference: &str) -> Result<Option<Image>, ImageError> {
        match self.index()?.find(reference)? {
            Some(manifest) => self.load(&manifest).map(Some),
            None => Ok(None),
        }
    }

    /// All names, sorted.
    pub fn list(&self) -> Result<Vec<ImageSummary>, ImageError> {
        let index = self.index()?;
        let mut summaries = Vec::new();
        for (name, id) in &index.names {
            let Some(record) = index.images.get(id) else {
                continue;
            };
            summaries.push(ImageSummary {
                name: name.parse::<Reference>()?.familiar(),
                id: id.clone(),
                size: self.unpacked_size(&record.manifest)?,
                created: record.created,
            });
        }
        summaries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(summaries)
    }

    /// Gives an image of this store a name, which another image loses if it had it.
    pub fn tag(&self, image: &Image, name: &str) -> Result<(), ImageError> {
        let name = name.parse::<Reference>()?.canonical();
        self.change_index(|index| {
            if !index.images.contains_key(&image.id) {
                return Err(ImageError::MissingBlob {
                    what: "image",
                    digest: image.id.clone(),
                });
            }
            index.names.insert(name, image.id.clone());
            Ok(())
        })
    }

    /// Removes a name; returns whether it existed.
    pub fn untag(&self, name: &str) -> Result<bool, ImageError> {
        let name = name.parse::<Reference>()?.canonical();
        self.change_index(|index| Ok(index.names.remove(&name).is_some()))
    }

    /// Removes a name, or (by id or digest) an image with all its names. Its content stays until
    /// [`ImageStore::gc`]. Returns whether there was such an image.
    pub fn remove(&self, reference: &str) -> Result<bool, ImageError> {
        self.change_index(|index| index.remove(reference))
    }

    /// Bytes of an image's unpacked layers together.
    pub fn size(&self, image: &Image) -> Result<u64, ImageError> {
        image
            .layers
            .iter()
            .map(|layer| self.layer_bytes(&layer.diff_id))
            .sum()
    }

    /// Stores an image made of layers that are in the store already.
    pub fn put_image(
        &self,
        config: ImageConfiguration,
        layers: Vec<Layer>,
    ) -> Result<Image, ImageError> {
        self.put_image_json(
            crate::json::value(&config, "the image configuration")?,
            layers,
        )
    }

    /// Like [`ImageStore::put_image`], for configurations with fields that [`ImageConfiguration`]
    /// does not know (`Healthcheck`, `Shell`, `OnBuild`). `rootfs` is filled in from the layers.
    pub fn put_image_json(&self, config: Value, layers: Vec<Layer>) -> Result<Image, ImageError> {
        images::put(self, config, layers)
    }

    /// The configuration of an image as it is stored, with the fields [`Image::config`] drops.
    pub fn config_json(&self, image: &Image) -> Result<Value, ImageError> {
        crate::json::parse(
            &self.read_blob("image configuration", &image.id)?,
            "the image configuration",
        )
    }

    /// A directory on the store's file system for temporary trees (overlay uppers, build steps).
    pub fn scratch_dir(&self) -> PathBuf {
        self.inner.root.join("scratch")
    }

    /// A directory for records that belong to the store's images, such as a build cache. Whoever
    /// makes a subdirectory owns it; records are hints and may vanish.
    pub fn cache_dir(&self) -> PathBuf {
        self.inner.root.join("cache")
    }

    /// A fresh directory in [`ImageStore::scratch_dir`], removed when dropped.
    pub(crate) fn scratch(&self, prefix: &str) -> Result<tempfile::TempDir, ImageError> {
        let parent = self.scratch_dir();
        tempfile::Builder::new()
            .prefix(prefix)
            .tempdir_in(&parent)
            .map_err(ImageError::io("make a directory in", &parent))
    }

    /// Flushes the store's file system, so that a `rename` after this names complete content even
    /// after a power cut.
    pub(crate) fn flush(&self) -> Result<(), ImageError> {
        rustix::fs::syncfs(&self.inner.lock).map_err(ImageError::errno("flush", &self.inner.root))
    }

    /// Leftovers of processes that died. Nobody else has the store open.
    fn empty_scratch(&self) {
        let Ok(entries) = fs::read_dir(self.scratch_dir()) else {
            return;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let result = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            if let Err(error) = result {
                tracing::warn!(%error, "leftover not removed");
            }
        }
    }
}

fn make_private(path: &Path) -> Result<(), ImageError> {
    let result = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    result.map_err(ImageError::io("create", path))?;
    fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
        .map_err(ImageError::io("set the mode of", path))
}

fn open_lock(path: &Path) -> Result<File, ImageError> {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(ImageError::io("open", path))
}

/// Locks an open file; the lock ends when the last copy of its descriptor is closed.
fn flock(file: &File, operation: FlockOperation) -> Result<(), rustix::io::Errno> {
    loop {
        match rustix::fs::flock(file, operation) {
            Err(rustix::io::Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Parses the hex name of a directory or blob.
fn digest_of_name(name: &std::ffi::OsStr) -> Option<Digest> {
    format!("sha256:{}", name.to_str()?).parse().ok()
}

#[cfg(test)]
mod tests;
