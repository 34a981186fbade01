//! Blobs: content by its digest.

use std::io::Write as _;
use std::path::PathBuf;

use fs_err as fs;
use fs_err::File;

use super::{Hold, ImageStore, Item};
use crate::{Digest, ImageError};

/// Largest manifest or configuration that is read into memory.
pub(crate) const MAX_DOCUMENT: u64 = 8 << 20;

/// What a layer's blob is called in errors.
pub(crate) const LAYER: &str = "layer";

impl ImageStore {
    /// Where a blob is (or would be).
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.inner.root.join("blobs/sha256").join(digest.hex())
    }

    pub(crate) fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    /// Opens a blob for reading.
    pub(crate) fn open_blob(
        &self,
        what: &'static str,
        digest: &Digest,
    ) -> Result<File, ImageError> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|source| {
            if source.kind() == std::io::ErrorKind::NotFound {
                ImageError::MissingBlob {
                    what,
                    digest: digest.clone(),
                }
            } else {
                ImageError::io("open", &path)(source)
            }
        })
    }

    /// A whole document, checked against its digest.
    pub(crate) fn read_blob(
        &self,
        what: &'static str,
        digest: &Digest,
    ) -> Result<Vec<u8>, ImageError> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        self.open_blob(what, digest)?
            .take(MAX_DOCUMENT)
            .read_to_end(&mut bytes)
            .map_err(ImageError::io("read", &self.blob_path(digest)))?;
        digest.check(bytes, what)
    }

    /// Stores a document, which is kept as long as what is returned lives. One that is there and
    /// damaged is replaced: nobody can have read it.
    pub(crate) fn put_blob(&self, bytes: &[u8]) -> Result<Hold, ImageError> {
        let digest = Digest::of(bytes);
        let hold = self.hold(vec![Item::Blob(digest.clone())])?;
        if self.has_blob(&digest) && self.read_blob("document", &digest).is_ok() {
            return Ok(hold);
        }
        let mut file = self.new_blob()?;
        let write = |file: &mut tempfile::NamedTempFile| {
            file.write_all(bytes)?;
            file.as_file().sync_data()
        };
        write(&mut file).map_err(ImageError::io("write", file.path()))?;
        self.keep_blob(file, &digest)?;
        Ok(hold)
    }

    /// An unfinished blob.
    pub(crate) fn new_blob(&self) -> Result<tempfile::NamedTempFile, ImageError> {
        let parent = self.scratch_dir();
        tempfile::Builder::new()
            .prefix("blob-")
            .tempfile_in(&parent)
            .map_err(ImageError::io("make a file in", &parent))
    }

    /// Puts a finished (and flushed) blob that is held in place.
    pub(crate) fn keep_blob(
        &self,
        file: tempfile::NamedTempFile,
        digest: &Digest,
    ) -> Result<(), ImageError> {
        let path = self.blob_path(digest);
        let temporary = file
            .into_temp_path()
            .keep()
            .map_err(|error| ImageError::io("keep", &path)(error.error))?;
        fs::rename(&temporary, &path).map_err(ImageError::io("put in place", &path))
    }
}
