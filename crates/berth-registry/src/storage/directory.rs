//! The storage in a directory.
//!
//! ```text
//! <root>/
//!   blobs/<algorithm>/<hex>
//!   uploads/<id>
//!   tmp/                      what has not got its name yet
//!   <key>                     records, one file each
//! ```
//!
//! Discipline: content is written under a name of its own, forced to the disk, then renamed; so
//! whatever has its name is complete, also after a power cut. The directory entry of a blob is forced
//! to the disk by [`Storage::settle`] before a manifest names it. One process serves a directory at
//! a time (`lock`); a collector may work beside it.

mod files;
mod read;
mod write;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Appended, BlobInfo, BlobStream, CollectorLock, Entry, Keep, Storage, StorageError, UploadId,
    UploadStream,
};
use crate::digest::{Algorithm, Digest, Hasher};
use files::Files;

type Result<T, E = StorageError> = std::result::Result<T, E>;

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Directory {
    files: Arc<Files>,
}

impl Directory {
    /// Opens (and makes) the storage below this directory.
    pub fn open(root: &Path) -> Result<Self> {
        let files = Files::open(root)?;
        Ok(Self {
            files: Arc::new(files),
        })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        self.files.root()
    }

    /// Takes the directory for this process, until what is returned is dropped; `None` if another
    /// process has it. Whoever has it may remove what dead processes left half-made.
    pub fn lock(&self) -> Result<Option<std::fs::File>> {
        self.files.lock("lock")
    }

    /// Removes what has not got its name: only for the one that has [`Self::lock`].
    pub fn sweep(&self) -> Result<()> {
        self.files.sweep()
    }

    /// Runs something that blocks on files.
    async fn run<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Files) -> Result<T> + Send + 'static,
    {
        let files = self.files.clone();
        match tokio::task::spawn_blocking(move || job(&files)).await {
            Ok(outcome) => outcome,
            Err(error) => Err(failed("work on", self.root(), io::Error::other(error))),
        }
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> StorageError {
    StorageError {
        action,
        key: path.display().to_string(),
        source,
    }
}

/// Not being there is an answer.
fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[async_trait]
impl Storage for Directory {
    fn is_shared(&self) -> bool {
        false
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        let path = self.files.record(key);
        self.run(move |_| match optional(std::fs::read(&path)) {
            Ok(value) => Ok(value.map(Bytes::from)),
            Err(error) => Err(failed("read", &path, error)),
        })
        .await
    }

    async fn put(&self, key: &str, value: Bytes, keep: Keep) -> Result<()> {
        let path = self.files.record(key);
        self.run(move |files| files.put(&path, &value, keep)).await
    }

    async fn modified(&self, key: &str) -> Result<Option<SystemTime>> {
        let path = self.files.record(key);
        self.run(move |files| Ok(files.info(&path)?.map(|info| info.modified)))
            .await
    }

    async fn touch(&self, key: &str) -> Result<bool> {
        let path = self.files.record(key);
        self.run(move |files| files.touch(&path)).await
    }

    async fn delete(&self, key: &str) -> Result<bool> {
        let path = self.files.record(key);
        self.run(move |files| files.remove(&path)).await
    }

    async fn list(&self, key: &str) -> Result<Vec<Entry>> {
        let path = self.files.record(key);
        self.run(move |files| {
            let mut entries = files.list(&path)?;
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            let entry = |(name, info): (String, BlobInfo)| Entry {
                name,
                modified: info.modified,
            };
            Ok(entries.into_iter().map(entry).collect())
        })
        .await
    }

    async fn lock_collector(&self) -> Result<Option<CollectorLock>> {
        self.run(|files| {
            let lock = files.lock("collector.lock")?;
            Ok(lock.map(|file| Box::new(file) as CollectorLock))
        })
        .await
    }

    async fn settle(&self, key: &str) -> Result<()> {
        let path = self.files.record(key);
        self.run(move |files| files.settle(&path)).await
    }

    async fn blob(&self, digest: &Digest) -> Result<Option<BlobInfo>> {
        let path = self.files.blob(digest);
        self.run(move |files| files.info(&path)).await
    }

    async fn read_blob(&self, digest: &Digest, range: Range<u64>) -> Result<Option<BlobStream>> {
        let path = self.files.blob(digest);
        self.run(move |_| read::open(&path, range)).await
    }

    async fn put_blob(&self, digest: &Digest, content: Bytes) -> Result<()> {
        let path = self.files.blob(digest);
        self.run(move |files| files.put_blob(&path, &content)).await
    }

    async fn delete_blob(&self, digest: &Digest) -> Result<bool> {
        let path = self.files.blob(digest);
        self.run(move |files| files.remove(&path)).await
    }

    async fn blobs(&self) -> Result<Vec<(Digest, BlobInfo)>> {
        self.run(|files| {
            let mut blobs = Vec::new();
            for algorithm in Algorithm::ALL {
                let name = algorithm.name();
                let listed = files.list(&files.root().join("blobs").join(name))?;
                let named = |(hex, info): (String, BlobInfo)| {
                    Digest::from_parts(name, &hex).map(|digest| (digest, info))
                };
                blobs.extend(listed.into_iter().filter_map(named));
            }
            Ok(blobs)
        })
        .await
    }

    async fn create_upload(&self, id: &UploadId) -> Result<()> {
        let path = self.files.upload(id);
        self.run(move |_| {
            write::create(&path)
                .map(drop)
                .map_err(|error| failed("create", &path, error))
        })
        .await
    }

    async fn upload_size(&self, id: &UploadId) -> Result<Option<u64>> {
        let path = self.files.upload(id);
        self.run(move |files| Ok(files.info(&path)?.map(|info| info.size)))
            .await
    }

    async fn append(
        &self,
        id: &UploadId,
        at: u64,
        body: UploadStream,
        hasher: Option<Hasher>,
    ) -> Appended {
        write::append(self.files.upload(id), at, body, hasher).await
    }

    async fn hash_upload(&self, id: &UploadId, hasher: Hasher) -> Result<Digest> {
        let path = self.files.upload(id);
        self.run(move |_| read::hash(&path, hasher).map_err(|error| failed("read", &path, error)))
            .await
    }

    async fn commit_upload(&self, id: &UploadId, digest: &Digest) -> Result<()> {
        let (from, to) = (self.files.upload(id), self.files.blob(digest));
        self.run(move |files| files.commit(&from, &to)).await
    }

    async fn delete_upload(&self, id: &UploadId) -> Result<bool> {
        let path = self.files.upload(id);
        self.run(move |files| files.remove(&path)).await
    }

    async fn uploads(&self) -> Result<Vec<(UploadId, BlobInfo)>> {
        self.run(|files| {
            let listed = files.list(&files.root().join("uploads"))?;
            let named =
                |(name, info): (String, BlobInfo)| UploadId::from_key(&name).map(|id| (id, info));
            Ok(listed.into_iter().filter_map(named).collect())
        })
        .await
    }
}

/// Where the parts of the layout are.
impl Files {
    fn record(&self, key: &str) -> PathBuf {
        self.root().join(key)
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        let mut path = self.root().join("blobs");
        path.push(digest.algorithm().name());
        path.push(digest.hex());
        path
    }

    fn upload(&self, id: &UploadId) -> PathBuf {
        self.root().join("uploads").join(id.key())
    }
}
