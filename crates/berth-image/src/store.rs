//! The content store of one machine.
//!
//! ```text
//! <root>/
//!   blobs/sha256/<hex>        manifests, configurations and layers as they came in or go out
//!   layers/<diff id hex>/fs   the unpacked tree of a layer, a `lowerdir` for overlayfs
//!   layers/<diff id hex>/layer.json   blob digest, sizes
//!   layers/<diff id hex>/packed-<compression>.json  the same, of a blob that was made of it ([`packed`])
//!   layers/<diff id hex>/unflushed    it may not be on disk as a whole ([`derived`])
//!   locks/<diff id hex>       held while that layer is put in place
//!   images.json               names and image ids → manifests; replaced as a whole
//!   images.lock               held while it is changed
//!   cache/                    records of others (the builder), named by them
//!   leases/<name>             what one opening of the store needs; locked while it is open
//!   scratch/<name>/           unfinished things of that opening
//!   partial/<hex>             a blob that has not fully arrived; locked by whoever receives it
//!   pins/<hex>                what is needed by something that does not run, such as a kept version
//!   used/<image id hex>       when an image was used last: the file's time
//!   gc.lock                   the gate between those who add and those who remove
//!   trash/                    what was removed, on its way to nothing
//! ```
//!
//! Nobody needs the store for itself: what is collected, and when, is decided by [`collect`].
//!
//! Everything appears under its final name by `rename`, complete and, but for layers that are made
//! here ([`derived`]), flushed to disk. Directories are closed to other users: trees hold set-user-id
//! programs of images.

use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;
use fs_err::File;
use oci_spec::image::ImageConfiguration;
use rustix::fs::FlockOperation;
use serde_json::Value;

use crate::{Digest, Image, ImageError, ImageSummary, Layer, Reference};

mod blobs;
pub mod collect;
mod derived;
mod gate;
mod images;
mod ingest;
mod layers;
mod lease;
mod names;
mod packed;
mod partial;
mod pins;
mod receive;
mod usage;

pub(crate) use blobs::{LAYER, MAX_DOCUMENT};
pub use collect::{Collected, Policy};
pub(crate) use images::{Manifest, pair_layers};
pub use ingest::IncomingLayer;
pub(crate) use ingest::{Ingest, Plain};
pub(crate) use layers::LayerRecord;
pub use lease::Hold;
pub(crate) use lease::Item;
use lease::Lease;
pub use packed::LayerCompression;
pub use pins::Pin;

/// The content store of one machine. Cheap to clone; safe to use from several processes at once.
#[derive(Clone, Debug)]
pub struct ImageStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    /// The root directory, to flush its file system.
    directory: File,
    lease: Arc<Lease>,
}

/// Directories of a store.
const DIRECTORIES: [&str; 11] = [
    "blobs",
    "blobs/sha256",
    "layers",
    "locks",
    "cache",
    "leases",
    "scratch",
    "partial",
    "pins",
    "used",
    "trash",
];

impl ImageStore {
    /// Opens or creates the store below `root`, and removes what processes left that were killed.
    pub fn open(root: &Path) -> Result<Self, ImageError> {
        fs::create_dir_all(root).map_err(ImageError::io("create", root))?;
        let root = fs::canonicalize(root).map_err(ImageError::io("resolve", root))?;
        for name in DIRECTORIES {
            make_private(&root.join(name))?;
        }
        let directory = File::open(&root).map_err(ImageError::io("open", &root))?;
        let lease = Lease::create(&root)?;
        let store = Self {
            inner: Arc::new(Inner {
                root,
                directory,
                lease,
            }),
        };
        store.bury_the_dead();
        store.empty_trash();
        Ok(store)
    }

    /// A second descriptor of what holds images for this opening of the store: what is held when all of this
    /// process has ended stays so as long as somebody has it.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn lease_descriptor(&self) -> Result<OwnedFd, ImageError> {
        self.inner.lease.descriptor()
    }

    /// Where the store is.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Finds an image by name (`node:22-slim`, `docker.io/library/node:22-slim`, no tag = `latest`),
    /// by digest (`name@sha256:…`), or by id (`sha256:…`, or at least twelve hex digits).
    ///
    /// An image that has lost a layer, as one that was made just before a power cut may have, is not found:
    /// whoever needs it makes or pulls it again.
    pub fn resolve(&self, reference: &str) -> Result<Option<Image>, ImageError> {
        let mut found = self.index()?.find(reference)?;
        while let Some(manifest) = found {
            let hold = self.hold(vec![Item::Manifest(manifest.clone(), String::new())])?;
            // Still there, so it will be as long as it is held.
            let now = self.index()?.find(reference)?;
            if now.as_ref() == Some(&manifest) {
                return match self.load(&manifest, hold) {
                    Err(ImageError::MissingBlob {
                        what: LAYER,
                        digest,
                    }) => {
                        tracing::warn!(reference, layer = %digest, "an image has lost a layer");
                        Ok(None)
                    }
                    loaded => loaded.map(Some),
                };
            }
            found = now;
        }
        Ok(None)
    }

    /// The layer that an image has lost, so that [`ImageStore::resolve`] does not find it.
    ///
    /// # Errors
    /// The index or the image's documents cannot be read.
    pub fn lost_layer(&self, reference: &str) -> Result<Option<Digest>, ImageError> {
        let Some(manifest) = self.index()?.find(reference)? else {
            return Ok(None);
        };
        let hold = self.hold(vec![Item::Manifest(manifest.clone(), String::new())])?;
        match self.load(&manifest, hold) {
            Err(ImageError::MissingBlob {
                what: LAYER,
                digest,
            }) => Ok(Some(digest)),
            loaded => loaded.map(|_| None),
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
            let size = match self.unpacked_size(&record.manifest) {
                // Removed since the index was read.
                Err(ImageError::MissingBlob { .. }) => continue,
                size => size?,
            };
            summaries.push(ImageSummary {
                name: name.parse::<Reference>()?.listed(),
                id: id.clone(),
                size,
                created: record.created,
            });
        }
        summaries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(summaries)
    }

    /// Gives an image of this store a name, which another image loses if it had it.
    ///
    /// # Errors
    /// What has a digest is no name that can be given.
    pub fn tag(&self, image: &Image, name: &str) -> Result<(), ImageError> {
        let reference: Reference = name.parse()?;
        if reference.digest().is_some() {
            return Err(ImageError::InvalidReference {
                reference: name.to_owned(),
                reason: "only a registry can give a name with a digest",
            });
        }
        self.name(image, &reference)
    }

    /// Gives an image the name by which it was asked for.
    fn name(&self, image: &Image, reference: &Reference) -> Result<(), ImageError> {
        let name = reference.key();
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
        let name = name.parse::<Reference>()?.key();
        self.change_index(|index| Ok(index.names.remove(&name).is_some()))
    }

    /// Removes a name, or (by id or digest) an image with all its names. Its content stays until
    /// [`ImageStore::collect`]. Returns whether there was such an image.
    pub fn remove(&self, reference: &str) -> Result<bool, ImageError> {
        self.change_index(|index| index.remove(reference))
    }

    /// Keeps something from being collected.
    pub(crate) fn hold(&self, items: Vec<Item>) -> Result<Hold, ImageError> {
        self.inner.lease.hold(items)
    }

    /// Lets others know what an image is needed for (such as "container `x`") until the hold is
    /// dropped: see [`ImageStore::users`].
    pub fn hold_for(&self, image: &Image, purpose: &str) -> Result<Hold, ImageError> {
        self.hold(vec![Item::Manifest(
            image.manifest.clone(),
            purpose.to_owned(),
        )])
    }

    /// Keeps a directory below [`ImageStore::cache_dir`] from being collected, such as a cache that
    /// is mounted into a build; it counts as used now. `path` is relative to the cache directory,
    /// its owner and a name: `build/mounts/<name>`. Look for the directory afterwards.
    pub fn hold_cache(&self, path: &str) -> Result<Hold, ImageError> {
        let hold = self.hold(vec![Item::Cache(path.to_owned())])?;
        usage::touch_directory(&self.cache_dir().join(path));
        Ok(hold)
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

    /// A directory on the store's file system for temporary trees (overlay uppers, build steps) of
    /// this opening of the store. What is left in it is removed after this process has ended.
    pub fn scratch_dir(&self) -> PathBuf {
        self.inner.root.join("scratch").join(self.inner.lease.id())
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
        rustix::fs::syncfs(&self.inner.directory)
            .map_err(ImageError::errno("flush", &self.inner.root))
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

/// Whether an open file is still the one of this path.
fn is_at(file: &File, path: &Path) -> bool {
    let same = || -> std::io::Result<bool> {
        let (open, found) = (file.metadata()?, fs::metadata(path)?);
        Ok((open.dev(), open.ino()) == (found.dev(), found.ino()))
    };
    same().unwrap_or(false)
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
