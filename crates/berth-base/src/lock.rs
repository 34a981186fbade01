//! One maker at a time per image store, across processes.

use std::fs::File;

use berth_image::ImageStore;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::error::file;
use crate::{BaseError, Progress};

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
    let path = store.root().join("locks/base-images");
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

/// A temporary directory on the store's file system.
pub(crate) fn scratch(store: &ImageStore) -> Result<tempfile::TempDir, BaseError> {
    let parent = store.scratch_dir();
    tempfile::Builder::new()
        .prefix("base-image-")
        .tempdir_in(&parent)
        .map_err(file("create a directory in", parent))
}
