//! Garbage collection: what no named image needs goes.

use std::collections::BTreeSet;
use std::path::Path;

use fs_err as fs;
use rustix::fs::FlockOperation;

use super::images::Manifest;
use super::{ImageStore, digest_of_name, flock, open_lock};
use crate::{Digest, ImageError};

/// What [`ImageStore::gc`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Images that had no name.
    pub images: usize,
    /// Blobs.
    pub blobs: usize,
    /// Unpacked layers.
    pub layers: usize,
}

impl ImageStore {
    /// Removes images without a name, and the blobs and layers that no image needs, the builder's
    /// cached ones included. Fails with [`ImageError::InUse`] while another process has the store
    /// open; this process must not be using an unnamed image or a bare layer either.
    pub fn gc(&self) -> Result<Collected, ImageError> {
        // Changing a shared lock into an exclusive one lets go of it in between. One collector at a
        // time makes that harmless: nobody else ever asks for more than a shared lock and acts on it.
        let gate_path = self.inner.root.join("gc.lock");
        let gate = open_lock(&gate_path)?;
        flock(&gate, FlockOperation::LockExclusive)
            .map_err(ImageError::errno("lock", &gate_path))?;
        let exclusive = flock(&self.inner.lock, FlockOperation::NonBlockingLockExclusive);
        let result = match exclusive {
            Ok(()) => self.collect(),
            Err(_) => Err(ImageError::InUse {
                path: self.inner.root.clone(),
            }),
        };
        flock(&self.inner.lock, FlockOperation::LockShared)
            .map_err(ImageError::errno("lock", &self.inner.root))?;
        result
    }

    fn collect(&self) -> Result<Collected, ImageError> {
        let images = self.change_index(|index| {
            let named: BTreeSet<Digest> = index.names.values().cloned().collect();
            let before = index.images.len();
            index.images.retain(|id, _| named.contains(id));
            Ok(before - index.images.len())
        })?;
        let mut blobs = BTreeSet::new();
        let mut diff_ids = BTreeSet::new();
        for record in self.index()?.images.values() {
            let manifest = Manifest::parse(&self.read_blob("image manifest", &record.manifest)?)?;
            blobs.insert(record.manifest.clone());
            blobs.insert(manifest.config.digest);
            blobs.extend(manifest.layers.into_iter().map(|layer| layer.digest));
            let image = self.load(&record.manifest)?;
            diff_ids.extend(image.layers.into_iter().map(|layer| layer.diff_id));
        }
        let root = &self.inner.root;
        remove_others(&root.join("locks"), &diff_ids)?;
        Ok(Collected {
            images,
            blobs: remove_others(&root.join("blobs/sha256"), &blobs)?,
            layers: remove_others(&root.join("layers"), &diff_ids)?,
        })
    }
}

/// Removes what is named by a digest that is not in `keep`.
fn remove_others(directory: &Path, keep: &BTreeSet<Digest>) -> Result<usize, ImageError> {
    let mut removed = 0;
    for entry in fs::read_dir(directory).map_err(ImageError::io("read", directory))? {
        let entry = entry.map_err(ImageError::io("read", directory))?;
        let Some(digest) = digest_of_name(&entry.file_name()) else {
            continue;
        };
        if keep.contains(&digest) {
            continue;
        }
        let path = entry.path();
        let result = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        result.map_err(ImageError::io("remove", &path))?;
        removed += 1;
    }
    Ok(removed)
}
