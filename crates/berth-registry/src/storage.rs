//! Where a registry keeps things, behind one trait: a directory, or an S3-compatible bucket.
//!
//! Three kinds of things, and for each one rule:
//!
//! - **Records**: small named values (`repositories/<name>/_tags/<tag>`). A record appears whole or not
//!   at all, and the last writer wins.
//! - **Blobs**: content named by its digest. A blob appears whole or not at all and never changes.
//! - **Uploads**: bytes that grow at the end. They survive the process; at any time the first
//!   [`Storage::upload_size`] bytes are those that were sent.
//!
//! What the keys mean is [`crate::layout`]'s business.

mod bucket;
mod directory;

use std::fmt;
use std::io;
use std::ops::Range;
use std::time::SystemTime;

use async_trait::async_trait;
use berth_error::Hint;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::digest::{Digest, Hasher};
use crate::error::ApiError;
use crate::names::RepositoryName;

pub use bucket::{Bucket, BucketOptions};
pub use directory::Directory;

/// Whether a record must outlive the machine's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// On the disk before the call returns.
    Durable,
    /// Survives the process; a power cut may take it.
    Volatile,
}

/// A record in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The last part of its key.
    pub name: String,
    /// When it was last written.
    pub modified: SystemTime,
}

/// What is known of a blob without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobInfo {
    /// Bytes.
    pub size: u64,
    /// When it came.
    pub modified: SystemTime,
}

/// See [`Storage::lock_collector`].
pub type CollectorLock = Box<dyn std::any::Any + Send>;

/// Bytes on their way to a client.
pub type BlobStream = BoxStream<'static, io::Result<Bytes>>;

/// Bytes on their way from a client.
pub type UploadStream = BoxStream<'static, Result<Bytes, BodyError>>;

/// Why a body ended before its end.
#[derive(Debug)]
pub enum BodyError {
    /// The client is gone, too slow, or does not speak HTTP.
    Broken,
    /// We do not want more of it.
    Refused(ApiError),
}

/// How far an [`Storage::append`] came.
#[derive(Debug)]
pub struct Appended {
    /// Bytes of the upload now.
    pub size: u64,
    /// The hash of all of them, if it could be kept.
    pub hasher: Option<Hasher>,
    /// Why it ended early, if it did.
    pub outcome: Result<(), AppendError>,
}

/// Why an append ended early.
#[derive(Debug)]
pub enum AppendError {
    /// The body did.
    Body(BodyError),
    /// The storage failed.
    Storage(StorageError),
}

/// Name of one upload: random, and bound to its repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UploadId {
    id: uuid::Uuid,
    repository: String,
}

impl UploadId {
    /// A new one.
    pub fn new(repository: &RepositoryName) -> Self {
        Self::of(uuid::Uuid::new_v4(), repository)
    }

    /// The one a client names.
    pub fn parse(text: &str, repository: &RepositoryName) -> Option<Self> {
        uuid::Uuid::try_parse(text)
            .ok()
            .map(|id| Self::of(id, repository))
    }

    fn of(id: uuid::Uuid, repository: &RepositoryName) -> Self {
        let hash = Digest::of(
            crate::digest::Algorithm::Sha256,
            repository.as_str().as_bytes(),
        );
        Self {
            id,
            repository: hash.hex()[..16].to_owned(),
        }
    }

    /// As it stands in a location.
    pub fn token(&self) -> String {
        self.id.to_string()
    }

    /// As it stands in a storage key: under another repository's name it is another upload.
    pub(crate) fn key(&self) -> String {
        format!("{}-{}", self.id.simple(), self.repository)
    }

    pub(crate) fn from_key(key: &str) -> Option<Self> {
        let (id, repository) = key.split_once('-')?;
        let is_hash = repository.len() == 16 && repository.bytes().all(|b| b.is_ascii_hexdigit());
        let id = uuid::Uuid::try_parse(id).ok()?;
        is_hash.then(|| Self {
            id,
            repository: repository.to_owned(),
        })
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

/// The storage failed.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} `{key}`")]
pub struct StorageError {
    /// As a verb phrase.
    pub action: &'static str,
    /// Of which record, blob, upload or path.
    pub key: String,
    /// How.
    pub source: io::Error,
}

impl StorageError {
    /// There is no room left.
    pub fn is_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

impl Hint for StorageError {
    fn hint(&self) -> Option<String> {
        let hint = match self.source.kind() {
            io::ErrorKind::PermissionDenied => "run it as the user that the directory belongs to",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its disk",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

type Result<T, E = StorageError> = std::result::Result<T, E>;

/// See the module.
#[async_trait]
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Whether several processes may serve it: then what one remembers of an upload may be old.
    fn is_shared(&self) -> bool;

    /// The record's value.
    async fn get(&self, key: &str) -> Result<Option<Bytes>>;
    /// Writes a record.
    async fn put(&self, key: &str, value: Bytes, keep: Keep) -> Result<()>;
    /// When the record was last written; `None` if there is none.
    async fn modified(&self, key: &str) -> Result<Option<SystemTime>>;
    /// Makes an **empty** record as young as if it were written now. Says whether there was one.
    async fn touch(&self, key: &str) -> Result<bool>;
    /// Removes a record. Says whether there was one.
    async fn delete(&self, key: &str) -> Result<bool>;
    /// The records (and what is above records) directly below a key, by name.
    async fn list(&self, key: &str) -> Result<Vec<Entry>>;
    /// Makes this process the one that collects garbage, until what is returned is dropped; `None`
    /// if another one is. A storage for which that does not matter always says yes.
    async fn lock_collector(&self) -> Result<Option<CollectorLock>>;
    /// All records below this key and all blobs that were written before are durable afterwards.
    async fn settle(&self, key: &str) -> Result<()>;

    /// Whether there is such a blob.
    async fn blob(&self, digest: &Digest) -> Result<Option<BlobInfo>>;
    /// A part of a blob, which must be within its size.
    async fn read_blob(&self, digest: &Digest, range: Range<u64>) -> Result<Option<BlobStream>>;
    /// Keeps a blob that is in memory. `content` must have this digest.
    async fn put_blob(&self, digest: &Digest, content: Bytes) -> Result<()>;
    /// Removes a blob. Says whether there was one.
    async fn delete_blob(&self, digest: &Digest) -> Result<bool>;
    /// All blobs.
    async fn blobs(&self) -> Result<Vec<(Digest, BlobInfo)>>;

    /// Begins an empty upload.
    async fn create_upload(&self, id: &UploadId) -> Result<()>;
    /// Bytes that an upload has; `None` if there is no such upload.
    async fn upload_size(&self, id: &UploadId) -> Result<Option<u64>>;
    /// Adds to an upload of `at` bytes, hashed by `hasher` unless that is unknown. The caller makes
    /// sure that nobody else uses the upload meanwhile.
    async fn append(
        &self,
        id: &UploadId,
        at: u64,
        body: UploadStream,
        hasher: Option<Hasher>,
    ) -> Appended;
    /// The digest of an upload's bytes, read again.
    async fn hash_upload(&self, id: &UploadId, hasher: Hasher) -> Result<Digest>;
    /// Makes an upload the blob of this digest, which the caller has checked. The upload is gone.
    async fn commit_upload(&self, id: &UploadId, digest: &Digest) -> Result<()>;
    /// Removes an upload. Says whether there was one.
    async fn delete_upload(&self, id: &UploadId) -> Result<bool>;
    /// All uploads, with their sizes and when they were last written to.
    async fn uploads(&self) -> Result<Vec<(UploadId, BlobInfo)>>;
}
