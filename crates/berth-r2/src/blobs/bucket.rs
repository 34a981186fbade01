//! Blobs as objects of an S3-compatible bucket: `<prefix>/<name>`.
//!
//! An object appears whole or not at all, and is durable when it appears. Uploads that a dead process
//! left half-made are the bucket's to expire.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore as _, ObjectStoreExt as _};
use tokio::io::AsyncWriteExt as _;

use super::{BlobError, BlobStream, BlobWriter, Blobs};
use crate::Failure;
use crate::crash::crash_point;

/// Bytes from which on a blob is sent in parts, and of each part but the last.
const PART: usize = 8 << 20;

/// Which bucket. What is `None` comes from the environment (`AWS_ACCESS_KEY_ID` and the like), as for
/// every other client of S3.
#[derive(Clone, Debug, Default)]
pub struct BucketOptions {
    /// Its name.
    pub name: String,
    /// What all keys begin with; may be empty.
    pub prefix: String,
    /// Where it is, if that is not Amazon: `https://s3.example.com`.
    pub endpoint: Option<String>,
}

/// A bucket of blobs.
#[derive(Clone, Debug)]
pub struct Bucket {
    store: Arc<AmazonS3>,
    prefix: Path,
}

impl Bucket {
    /// A bucket that exists. Nothing is asked of it yet.
    ///
    /// # Errors
    /// The options make no sense together.
    pub fn open(options: &BucketOptions) -> Result<Self, BlobError> {
        // Whoever was first has chosen; this is what all of Berth chooses.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(&options.name);
        if let Some(endpoint) = &options.endpoint {
            builder = builder
                .with_endpoint(endpoint)
                .with_allow_http(endpoint.starts_with("http://"));
        }
        Ok(Self {
            store: Arc::new(builder.build()?),
            prefix: Path::from(options.prefix.trim_matches('/')),
        })
    }

    fn path(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }
}

impl From<object_store::Error> for Failure {
    fn from(error: object_store::Error) -> Self {
        Self::Bucket(Box::new(error))
    }
}

#[async_trait::async_trait]
impl Blobs for Bucket {
    async fn create(&self, name: &str) -> Result<Box<dyn BlobWriter>, BlobError> {
        let store: Arc<AmazonS3> = Arc::clone(&self.store);
        let writer = BufWriter::with_capacity(store, self.path(name), PART);
        Ok(Box::new(Writer {
            writer: Some(writer),
        }))
    }

    async fn read(&self, name: &str, range: Range<u64>) -> Result<BlobStream, BlobError> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let found = self.store.get_opts(&self.path(name), options).await?;
        Ok(found.into_stream().map_err(Failure::from).boxed())
    }

    async fn delete(&self, name: &str) -> Result<(), BlobError> {
        match self.store.delete(&self.path(name)).await {
            Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn sweep(&self) -> Result<Vec<String>, BlobError> {
        let listed = self.store.list(Some(&self.prefix));
        let name = |found: object_store::ObjectMeta| found.location.filename().map(str::to_owned);
        let names = listed.try_filter_map(|found| std::future::ready(Ok(name(found))));
        Ok(names.try_collect().await?)
    }
}

struct Writer {
    /// Taken when it is finished.
    writer: Option<BufWriter>,
}

#[async_trait::async_trait]
impl BlobWriter for Writer {
    async fn write(&mut self, batch: Vec<Bytes>) -> Result<(), BlobError> {
        if let Some(writer) = &mut self.writer {
            for piece in batch {
                writer.put(piece).await?;
            }
        }
        crash_point("r2.bucket.written");
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), BlobError> {
        if let Some(mut writer) = self.writer.take() {
            let finished = writer.shutdown().await;
            finished.map_err(|source| Failure::Io {
                action: "finish",
                path: "a blob of the bucket".into(),
                source,
            })?;
        }
        crash_point("r2.bucket.finished");
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let (Some(mut writer), Ok(runtime)) =
            (self.writer.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(async move {
                // Nothing has begun if it is small; what stays is the bucket's to expire.
                let _ = writer.abort().await;
            });
        }
    }
}
