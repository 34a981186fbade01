//! What pushes and collectors tell each other, as records that end by their date.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::auth::now;
use crate::digest::Digest;
use crate::error::{ApiError, Code};
use crate::layout;
use crate::registry::Inner;
use crate::storage::{Keep, StorageError};

/// An intent of a process that died protects for this long, in seconds.
const INTENT_SECONDS: u64 = 600;
/// A push must be done with its checks after this time, or begin again.
const INTENT_VALID: Duration = Duration::from_secs(300);
/// A pending removal of a process that died holds pushes up for at most this long, in seconds.
const PENDING_SECONDS: u64 = 300;
/// A collector must be done with a batch after this time, or leave the rest.
const PENDING_VALID: Duration = Duration::from_secs(150);
/// A push waits this long for a collector that is about to remove what it needs.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// One record of either kind.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// In seconds since 1970.
    expires: u64,
    digests: BTreeSet<String>,
}

impl Record {
    async fn write(
        registry: &Inner,
        kind: &str,
        seconds: u64,
        digests: BTreeSet<String>,
    ) -> Result<String, StorageError> {
        let key = format!("{kind}/{}", uuid::Uuid::new_v4().simple());
        let record = Self {
            expires: now().saturating_add(seconds),
            digests,
        };
        // Plain strings and numbers can always be written.
        let value = serde_json::to_vec(&record).unwrap_or_default();
        // It matters for as long as processes live: it need not outlive the machine's power.
        registry
            .storage
            .put(&key, Bytes::from(value), Keep::Volatile)
            .await?;
        Ok(key)
    }

    /// All digests of records that have not expired; those that have are removed.
    async fn read(registry: &Inner, kind: &str) -> Result<BTreeSet<String>, StorageError> {
        let mut digests = BTreeSet::new();
        for entry in registry.storage.list(kind).await? {
            let key = format!("{kind}/{}", entry.name);
            let Some(value) = registry.storage.get(&key).await? else {
                continue;
            };
            match serde_json::from_slice::<Self>(&value) {
                Ok(record) if record.expires > now() => digests.extend(record.digests),
                _ => drop(registry.storage.delete(&key).await?),
            }
        }
        Ok(digests)
    }

    async fn remove(registry: &Inner, key: &str) {
        if let Err(error) = registry.storage.delete(key).await {
            // It ends by its date.
            tracing::warn!(error = berth_error::chain(&error), "removing a record");
        }
    }
}

/// What a manifest needs, told before it is looked for.
pub(crate) struct Intent {
    key: String,
    digests: BTreeSet<String>,
    began: Instant,
}

impl Intent {
    /// Tells it, and waits until no collector is about to remove any of it.
    pub(crate) async fn write(
        registry: &Inner,
        needed: impl Iterator<Item = Digest>,
    ) -> Result<Self, ApiError> {
        let began = Instant::now();
        let digests: BTreeSet<_> = needed.map(|digest| digest.to_string()).collect();
        let key = Record::write(registry, layout::INTENTS, INTENT_SECONDS, digests.clone()).await?;
        let intent = Self {
            key,
            digests,
            began,
        };
        match intent.wait(registry).await {
            Ok(()) => Ok(intent),
            Err(error) => {
                intent.end(registry).await;
                Err(error)
            }
        }
    }

    async fn wait(&self, registry: &Inner) -> Result<(), ApiError> {
        loop {
            let pending = Record::read(registry, layout::PENDING).await?;
            if pending.is_disjoint(&self.digests) {
                return Ok(());
            }
            if self.began.elapsed() > PATIENCE {
                return Err(late());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether it still protects; otherwise nothing may be written that relies on it.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        match self.began.elapsed() < INTENT_VALID {
            true => Ok(()),
            false => Err(late()),
        }
    }

    /// Takes it back.
    pub(crate) async fn end(self, registry: &Inner) {
        Record::remove(registry, &self.key).await;
    }
}

fn late() -> ApiError {
    ApiError::new(
        StatusCode::TOO_MANY_REQUESTS,
        Code::TooManyRequests,
        "garbage is being collected; push the manifest again",
    )
}

/// All that pushes are about to need.
pub(super) async fn intended(registry: &Inner) -> Result<BTreeSet<String>, StorageError> {
    Record::read(registry, layout::INTENTS).await
}

/// What a collector is about to remove.
pub(super) struct Pending {
    key: String,
    began: Instant,
}

impl Pending {
    pub(super) async fn write(
        registry: &Inner,
        digests: impl Iterator<Item = &Digest>,
    ) -> Result<Self, StorageError> {
        let digests = digests.map(ToString::to_string).collect();
        let began = Instant::now();
        let key = Record::write(registry, layout::PENDING, PENDING_SECONDS, digests).await?;
        crate::crash::crash_point("registry.gc.pending");
        Ok(Self { key, began })
    }

    /// Whether it still holds pushes up; otherwise nothing may be removed any more.
    pub(super) fn is_valid(&self) -> bool {
        self.began.elapsed() < PENDING_VALID
    }

    pub(super) async fn end(self, registry: &Inner) {
        Record::remove(registry, &self.key).await;
    }
}

/// Removes what dead collectors left: only while no other collector is at work.
pub(crate) async fn forget_pending(registry: &Inner) -> Result<(), StorageError> {
    for entry in registry.storage.list(layout::PENDING).await? {
        let key = format!("{}/{}", layout::PENDING, entry.name);
        registry.storage.delete(&key).await?;
    }
    Ok(())
}
