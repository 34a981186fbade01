//! Blobs that have not fully arrived: what a broken connection or a killed process left is the
//! beginning of the next try.

use std::io::{Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use fs_err as fs;
use fs_err::File;
use rustix::fs::FlockOperation;

use super::{ImageStore, flock, is_at, open_lock, usage};
use crate::{Digest, ImageError};

/// How long the beginning of a blob is kept.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// A blob that is arriving, locked for whoever receives it.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// How much of it is here.
    pub(super) bytes: u64,
}

impl ImageStore {
    /// Waits for the turn to receive a blob.
    pub(super) fn partial(&self, digest: &Digest) -> Result<Partial, ImageError> {
        let path = self.inner.root.join("partial").join(digest.hex());
        loop {
            let mut file = open_lock(&path)?;
            flock(&file, FlockOperation::LockExclusive)
                .map_err(ImageError::errno("lock", &path))?;
            if !is_at(&file, &path) {
                continue;
            }
            let bytes = file
                .seek(SeekFrom::End(0))
                .map_err(ImageError::io("read", &path))?;
            return Ok(Partial { file, path, bytes });
        }
    }

    /// Beginnings that nobody went on with, and (`all`) those that nobody goes on with now.
    /// They stay locked as long as the files are open.
    pub(super) fn stale_partials(&self, all: bool) -> Result<Vec<(File, PathBuf)>, ImageError> {
        let directory = self.inner.root.join("partial");
        let mut stale = Vec::new();
        for entry in fs::read_dir(&directory).map_err(ImageError::io("read", &directory))? {
            let entry = entry.map_err(ImageError::io("read", &directory))?;
            let path = entry.path();
            let age = usage::modified(&path)
                .and_then(|then| SystemTime::now().duration_since(then).ok())
                .unwrap_or_default();
            let Ok(file) = File::open(&path) else {
                continue;
            };
            let free = flock(&file, FlockOperation::NonBlockingLockShared).is_ok();
            if free && (all || age > KEPT_FOR) {
                stale.push((file, path));
            }
        }
        Ok(stale)
    }
}

impl Partial {
    /// What came is not what was wanted.
    pub(super) fn discard(self) {
        let _ = fs::remove_file(&self.path);
    }
}
