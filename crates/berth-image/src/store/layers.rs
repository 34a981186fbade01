//! Unpacked layers: putting a finished tree in place once, and finding it again.

use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::File;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::{ImageStore, Item, flock, is_at, open_lock, usage};
use crate::{Digest, ImageError, Layer};

/// `layer.json`: what is known of a layer besides its tree.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    /// The blob and the diff id.
    pub(crate) layer: Layer,
    /// Bytes of its regular files.
    pub(crate) bytes: u64,
    /// It was made here: its tar can be made of its tree.
    #[serde(default)]
    pub(crate) derived: bool,
}

impl ImageStore {
    /// The unpacked tree of a layer, for overlayfs `lowerdir` (whiteouts are overlay's own).
    pub fn layer_path(&self, layer: &Layer) -> PathBuf {
        self.layer_dir(&layer.diff_id).join("fs")
    }

    /// The trees of layers (lowest first), topmost first, as overlayfs wants them. A layer that an image
    /// has twice is named once, at its topmost place: overlayfs refuses a directory that it has
    /// already, and further down the layer says nothing that it does not say above.
    pub fn lower_directories(&self, layers: &[Layer]) -> Vec<PathBuf> {
        let mut directories = Vec::new();
        for layer in layers.iter().rev() {
            let directory = self.layer_path(layer);
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
        directories
    }

    /// A layer whose tree is in the store, by its diff id. The tree is kept as long as it lives; so
    /// is the blob, if it is there.
    pub fn layer(&self, diff_id: &Digest) -> Result<Option<Layer>, ImageError> {
        if !self.has_tree(diff_id) {
            return Ok(None);
        }
        let Some(record) = self.layer_record(diff_id)? else {
            return Ok(None);
        };
        let mut layer = self.hold_layer(record.layer)?;
        // The blob that it came with may have been replaced by one for others, and collected.
        if !self.has_content(&layer)
            && let Some(packed) = self.any_packed_form(diff_id)?
        {
            layer = packed;
        }
        Ok(self.has_tree(diff_id).then_some(layer))
    }

    /// A layer of a record, if its tree and its blob are still in the store; then they are kept as
    /// long as what is returned lives. A layer of the builder's cache counts as used now.
    pub fn claim_layer(&self, layer: &Layer) -> Result<Option<Layer>, ImageError> {
        let layer = self.hold_layer(layer.clone())?;
        if !self.has_layer(&layer) {
            return Ok(None);
        }
        let marker = self.cached_marker(&layer.diff_id);
        if marker.exists() {
            usage::touch(&marker);
        }
        Ok(Some(layer))
    }

    /// Marks a layer as one of a cache: without an image that needs it, it stays until
    /// [`ImageStore::collect`] is told to make room.
    pub fn mark_cached(&self, layer: &Layer) -> Result<(), ImageError> {
        let marker = self.cached_marker(&layer.diff_id);
        fs::write(&marker, b"").map_err(ImageError::io("write", &marker))
    }

    pub(super) fn cached_marker(&self, diff_id: &Digest) -> PathBuf {
        self.layer_dir(diff_id).join("cached")
    }

    /// Puts a hold on a layer's tree and blob before they are looked for or put in place.
    pub(crate) fn hold_layer(&self, mut layer: Layer) -> Result<Layer, ImageError> {
        let items = vec![
            Item::Tree(layer.diff_id.clone()),
            Item::Blob(layer.digest.clone()),
        ];
        layer.kept = self.hold(items)?.into();
        Ok(layer)
    }

    pub(super) fn layer_dir(&self, diff_id: &Digest) -> PathBuf {
        self.inner.root.join("layers").join(diff_id.hex())
    }

    pub(super) fn has_tree(&self, diff_id: &Digest) -> bool {
        self.layer_dir(diff_id).join("fs").is_dir() && self.is_whole(diff_id)
    }

    /// Whether both the tree and the blob (or what it can be made of) are in the store now. Without a hold on the layer
    /// ([`ImageStore::claim_layer`]) they may be gone the next moment.
    pub fn has_layer(&self, layer: &Layer) -> bool {
        self.has_tree(&layer.diff_id) && self.has_content(layer)
    }

    /// Whether the blob, or what it can be made of, is in the store.
    pub(super) fn has_content(&self, layer: &Layer) -> bool {
        self.has_blob(&layer.digest) || self.is_derived(layer)
    }

    pub(super) fn layer_bytes(&self, diff_id: &Digest) -> Result<u64, ImageError> {
        Ok(self.layer_record(diff_id)?.map_or(0, |record| record.bytes))
    }

    /// Nothing of a layer that is not [whole](Self::is_whole): its record may not be, either.
    pub(super) fn layer_record(&self, diff_id: &Digest) -> Result<Option<LayerRecord>, ImageError> {
        if !self.is_whole(diff_id) {
            return Ok(None);
        }
        let path = self.layer_dir(diff_id).join("layer.json");
        match fs::read(&path) {
            Ok(bytes) => crate::json::parse(&bytes, format!("`{}`", path.display())).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ImageError::io("read", &path)(error)),
        }
    }

    /// Held by whoever unpacks this layer or puts it in place.
    pub(crate) fn lock_layer(&self, diff_id: &Digest) -> Result<File, ImageError> {
        let path = self.inner.root.join("locks").join(diff_id.hex());
        loop {
            let lock = open_lock(&path)?;
            flock(&lock, FlockOperation::LockExclusive)
                .map_err(ImageError::errno("lock", &path))?;
            // A collector may have removed the file meanwhile.
            if is_at(&lock, &path) {
                return Ok(lock);
            }
        }
    }

    /// Moves a finished directory that holds `fs` into place, unless the layer is there already.
    /// The caller holds the layer's lock, and has flushed the tree or noted that it did not.
    pub(crate) fn keep_layer(
        &self,
        finished: &Path,
        record: &LayerRecord,
    ) -> Result<(), ImageError> {
        let target = self.layer_dir(&record.layer.diff_id);
        if self.has_tree(&record.layer.diff_id) {
            return Ok(());
        }
        let path = finished.join("layer.json");
        let bytes = crate::json::canonical(crate::json::value(record, "the layer's record")?);
        let write = || -> std::io::Result<()> {
            fs::write(&path, &bytes)?;
            if record.derived {
                return Ok(());
            }
            File::open(&path)?.sync_data()
        };
        write().map_err(ImageError::io("write", &path))?;
        if target.exists() {
            // Left by something that removed its tree only.
            fs::remove_dir_all(&target).map_err(ImageError::io("remove", &target))?;
        }
        fs::rename(finished, &target).map_err(ImageError::io("put in place", &target))
    }
}
