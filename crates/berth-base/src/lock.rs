//! One maker at a time per image store, across processes.

use std::fs::File;

use berth_image::ImageStore;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::error::file;
use crate::{BaseError, Progress};

/// Prefix of the temporary trees below the store's scratch directory.
pub(crate) const SCRATCH_PREFIX: &str = "base-image-";

/// Held while base images are made; the kernel releases it with the last descriptor.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Waits for the lock of this store.
pub(crate) async fn acquire(
    store: &ImageStore,
    reference: &str,
    progress: Progress<'_>,
) -> Result<Lock, BaseError> {
    let scratch = store.scratch_dir();
    fs_err::create_dir_all(&scratch).map_err(file("create", &scratch))?;
    let path = scratch.join("base-images.lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(file("open", &path))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => return Ok(Lock { _file: lock }),
        Err(Errno::WOULDBLOCK) => {}
        Err(error) => return Err(file("lock", &path)(error.into())),
    }
    progress(format!(
        "{reference}: waiting for another process that makes base images"
    ));
    tokio::task::spawn_blocking(move || {
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)
            .map_err(|error| file("lock", &path)(error.into()))?;
        Ok(Lock { _file: lock })
    })
    .await
    .map_err(|_| BaseError::Task { step: "locking" })?
}

/// Removes trees of makers that were killed. Call only with the lock held.
pub(crate) fn remove_leftovers(store: &ImageStore) {
    let Ok(entries) = std::fs::read_dir(store.scratch_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(SCRATCH_PREFIX)
        {
            // What cannot be removed now is tried again the next time.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// A temporary directory on the store's file system.
pub(crate) fn scratch(store: &ImageStore) -> Result<tempfile::TempDir, BaseError> {
    let parent = store.scratch_dir();
    tempfile::Builder::new()
        .prefix(SCRATCH_PREFIX)
        .tempdir_in(&parent)
        .map_err(file("create a directory in", parent))
}
