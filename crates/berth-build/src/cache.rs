//! What a step made, by everything that went into it.
//!
//! A step's key is a digest over the layers below it (their diff ids, so over content) and over what
//! the step does. Records are small files in the image store's cache directory; a record whose layer
//! is gone does not count.
//!
//! ```text
//! <store>/cache/build/
//!   steps/<hex>       Record of the step with that key
//!   claims/<hex>      there while somebody makes that step
//!   contexts/<hex>    digests of a context's files
//!   copies/<hex>      which files of which layer a `COPY` of the context made last
//!   mounts/<hex>      directories of `RUN --mount=type=cache`
//!   swept             when useless records were removed last: the file's time
//!   downloads/<hex>   what servers said of the URLs of `ADD`
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use berth_image::{Digest, Hold, ImageStore, Layer};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

mod claim;
mod former;
pub(crate) mod stat;
pub(crate) mod sweep;

use crate::epoch::Epoch;
pub(crate) use claim::{Attempt, Claim};
pub(crate) use former::Former;

/// Part of every key: raise it when steps come to mean something else.
const VERSION: &str = "berth-build 1";

/// What is known of a step that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// `None`: it changed nothing.
    pub(crate) layer: Option<Layer>,
    /// Unix seconds.
    pub(crate) created: u64,
}

impl Record {
    /// A record of something that was made just now.
    pub(crate) fn now(layer: Option<Layer>) -> Self {
        let created = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self { layer, created }
    }
}

/// Everything that goes into a step, field by field.
pub(crate) struct Key(Sha256);

impl Key {
    /// The key of a step of this kind on top of these layers.
    pub(crate) fn new(kind: &str, below: &[Layer]) -> Self {
        let mut key = Self(Sha256::new());
        key.add(VERSION).add(kind);
        key.0.update(below.len().to_le_bytes());
        for layer in below {
            key.add(layer.diff_id.as_str());
        }
        key
    }

    /// Adds a field; fields cannot run into each other.
    pub(crate) fn add(&mut self, field: impl AsRef<[u8]>) -> &mut Self {
        let field = field.as_ref();
        self.0.update(field.len().to_le_bytes());
        self.0.update(field);
        self
    }

    pub(crate) fn finish(self) -> Digest {
        Digest::from_hasher(self.0)
    }
}

/// The records of one store, as one build uses them.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    store: ImageStore,
    directory: PathBuf,
    /// With `--no-cache` only what this build made is found; everything is recorded.
    only_own: bool,
    /// What this build made.
    own: Arc<Mutex<BTreeMap<Digest, Record>>>,
    /// Layers with other times are other layers.
    epoch: Option<Epoch>,
    /// Keeps the cache mounts of this build from being collected until it ends.
    mounted: Arc<Mutex<Vec<Hold>>>,
}

impl Cache {
    pub(crate) fn new(store: &ImageStore, no_cache: bool, epoch: Option<Epoch>) -> Self {
        Self {
            store: store.clone(),
            directory: store.cache_dir().join("build"),
            only_own: no_cache,
            own: Arc::default(),
            epoch,
            mounted: Arc::default(),
        }
    }

    /// The record of a step, if what it made is still there.
    pub(crate) fn find(&self, key: &Digest) -> Option<Record> {
        let own = || {
            let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
            own.get(key).cloned()
        };
        let mut record: Record = if self.only_own {
            own()?
        } else {
            let bytes = fs::read(self.path("steps", key)).ok()?;
            serde_json::from_slice(&bytes).ok()?
        };
        if let Some(layer) = &record.layer {
            record.layer = Some(self.store.claim_layer(layer).ok()??);
        }
        Some(record)
    }

    /// Keeps a record. Failing to do so costs time later, but no build.
    pub(crate) fn keep(&self, key: &Digest, record: &Record) {
        self.own
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.clone(), record.clone());
        let write = || -> io::Result<()> {
            let bytes = serde_json::to_vec(record)?;
            replace(&self.directory, &self.path("steps", key), &bytes)
        };
        if let Some(Err(error)) = record
            .layer
            .as_ref()
            .map(|layer| self.store.mark_cached(layer))
        {
            tracing::warn!(%error, "a layer is not known to be cached");
        }
        if let Err(error) = write() {
            tracing::warn!(%error, "build step not recorded");
        }
    }

    /// The right to make a step. Whoever has waited for it looks again whether it is made.
    pub(crate) fn claim(&self, key: &Digest) -> io::Result<Attempt> {
        let path = self.path("claims", key);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        Claim::take(&path)
    }

    /// Where `RUN --mount=type=cache` keeps a directory between builds, and what to lock to have it
    /// alone. It stays there as long as the build.
    pub(crate) fn mount(&self, id: &str) -> io::Result<(PathBuf, PathBuf)> {
        let hex = Digest::of(id.as_bytes()).hex().to_owned();
        let name = format!("mounts/{hex}");
        let hold = self.store.hold_cache(&format!("build/{name}"));
        self.mounted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(hold.map_err(io::Error::other)?);
        let lock = self.directory.join("claims").join(hex);
        Ok((self.directory.join(name), lock))
    }

    /// Where the digests of a context's files are kept.
    pub(crate) fn stat_path(&self, context: &std::path::Path) -> PathBuf {
        let name = Digest::of(context.as_os_str().as_encoded_bytes());
        self.directory.join("contexts").join(name.hex())
    }

    /// Where is kept what a `COPY` of the context made last, by a key that says which `COPY`.
    pub(crate) fn copy_path(&self, copy: &Digest) -> PathBuf {
        self.path("copies", copy)
    }

    /// What that was. With `--no-cache` nothing was.
    pub(crate) fn former(&self, path: &std::path::Path) -> Option<Former> {
        let known = (!self.only_own).then(|| Former::load(&self.store, path));
        known.flatten()
    }

    fn path(&self, kind: &str, key: &Digest) -> PathBuf {
        let directory = self.directory.join(kind);
        match self.epoch {
            None => directory.join(key.hex()),
            Some(Epoch(seconds)) => {
                directory.join(Digest::of(format!("{seconds} {key}").as_bytes()).hex())
            }
        }
    }
}

/// Writes a file so that readers see the old one or the new one.
fn replace(scratch: &std::path::Path, path: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let file = tempfile::NamedTempFile::new_in(scratch)?;
    fs::write(file.path(), bytes)?;
    file.persist(path)?;
    Ok(())
}
