//! Garbage collection: what nobody needs goes, while others have the store open.
//!
//! Needed is what a living [lease](super::lease) holds (running containers, builds, pulls and
//! everything else that has an [`crate::Image`] or [`crate::Layer`] in its hands), what a
//! [pin](super::pins) keeps, and, as far as the [`Policy`] says, what has a name or is in a cache.
//!
//! One short step is taken with the [gate](super::gate) held alone, so that nothing comes to be needed
//! meanwhile: to see what is needed, to take the images that go out of the index, and to rename what
//! is garbage into `trash/`. A collector that is killed leaves the index without images whose content
//! is still there, or content in the trash: both are what the next one removes.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fs_err as fs;
use rustix::fs::FlockOperation;

use super::gate::Gate;
use super::lease::Leases;
use super::{ImageStore, digest_of_name, flock};
use crate::crash::crash_point;
use crate::{Digest, ImageError};

mod plan;
mod report;
mod survey;
#[cfg(test)]
mod tests;

use plan::Plan;
pub use report::{ImageUsage, Usage};
pub(super) use survey::Piece;
use survey::Survey;

/// What may go besides what nobody can reach.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Also named images that nothing uses, and caches. Otherwise only images without a name.
    pub all: bool,
    /// Also caches, but no image that has a name.
    pub caches: bool,
    /// Only what was not used for this long.
    pub unused_for: Option<Duration>,
    /// Also named images that nothing uses, and caches, the longest unused first, until the store is
    /// not larger than this many bytes.
    pub max_bytes: Option<u64>,
    /// No image and no cache: only what nobody can reach any more.
    pub garbage_only: bool,
    /// Only say what would go.
    pub dry_run: bool,
}

/// What [`ImageStore::collect`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Images: their ids and the names they had.
    pub images: Vec<(Digest, Vec<String>)>,
    /// Blobs.
    pub blobs: usize,
    /// Unpacked layers.
    pub layers: usize,
    /// Directories of caches.
    pub caches: usize,
    /// Bytes of all these together.
    pub bytes: u64,
    /// Bytes of the store afterwards: blobs, files of unpacked layers, caches.
    pub left: u64,
}

impl ImageStore {
    /// Removes what nobody needs and the policy allows. Others may use the store meanwhile.
    ///
    /// # Errors
    /// What cannot be read or moved. Nothing that is needed has been removed then.
    pub fn collect(&self, policy: &Policy) -> Result<Collected, ImageError> {
        let cache_sizes = survey::cache_sizes(&self.cache_dir());
        let collected = {
            let _gate = Gate::alone(&self.inner.root)?;
            self.bury_dead_leases()?;
            let survey = Survey::take(self, &cache_sizes)?;
            let plan = Plan::make(&survey, policy, SystemTime::now());
            let collected = plan.summary(&survey);
            if !policy.dry_run {
                crash_point("collect.begun");
                self.carry_out(&plan, &survey)?;
            }
            collected
        };
        if !policy.dry_run {
            crash_point("collect.moved");
            self.empty_trash();
        }
        Ok(collected)
    }

    /// What is in the store and what for.
    pub fn usage(&self) -> Result<Usage, ImageError> {
        let cache_sizes = survey::cache_sizes(&self.cache_dir());
        let _gate = Gate::alone(&self.inner.root)?;
        Survey::take(self, &cache_sizes).map(|survey| report::usage(&survey))
    }

    /// What needs an image that runs or is kept, in words: "container `x`", "version 12 of
    /// application `shop`". Empty if nothing does that told its purpose.
    pub fn users(&self, image: &crate::Image) -> Result<Vec<String>, ImageError> {
        let mut users = BTreeSet::new();
        for item in Leases::read(&self.inner.root)?.held {
            // Whoever holds it by a former manifest holds the same image.
            if let super::Item::Manifest(manifest, purpose) = item
                && !purpose.is_empty()
                && (manifest == image.manifest || self.names_image(&manifest, &image.id))
            {
                users.insert(purpose);
            }
        }
        for pin in self.pins()? {
            if pin.images.contains(&image.id) {
                users.insert(pin.owner);
            }
        }
        Ok(users.into_iter().collect())
    }

    /// Whether a manifest is one of this image.
    fn names_image(&self, manifest: &Digest, id: &Digest) -> bool {
        // One that cannot be read has been let go meanwhile.
        self.read_blob("image manifest", manifest)
            .and_then(|bytes| super::Manifest::parse(&bytes))
            .is_ok_and(|manifest| manifest.config.digest == *id)
    }

    /// With the gate held alone.
    fn carry_out(&self, plan: &Plan, survey: &Survey) -> Result<(), ImageError> {
        let root = &self.inner.root;
        if !plan.images.is_empty() {
            self.change_index(|index| {
                index.names.retain(|_, id| !plan.images.contains(id));
                index.images.retain(|id, _| !plan.images.contains(id));
                Ok(())
            })?;
        }
        crash_point("collect.forgotten");
        let trash = Trash::new(root)?;
        for piece in &plan.garbage {
            trash.take(&piece.path(root))?;
            if let Piece::Tree(diff_id) = piece {
                self.remove_layer_lock(diff_id);
            }
            crash_point("collect.half");
        }
        for cache in &plan.caches {
            if let survey::CacheKind::Directory(path) = &survey.caches[*cache].kind {
                trash.take(&self.cache_dir().join(path))?;
            }
        }
        for (_file, path) in self.stale_partials(plan.all_partials)? {
            trash.take(&path)?;
        }
        for id in &plan.images {
            let _ = fs::remove_file(self.usage_path(id));
        }
        Ok(())
    }

    /// Nobody waits for it: otherwise it stays.
    fn remove_layer_lock(&self, diff_id: &Digest) {
        let path = self.inner.root.join("locks").join(diff_id.hex());
        if let Ok(lock) = fs::File::open(&path)
            && flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            let _ = fs::remove_file(&path);
        }
    }

    /// Removes the leases and scratch directories of processes that are gone, if nobody is at the
    /// gate just now.
    pub(super) fn bury_the_dead(&self) {
        let Some(_gate) = Gate::alone_now(&self.inner.root) else {
            return;
        };
        if let Err(error) = self.bury_dead_leases() {
            tracing::warn!(%error, "leftovers not removed");
        }
    }

    /// With the gate held alone.
    fn bury_dead_leases(&self) -> Result<(), ImageError> {
        let root = &self.inner.root;
        let leases = Leases::read(root)?;
        let scratch = root.join("scratch");
        let mut dead = Vec::new();
        for entry in fs::read_dir(&scratch).map_err(ImageError::io("read", &scratch))? {
            let entry = entry.map_err(ImageError::io("read", &scratch))?;
            if !leases
                .living
                .contains(&*entry.file_name().to_string_lossy())
            {
                dead.push(entry.path());
            }
        }
        if !dead.is_empty() {
            let trash = Trash::new(root)?;
            for path in dead {
                trash.take(&path)?;
            }
        }
        for name in leases.dead {
            let path = root.join("leases").join(name);
            fs::remove_file(&path).map_err(ImageError::io("remove", &path))?;
        }
        Ok(())
    }

    /// Removes what was moved out of the way. What cannot be removed is tried again later.
    pub(super) fn empty_trash(&self) {
        let Ok(entries) = fs::read_dir(self.inner.root.join("trash")) else {
            return;
        };
        for entry in entries.flatten() {
            crash_point("collect.emptying");
            let path = entry.path();
            match fs::remove_dir_all(&path) {
                Ok(()) => {}
                // Somebody else is at it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(%error, "removed content stays in the trash"),
            }
        }
    }
}

/// A place in the trash.
struct Trash {
    directory: std::path::PathBuf,
    count: std::cell::Cell<u64>,
}

impl Trash {
    fn new(root: &Path) -> Result<Self, ImageError> {
        let parent = root.join("trash");
        let directory = tempfile::Builder::new()
            .prefix("")
            .tempdir_in(&parent)
            .map_err(ImageError::io("make a directory in", &parent))?;
        Ok(Self {
            directory: directory.keep(),
            count: std::cell::Cell::new(0),
        })
    }

    /// Moves something away. What is gone already is fine.
    fn take(&self, path: &Path) -> Result<(), ImageError> {
        self.count.set(self.count.get() + 1);
        match fs::rename(path, self.directory.join(self.count.get().to_string())) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(ImageError::io("move away", path)(error))
            }
            _ => Ok(()),
        }
    }
}

/// The digests by which the entries of a directory are named.
fn digests_in(directory: &Path) -> Result<Vec<(Digest, fs::DirEntry)>, ImageError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(ImageError::io("read", directory))? {
        let entry = entry.map_err(ImageError::io("read", directory))?;
        if let Some(digest) = digest_of_name(&entry.file_name()) {
            found.push((digest, entry));
        }
    }
    Ok(found)
}
