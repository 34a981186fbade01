//! Where the bytes of a store are, which cannot change while there are any.
//!
//! `<directory>/place` says it; a store without that file has them in its own directory.

use std::path::Path;
use std::sync::Arc;

use crate::blobs::{Blobs, Bucket, BucketOptions, Directory};
use crate::index::Index;
use crate::{Failure, R2};

/// The file's name.
const FILE: &str = "place";

/// Where the bytes of a store are.
#[derive(Clone, Debug, Default)]
pub enum Place {
    /// In `blobs` of its directory.
    #[default]
    Directory,
    /// In a bucket that speaks S3.
    Bucket(BucketOptions),
}

impl Place {
    /// As the file and errors have it. Where the bucket is reached is no part of it.
    fn words(&self) -> String {
        match self {
            Self::Directory => "its own directory".to_owned(),
            Self::Bucket(bucket) => format!(
                "the bucket `{}` with the prefix `{}`",
                bucket.name,
                bucket.prefix.trim_matches('/')
            ),
        }
    }

    fn open(&self, directory: &Path) -> Result<Arc<dyn Blobs>, Failure> {
        Ok(match self {
            Self::Directory => Arc::new(Directory::open(&directory.join("blobs"))?),
            Self::Bucket(bucket) => Arc::new(Bucket::open(bucket)?),
        })
    }
}

impl R2 {
    /// The store whose index is in a directory, which is made, and whose bytes are at a place.
    ///
    /// # Errors
    /// As [`R2::open`]; [`Failure::Elsewhere`] if there are bytes at another place.
    pub fn open_at(directory: &Path, place: &Place) -> Result<Self, Failure> {
        let file = directory.join(FILE);
        let failed = |action, source| Failure::Io {
            action,
            path: file.clone(),
            source,
        };
        let was = match std::fs::read_to_string(&file) {
            Ok(words) => words.trim().to_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Place::Directory.words(),
            Err(error) => return Err(failed("read", error)),
        };
        let wanted = place.words();
        if was != wanted {
            crate::store::make(directory)?;
            if Index::open(&directory.join("index.db"))?.has_bytes()? {
                return Err(Failure::Elsewhere { was, wanted });
            }
            let next = file.with_extension("new");
            std::fs::write(&next, &wanted)
                .and_then(|()| std::fs::File::open(&next)?.sync_all())
                .and_then(|()| std::fs::rename(&next, &file))
                .map_err(|source| failed("write", source))?;
        }
        Self::with_blobs(directory, place.open(directory)?)
    }
}
