//! Digests of a context's files, remembered as long as a file's inode, size and times stay the same,
//! so that a build where nothing changed reads no file.
//!
//! ```text
//! berth-stat 1
//! <digest, hex> <device> <inode> <size> <modified ns> <changed ns> <path, to the NUL>
//! ```
//!
//! Invariant: a digest is only remembered if the file had not been changed for a while when it was
//! read. One that is changed right after it was read may have the same times as before: the clock of
//! file systems ticks every few milliseconds.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use berth_image::Digest;
use rustix::fs::Stat;

/// The "while", in nanoseconds.
const SETTLED_NS: i128 = 1_000_000_000;
const MAGIC: &str = "berth-stat 1\n";
/// Fewer files than this are read by one thread.
const PARALLEL: usize = 16;

/// What must not have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    size: i64,
    modified: i128,
    /// Also changes when someone sets the modification time back.
    changed: i128,
}

impl Identity {
    pub(crate) fn of(stat: &Stat) -> Self {
        let time =
            |seconds: i64, nanos: u64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            modified: time(stat.st_mtime, stat.st_mtime_nsec),
            changed: time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Whether the file had not been changed for a while then.
    pub(crate) fn has_settled(&self, now: i128) -> bool {
        now - self.changed.max(self.modified) > SETTLED_NS
    }

    /// Five numbers, each with a space behind it.
    pub(crate) fn spell(&self, bytes: &mut Vec<u8>) -> std::io::Result<()> {
        write!(
            bytes,
            "{} {} {} {} {} ",
            self.device, self.inode, self.size, self.modified, self.changed
        )
    }

    /// What [`Identity::spell`] wrote, from its fields.
    pub(crate) fn parse<'a>(fields: &mut impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut text = || std::str::from_utf8(fields.next()?).ok();
        Some(Self {
            device: text()?.parse().ok()?,
            inode: text()?.parse().ok()?,
            size: text()?.parse().ok()?,
            modified: text()?.parse().ok()?,
            changed: text()?.parse().ok()?,
        })
    }
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> i128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i128::try_from(since.as_nanos()).unwrap_or(0))
}

/// The remembered digests of one context.
#[derive(Debug)]
pub(crate) struct StatCache {
    path: PathBuf,
    /// Path relative to the context → its digest when it was like this.
    known: HashMap<Vec<u8>, (Identity, Digest)>,
    /// Read just now, by [`StatCache::read_ahead`].
    fresh: HashMap<Vec<u8>, (Identity, Digest)>,
    changed: bool,
}

impl StatCache {
    /// Reads what is remembered; nothing if there is nothing or it cannot be read.
    pub(crate) fn load(path: PathBuf) -> Self {
        let known = fs_err::read(&path)
            .ok()
            .and_then(|bytes| parse(&bytes))
            .unwrap_or_default();
        Self {
            path,
            known,
            fresh: HashMap::new(),
            changed: false,
        }
    }

    /// Reads the files that are not known, on all processors. What cannot be read is left to
    /// [`StatCache::digest`].
    pub(crate) fn read_ahead<'a, E>(
        &mut self,
        files: impl Iterator<Item = (&'a [u8], &'a Stat)>,
        read: impl Fn(&[u8]) -> Result<Digest, E> + Sync,
    ) {
        let unknown: Vec<(&[u8], Identity)> = files
            .map(|(name, stat)| (name, Identity::of(stat)))
            .filter(|(name, identity)| {
                let known = self.known.get(*name);
                known.is_none_or(|(known, _)| known != identity)
            })
            .collect();
        if unknown.len() < PARALLEL {
            return;
        }
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            while let Some((name, identity)) = unknown.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Ok(digest) = read(name) {
                    done.push((name.to_vec(), (*identity, digest)));
                }
            }
            done
        };
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            for thread in threads {
                // A thread that panicked has read nothing.
                self.fresh.extend(thread.join().unwrap_or_default());
            }
        });
    }

    /// The digest of a file, read with `read` if it is not known.
    pub(crate) fn digest<E>(
        &mut self,
        name: &[u8],
        stat: &Stat,
        read: impl FnOnce() -> Result<Digest, E>,
    ) -> Result<Digest, E> {
        self.digest_at(now(), name, stat, read)
    }

    fn digest_at<E>(
        &mut self,
        now: i128,
        name: &[u8],
        stat: &Stat,
        read: impl FnOnce() -> Result<Digest, E>,
    ) -> Result<Digest, E> {
        let identity = Identity::of(stat);
        let found = [&self.known, &self.fresh].into_iter().find_map(|known| {
            let (known, digest) = known.get(name)?;
            (*known == identity).then(|| digest.clone())
        });
        let digest = match found {
            Some(digest) => digest,
            None => read()?,
        };
        self.remember(now, name, identity, &digest);
        Ok(digest)
    }

    fn remember(&mut self, now: i128, name: &[u8], identity: Identity, digest: &Digest) {
        let is_known = self
            .known
            .get(name)
            .is_some_and(|(known, _)| *known == identity);
        if !is_known && identity.has_settled(now) {
            self.known.insert(name.to_vec(), (identity, digest.clone()));
            self.changed = true;
        }
    }

    /// Writes what is known. Failing to do so costs time later, but no build.
    pub(crate) fn save(&self) {
        if !self.changed {
            return;
        }
        let write = || -> std::io::Result<()> {
            let directory = self.path.parent().unwrap_or(&self.path);
            fs_err::create_dir_all(directory)?;
            super::replace(directory, &self.path, &self.spell()?)
        };
        if let Err(error) = write() {
            tracing::warn!(%error, "digests of the context not recorded");
        }
    }

    fn spell(&self) -> std::io::Result<Vec<u8>> {
        let mut bytes = MAGIC.as_bytes().to_vec();
        for (name, (identity, digest)) in &self.known {
            write!(bytes, "{} ", digest.hex())?;
            identity.spell(&mut bytes)?;
            bytes.extend_from_slice(name);
            bytes.push(0);
        }
        Ok(bytes)
    }
}

/// `None` if anything is not as it was written.
fn parse(bytes: &[u8]) -> Option<HashMap<Vec<u8>, (Identity, Digest)>> {
    let mut rest = bytes.strip_prefix(MAGIC.as_bytes())?;
    let mut known = HashMap::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == 0)?;
        let mut fields = rest[..end].splitn(7, |byte| *byte == b' ');
        let digest = std::str::from_utf8(fields.next()?).ok()?;
        let digest = format!("sha256:{digest}").parse().ok()?;
        let identity = Identity::parse(&mut fields)?;
        known.insert(fields.next()?.to_vec(), (identity, digest));
        rest = &rest[end + 1..];
    }
    Some(known)
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
            let Ok(digest) = known.digest_at(now, b"file", stat, read);
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

    #[test]
    fn what_is_written_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("cache");
        let names: Vec<Vec<u8>> = (0..40)
            .map(|n| format!("a b/\n{n}\u{ff}").into_bytes())
            .chain([vec![0xff, b' ', 0xfe]])
            .collect();
        let stat = rustix::fs::stat("/").unwrap();
        let mut known = StatCache::load(cache.clone());
        let files = names.iter().map(|name| (name.as_slice(), &stat));
        known.read_ahead(files, |name| Ok::<_, Infallible>(Digest::of(name)));
        let later = Identity::of(&stat).changed + 2 * SETTLED_NS;
        for name in &names {
            let Ok(digest) = known.digest_at(later, name, &stat, || -> Result<_, Infallible> {
                panic!("read ahead")
            });
            assert_eq!(digest, Digest::of(name));
        }
        known.save();
        let again = StatCache::load(cache.clone());
        assert_eq!(again.known, known.known);
        // What is not whole is nothing.
        let bytes = std::fs::read(&cache).unwrap();
        std::fs::write(&cache, &bytes[..bytes.len() - 1]).unwrap();
        assert!(StatCache::load(cache).known.is_empty());
    }
}
