//! Bytes of objects, which never change: written once, read in part, deleted when nobody needs them.
//!
//! What they belong to only the index knows. A blob that it does not know is nobody's: its writer died
//! before it was told.

mod bucket;
mod directory;
mod leases;

use std::ops::Range;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;

pub use bucket::{Bucket, BucketOptions};
pub use directory::Directory;
pub(crate) use leases::{Lease, Leases};

use crate::Failure;

/// Why bytes could not be kept or read.
pub type BlobError = Failure;

/// Bytes on their way out.
pub type BlobStream = Pin<Box<dyn Stream<Item = Result<Bytes, BlobError>> + Send>>;

/// Where bytes are kept. Names are letters, digits and `-`, made by [`crate::R2`], each used once.
#[async_trait::async_trait]
pub trait Blobs: Send + Sync + std::fmt::Debug + 'static {
    /// Begins one. It is not there before [`BlobWriter::finish`].
    async fn create(&self, name: &str) -> Result<Box<dyn BlobWriter>, BlobError>;

    /// Bytes of one that is there, all inside it.
    async fn read(&self, name: &str, range: Range<u64>) -> Result<BlobStream, BlobError>;

    /// Takes one away; that it is not there is no error.
    async fn delete(&self, name: &str) -> Result<(), BlobError>;

    /// Every name there is, and takes away what was left half-made by writers that are dead.
    async fn sweep(&self) -> Result<Vec<String>, BlobError>;
}

/// A blob on its way in. Dropping it leaves nothing.
#[async_trait::async_trait]
pub trait BlobWriter: Send {
    /// Appends.
    async fn write(&mut self, batch: Vec<Bytes>) -> Result<(), BlobError>;

    /// Makes it a blob, which survives a power cut from now on.
    async fn finish(self: Box<Self>) -> Result<(), BlobError>;
}
