//! [`R2`]: the index and the blobs together.
//!
//! Invariants: bytes are durable before the index names them; what the index does not name any more is
//! deleted when its last reader is done; what a dead process left is found by [`R2::tidy`].

mod lifecycle;
mod objects;
mod read;
mod tidy;
mod uploads;
mod write;

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;

use crate::blobs::{Blobs, Directory, Leases};
use crate::index::{BucketInfo, Index, fresh};
use crate::name::is_bucket_name;
use crate::object::StorageClass;
use crate::{Failure, R2Error};

pub use objects::{Found, Put};
pub use uploads::NewUpload;

/// Bytes on their way in.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// Why there are no more bytes.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client's words are not what it says of them, or it is gone.
    #[error("{0}")]
    Broken(String),
    /// It ended before it was complete.
    #[error("it ended early")]
    Incomplete,
    /// A checksum that came after the bytes is not theirs, or a signature is wrong.
    #[error("{0}")]
    Refused(String),
}

impl From<BodyError> for R2Error {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Broken(text) => Self::Body(text),
            BodyError::Refused(text) => Self::Unproven(text),
            BodyError::Incomplete => Self::Incomplete,
        }
    }
}

/// Makes a store's directory, for its owner only.
pub(crate) fn make(directory: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(directory);
    made.map_err(|source| Failure::Io {
        action: "make",
        path: directory.to_owned(),
        source,
    })
}

/// Buckets of objects. Cheap to clone.
#[derive(Clone, Debug)]
pub struct R2 {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    index: Index,
    blobs: Arc<dyn Blobs>,
    leases: Leases,
    /// What the names of this process's blobs begin with.
    run: String,
    /// The rules of a bucket have changed.
    ruled: tokio::sync::Notify,
    /// Until there is a runtime to delete them in.
    freed: std::sync::Mutex<Option<mpsc::UnboundedReceiver<String>>>,
}

impl R2 {
    /// The store of a directory, which is made: index and blobs. One process at a time.
    ///
    /// # Errors
    /// The directory cannot be used, or is a newer version's.
    pub fn open(directory: &Path) -> Result<Self, Failure> {
        let blobs = Directory::open(&directory.join("blobs"))?;
        Self::with_blobs(directory, Arc::new(blobs))
    }

    /// The store whose index is in a directory and whose bytes are somewhere else.
    ///
    /// # Errors
    /// As [`R2::open`].
    pub fn with_blobs(directory: &Path, blobs: Arc<dyn Blobs>) -> Result<Self, Failure> {
        make(directory)?;
        let index = Index::open(&directory.join("index.db"))?;
        let (leases, freed) = Leases::new();
        let run = format!("{}-{}-", index.id, &fresh()[..8]);
        Ok(Self {
            inner: Arc::new(Inner {
                index,
                blobs,
                leases,
                run,
                ruled: tokio::sync::Notify::new(),
                freed: std::sync::Mutex::new(Some(freed)),
            }),
        })
    }

    /// Asks the index, in a thread that may wait for the disk.
    async fn index<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Inner) -> Result<T, R2Error> + Send + 'static,
    ) -> Result<T, R2Error> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || ask(&inner)).await?
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// A name that is none, or is taken.
    pub async fn create_bucket(
        &self,
        name: &str,
        class: StorageClass,
    ) -> Result<BucketInfo, R2Error> {
        if !is_bucket_name(name) {
            return Err(R2Error::BucketName(name.to_owned()));
        }
        let name = name.to_owned();
        self.index(move |inner| inner.index.create_bucket(&name, class, now()))
            .await
    }

    /// Makes a bucket unless there is one of this name, whatever the name is.
    ///
    /// # Errors
    /// Storage.
    pub async fn ensure_bucket(&self, name: &str) -> Result<(), R2Error> {
        let name = name.to_owned();
        let made = self.index(move |inner| {
            let class = StorageClass::default();
            inner.index.create_bucket(&name, class, now())
        });
        match made.await {
            Ok(_) | Err(R2Error::BucketExists(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// One bucket.
    ///
    /// # Errors
    /// [`R2Error::NoSuchBucket`].
    pub async fn bucket(&self, name: &str) -> Result<BucketInfo, R2Error> {
        let name = name.to_owned();
        self.index(move |inner| inner.index.bucket(&name)).await
    }

    /// The same for callers that may block.
    ///
    /// # Errors
    /// [`R2Error::NoSuchBucket`].
    pub fn bucket_blocking(&self, name: &str) -> Result<BucketInfo, R2Error> {
        self.inner.index.bucket(name)
    }

    /// All, by name.
    ///
    /// # Errors
    /// Storage.
    pub async fn buckets(&self) -> Result<Vec<BucketInfo>, R2Error> {
        self.index(|inner| inner.index.buckets()).await
    }

    /// How many objects a bucket has, and how many bytes they have.
    ///
    /// # Errors
    /// [`R2Error::NoSuchBucket`].
    pub async fn usage(&self, name: &str) -> Result<(u64, u64), R2Error> {
        let name = name.to_owned();
        self.index(move |inner| inner.index.usage(&name)).await
    }

    /// Deletes an empty bucket.
    ///
    /// # Errors
    /// It is not there, or not empty.
    pub async fn delete_bucket(&self, name: &str) -> Result<(), R2Error> {
        let name = name.to_owned();
        self.index(move |inner| inner.index.delete_bucket(&name))
            .await
    }

    /// Changes what a bucket's owner has set.
    ///
    /// # Errors
    /// [`R2Error::NoSuchBucket`].
    pub async fn change_bucket(
        &self,
        name: &str,
        change: impl FnOnce(&mut BucketInfo) + Send + 'static,
    ) -> Result<BucketInfo, R2Error> {
        let name = name.to_owned();
        self.index(move |inner| inner.index.change_bucket(&name, change))
            .await
    }
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
