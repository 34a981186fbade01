//! Modules of Workers, each once, under its SHA-256 digest.
//!
//! Invariant: what is under a digest has it and is whole; a file appears only when it is on the disk.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::ControlError;

/// The modules of one data directory.
#[derive(Clone, Debug)]
pub struct Content {
    root: PathBuf,
}

impl Content {
    /// That of a directory, which is made.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(root: &Path) -> Result<Self, ControlError> {
        fs_err::create_dir_all(root).map_err(failed("make", root))?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// Keeps these bytes; their digest, 64 hexadecimal digits.
    ///
    /// # Errors
    /// The disk.
    pub fn put(&self, bytes: &[u8]) -> Result<String, ControlError> {
        let digest = crate::token::hex(&Sha256::digest(bytes));
        let path = self.path(&digest);
        let flush = || std::fs::File::open(&self.root)?.sync_all();
        if path.exists() {
            // Whoever has put it there may still be waiting for the disk.
            flush().map_err(failed("write", &path))?;
            return Ok(digest);
        }
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::Builder::new()
                .prefix(".new-")
                .tempfile_in(&self.root)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            flush()
        };
        write().map_err(failed("write", &path))?;
        Ok(digest)
    }

    /// Where the bytes of this digest are, if they are kept.
    pub fn path(&self, digest: &str) -> PathBuf {
        self.root.join(digest)
    }

    /// Deletes whatever is not among these digests, and halves of former writes.
    ///
    /// # Errors
    /// The disk.
    pub(crate) fn keep_only(
        &self,
        wanted: &std::collections::HashSet<String>,
    ) -> Result<usize, ControlError> {
        let read = failed("read", &self.root);
        let mut gone = 0;
        for entry in fs_err::read_dir(&self.root).map_err(read)? {
            let entry = entry.map_err(failed("read", &self.root))?;
            if entry
                .file_name()
                .to_str()
                .is_some_and(|name| wanted.contains(name))
            {
                continue;
            }
            let path = entry.path();
            fs_err::remove_file(&path).map_err(failed("delete", &path))?;
            gone += 1;
        }
        Ok(gone)
    }
}

pub(crate) fn failed(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> ControlError + use<> {
    let path = path.to_owned();
    move |source| ControlError::File {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_are_kept_once() {
        let directory = tempfile::tempdir().unwrap();
        let content = Content::open(&directory.path().join("modules")).unwrap();
        let one = content.put(b"export default {}").unwrap();
        assert_eq!(one, content.put(b"export default {}").unwrap());
        let other = content.put(b"").unwrap();
        assert_ne!(one, other);
        assert_eq!(
            fs_err::read(content.path(&one)).unwrap(),
            b"export default {}"
        );
        fs_err::write(directory.path().join("modules/.new-1"), "half").unwrap();
        let wanted = std::collections::HashSet::from([one.clone()]);
        assert_eq!(content.keep_only(&wanted).unwrap(), 2);
        assert!(content.path(&one).exists() && !content.path(&other).exists());
    }
}
