//! The storage in an S3-compatible bucket.
//!
//! ```text
//! <prefix>/blobs/<algorithm>/<hex>
//! <prefix>/uploads/<id>/state        size, parts and tail of an upload
//! <prefix>/uploads/<id>/tail-<n>     bytes after the last whole part, up to <n>
//! <prefix>/uploads/<id>/data         the upload once its parts are put together
//! <prefix>/<key>                     records, one object each
//! ```
//!
//! An object appears whole or not at all, and is durable when it appears. Any number of processes may
//! serve one bucket; one upload is served by one of them at a time, which is the client's business
//! (its connection or the load balancer's affinity).

mod objects;
mod uploads;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};

use super::{
    Appended, BlobInfo, BlobStream, CollectorLock, Entry, Keep, Storage, StorageError, UploadId,
    UploadStream,
};
use crate::digest::{Algorithm, Digest, Hasher};
use objects::failed;

type Result<T, E = StorageError> = std::result::Result<T, E>;

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

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    store: Arc<AmazonS3>,
    prefix: String,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Bucket {
    /// A bucket that exists. Nothing is asked of it yet.
    pub fn open(options: &BucketOptions) -> Result<Self> {
        // Whoever was first has chosen; this is what all of Berth chooses.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(&options.name);
        if let Some(endpoint) = &options.endpoint {
            builder = builder
                .with_endpoint(endpoint)
                .with_allow_http(endpoint.starts_with("http://"));
        }
        let store = builder.build();
        Ok(Self {
            store: Arc::new(store.map_err(|error| failed("use bucket", &options.name, error))?),
            prefix: options.prefix.trim_matches('/').to_owned(),
        })
    }

    fn blob_key(digest: &Digest) -> String {
        format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
    }
}

#[async_trait]
impl Storage for Bucket {
    fn is_shared(&self) -> bool {
        true
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        self.read(key).await
    }

    async fn put(&self, key: &str, value: Bytes, _keep: Keep) -> Result<()> {
        self.write(key, value).await
    }

    async fn modified(&self, key: &str) -> Result<Option<SystemTime>> {
        Ok(self.head(key).await?.map(|info| info.modified))
    }

    async fn touch(&self, key: &str) -> Result<bool> {
        let there = self.head(key).await?.is_some();
        if there {
            self.write(key, Bytes::new()).await?;
        }
        Ok(there)
    }

    async fn delete(&self, key: &str) -> Result<bool> {
        let there = self.head(key).await?.is_some();
        if there {
            self.remove(key).await?;
        }
        Ok(there)
    }

    async fn list(&self, key: &str) -> Result<Vec<Entry>> {
        self.children(key).await
    }

    async fn lock_collector(&self) -> Result<Option<CollectorLock>> {
        // Collectors do not harm each other.
        Ok(Some(Box::new(())))
    }

    async fn settle(&self, _key: &str) -> Result<()> {
        Ok(())
    }

    async fn blob(&self, digest: &Digest) -> Result<Option<BlobInfo>> {
        self.head(&Self::blob_key(digest)).await
    }

    async fn read_blob(&self, digest: &Digest, range: Range<u64>) -> Result<Option<BlobStream>> {
        if range.is_empty() {
            // A range of S3 has at least one byte.
            return Ok(Some(futures_util::stream::empty().boxed()));
        }
        let stream = self.stream(&Self::blob_key(digest), Some(range)).await?;
        Ok(stream.map(|stream| stream.map_err(std::io::Error::other).boxed()))
    }

    async fn put_blob(&self, digest: &Digest, content: Bytes) -> Result<()> {
        self.write(&Self::blob_key(digest), content).await?;
        crate::crash::crash_point("registry.bucket.blob");
        Ok(())
    }

    async fn delete_blob(&self, digest: &Digest) -> Result<bool> {
        self.delete(&Self::blob_key(digest)).await
    }

    async fn blobs(&self) -> Result<Vec<(Digest, BlobInfo)>> {
        let mut blobs = Vec::new();
        for algorithm in Algorithm::ALL {
            let name = algorithm.name();
            for (key, info) in self.below(&format!("blobs/{name}")).await? {
                let hex = key.rsplit('/').next().unwrap_or_default();
                blobs.extend(Digest::from_parts(name, hex).map(|digest| (digest, info)));
            }
        }
        Ok(blobs)
    }

    async fn create_upload(&self, id: &UploadId) -> Result<()> {
        self.create(id).await
    }

    async fn upload_size(&self, id: &UploadId) -> Result<Option<u64>> {
        Ok(self.state(id).await?.map(|state| state.size()))
    }

    async fn append(
        &self,
        id: &UploadId,
        at: u64,
        body: UploadStream,
        hasher: Option<Hasher>,
    ) -> Appended {
        uploads::append(self, id, at, body, hasher).await
    }

    async fn hash_upload(&self, id: &UploadId, hasher: Hasher) -> Result<Digest> {
        uploads::hash(self, id, hasher).await
    }

    async fn commit_upload(&self, id: &UploadId, digest: &Digest) -> Result<()> {
        uploads::commit(self, id, &Self::blob_key(digest)).await
    }

    async fn delete_upload(&self, id: &UploadId) -> Result<bool> {
        uploads::remove(self, id).await
    }

    async fn uploads(&self) -> Result<Vec<(UploadId, BlobInfo)>> {
        uploads::list(self).await
    }
}
