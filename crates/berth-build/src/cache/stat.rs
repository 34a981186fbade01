//! Digests of a context's files, remembered as long as a file's inode, size and times stay the same,
//! so that a build where nothing changed reads no file.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use berth_image::Digest;
use rustix::fs::Stat;
use serde::{Deserialize, Serialize};

/// A file that changed this short a time (in nanoseconds) before it was read may change again without
/// its times telling: the kernel's clock for them ticks every few milliseconds.
const SETTLED_NS: i128 = 1_000_000_000;

/// What must not have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    inode: u64,
    size: i64,
    modified: i128,
    /// Also changes when someone sets the modification time back.
    changed: i128,
}

impl Identity {
    fn of(stat: &Stat) -> Self {
        let time =
            |seconds: i64, nanos: u64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self {
            inode: stat.st_ino,
            size: stat.st_size,
            modified: time(stat.st_mtime, stat.st_mtime_nsec),
            changed: time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// The remembered digests of one context.
#[derive(Debug)]
pub(crate) struct StatCache {
    path: PathBuf,
    /// Path relative to the context → its digest when it was like this.
    known: HashMap<String, (Identity, Digest)>,
    changed: bool,
}

impl StatCache {
    /// Reads what is remembered; nothing if there is nothing or it cannot be read.
    pub(crate) fn load(path: PathBuf) -> Self {
        let known = fs_err::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self {
            path,
            known,
            changed: false,
        }
    }

    /// The digest of a file, read with `read` if it is not known.
    pub(crate) fn digest<E>(
        &mut self,
        name: &str,
        stat: &Stat,
        read: impl FnOnce() -> Result<Digest, E>,
    ) -> Result<Digest, E> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i128::try_from(since.as_nanos()).unwrap_or(0));
        self.digest_at(now, name, stat, read)
    }

    fn digest_at<E>(
        &mut self,
        now: i128,
        name: &str,
        stat: &Stat,
        read: impl FnOnce() -> Result<Digest, E>,
    ) -> Result<Digest, E> {
        let identity = Identity::of(stat);
        if let Some((known, digest)) = self.known.get(name)
            && *known == identity
        {
            return Ok(digest.clone());
        }
        let digest = read()?;
        if now - identity.changed.max(identity.modified) > SETTLED_NS {
            self.known
                .insert(name.to_owned(), (identity, digest.clone()));
            self.changed = true;
        }
        Ok(digest)
    }

    /// Writes what is known. Failing to do so costs time later, but no build.
    pub(crate) fn save(&self) {
        if !self.changed {
            return;
        }
        let write = || -> std::io::Result<()> {
            let directory = self.path.parent().unwrap_or(&self.path);
            fs_err::create_dir_all(directory)?;
            super::replace(directory, &self.path, &serde_json::to_vec(&self.known)?)
        };
        if let Err(error) = write() {
            tracing::warn!(%error, "digests of the context not recorded");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn settled_files_are_read_once() {
        let directory = tempfile::tempdir().unwrap();
        let (file, cache) = (
            directory.path().join("file"),
            directory.path().join("cache"),
        );
        let one = Digest::of(b"1");
        std::fs::write(&file, "1").unwrap();
        let stat = rustix::fs::stat(&file).unwrap();
        let changed = Identity::of(&stat).changed;
        let mut reads = 0;
        let mut ask = |now: i128, stat: &Stat| {
            let mut known = StatCache::load(cache.clone());
            let read = || -> Result<_, Infallible> {
                reads += 1;
                Ok(one.clone())
            };
            let Ok(digest) = known.digest_at(now, "file", stat, read);
            assert_eq!(digest, one);
            known.save();
            reads
        };
        assert_eq!(ask(changed + 1, &stat), 1);
        assert_eq!(ask(changed + 1, &stat), 2, "too fresh to be remembered");
        assert_eq!(ask(changed + 2 * SETTLED_NS, &stat), 3);
        assert_eq!(ask(changed + 3 * SETTLED_NS, &stat), 3, "remembered");
        std::fs::write(&file, "22").unwrap();
        let stat = rustix::fs::stat(&file).unwrap();
        assert_eq!(
            ask(changed + 4 * SETTLED_NS, &stat),
            4,
            "it is another file now"
        );
    }
}
