//! When something was used last: the modification time of a file or directory.

use std::path::Path;
use std::time::SystemTime;

use fs_err as fs;
use fs_err::File;

use super::ImageStore;
use crate::{Digest, Image};

impl ImageStore {
    /// Notes that an image is used now: it is pulled, built, built upon or started.
    pub fn touch(&self, image: &Image) {
        touch(&self.usage_path(&image.id));
    }

    /// When an image was used last, if that is known.
    pub fn last_used(&self, id: &Digest) -> Option<SystemTime> {
        modified(&self.usage_path(id))
    }

    pub(super) fn usage_path(&self, id: &Digest) -> std::path::PathBuf {
        self.inner.root.join("used").join(id.hex())
    }
}

/// Makes a file's time now; the file is made if it is missing. Failing to do so costs at most a pull
/// or a build later.
pub(super) fn touch(path: &Path) {
    let touch = || -> std::io::Result<()> {
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        file.file().set_modified(SystemTime::now())
    };
    if let Err(error) = touch() {
        tracing::debug!(%error, "use not recorded");
    }
}

/// The same for a directory, if it exists.
pub(super) fn touch_directory(path: &Path) {
    if let Ok(directory) = File::open(path) {
        let _ = directory.file().set_modified(SystemTime::now());
    }
}

pub(super) fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|found| found.modified()).ok()
}
