//! The registry: storage, authority, limits, and what this process knows of uploads.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::MutexGuard;

use crate::auth::{Authority, SigningKey, Tokens};
use crate::collect::{self, CollectOptions};
use crate::digest::Digest;
use crate::error::ApiError;
use crate::layout;
use crate::limits::{self, Limits, Usage};
use crate::names::RepositoryName;
use crate::sessions::Sessions;
use crate::storage::{BlobInfo, Keep, Storage, StorageError};

/// Repositories share this many locks.
const SHARDS: usize = 64;
/// The storage is counted again at most this often when it seems to be full.
const RECOUNT: Duration = Duration::from_secs(10);

/// How a registry behaves.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// How much may be stored.
    pub limits: Limits,
    /// Name of the service in tokens.
    pub service: String,
    /// Where clients reach it (`https://registry.example.com`), for the address of the token endpoint;
    /// `None` takes what the request says.
    pub public_url: Option<String>,
    /// How long a bearer token is valid.
    pub token_lifetime: Duration,
    /// A client may be silent in the middle of a body for this long.
    pub body_timeout: Duration,
    /// Also take image manifests whose layers are not (all) here. Indexes may always be sparse.
    pub sparse_images: bool,
    /// When garbage is collected.
    pub collect: CollectOptions,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            service: "berth".to_owned(),
            public_url: None,
            token_lifetime: Duration::from_secs(300),
            body_timeout: Duration::from_secs(60),
            sparse_images: false,
            collect: CollectOptions::default(),
        }
    }
}

/// A registry. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) authority: Arc<dyn Authority>,
    pub(crate) tokens: Tokens,
    pub(crate) options: RegistryOptions,
    pub(crate) usage: Usage,
    pub(crate) sessions: Sessions,
    /// One collection at a time in this process.
    pub(crate) collecting: tokio::sync::Mutex<()>,
    /// Manifests and tags of one repository change one after the other.
    repositories: Vec<tokio::sync::Mutex<()>>,
    catalogued: Mutex<HashSet<RepositoryName>>,
    counted: Mutex<Instant>,
}

impl Registry {
    /// A registry over this storage. Counts what is stored.
    pub async fn open(
        storage: Arc<dyn Storage>,
        authority: Arc<dyn Authority>,
        key: SigningKey,
        options: RegistryOptions,
    ) -> Result<Self, StorageError> {
        let inner = Inner {
            tokens: Tokens::new(key, &options.service),
            storage,
            authority,
            options,
            usage: Usage::default(),
            sessions: Sessions::default(),
            collecting: tokio::sync::Mutex::default(),
            repositories: (0..SHARDS).map(|_| tokio::sync::Mutex::default()).collect(),
            catalogued: Mutex::default(),
            counted: Mutex::new(Instant::now()),
        };
        inner.count().await?;
        if let Some(_lock) = inner.storage.lock_collector().await? {
            collect::forget_pending(&inner).await?;
        }
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Bytes that are stored or being received.
    pub fn used(&self) -> u64 {
        self.inner.usage.get()
    }
}

impl Inner {
    /// Counts what is stored.
    pub(crate) async fn count(&self) -> Result<(), StorageError> {
        let blobs = self.storage.blobs().await?;
        let uploads = self.storage.uploads().await?;
        let sizes = blobs.iter().map(|(_, info)| info.size);
        let sizes = sizes.chain(uploads.iter().map(|(_, info)| info.size));
        self.usage.set(sizes.fold(0, u64::saturating_add));
        Ok(())
    }

    /// Makes room in the count for bytes that come, or says that there is none.
    pub(crate) async fn take(&self, bytes: u64) -> Result<(), ApiError> {
        let total = self.options.limits.total;
        let Err(_) = self.usage.take(bytes, total) else {
            return Ok(());
        };
        // Somebody else may have removed something.
        let due = {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            let due = counted.elapsed() > RECOUNT;
            if due {
                *counted = Instant::now();
            }
            due
        };
        if due {
            self.count().await?;
        }
        self.usage
            .take(bytes, total)
            .map_err(|used| limits::too_much(used, bytes, total))
    }

    /// The right to change manifests and tags of a repository.
    pub(crate) async fn lock(&self, repository: &RepositoryName) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        repository.hash(&mut hasher);
        let shard = usize::try_from(hasher.finish() % SHARDS as u64).unwrap_or_default();
        self.repositories[shard].lock().await
    }

    /// A blob, if this repository has it.
    pub(crate) async fn blob_in(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<BlobInfo>, StorageError> {
        let link = layout::link(repository, digest);
        if self.storage.modified(&link).await?.is_none() {
            return Ok(None);
        }
        self.storage.blob(digest).await
    }

    /// Makes a blob one of a repository's, or makes it young again.
    pub(crate) async fn link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), StorageError> {
        self.catalogue(repository).await?;
        let link = layout::link(repository, digest);
        self.storage.put(&link, Bytes::new(), Keep::Volatile).await
    }

    /// Remembers that there may be such a repository.
    pub(crate) async fn catalogue(&self, repository: &RepositoryName) -> Result<(), StorageError> {
        let known = || {
            self.catalogued
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if known().contains(repository) {
            return Ok(());
        }
        let key = layout::catalog(repository);
        self.storage.put(&key, Bytes::new(), Keep::Durable).await?;
        known().insert(repository.clone());
        Ok(())
    }

    /// Repositories that there may be, by name.
    pub(crate) async fn repositories(&self) -> Result<Vec<RepositoryName>, StorageError> {
        let entries = self.storage.list(layout::CATALOG).await?;
        let named = entries
            .iter()
            .filter_map(|entry| layout::catalogued(&entry.name));
        let mut names: Vec<_> = named.collect();
        names.sort_unstable();
        Ok(names)
    }
}
