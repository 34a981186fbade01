//! Collecting garbage while pushes run, by any number of processes over one storage.
//!
//! Garbage is: uploads nobody continued; manifests whose last tag was deleted (and, if wanted, those
//! untagged for long); links to blobs that no manifest of the repository needs; blobs without links.
//! Links and blobs have a grace by age, because a push uploads them before its manifest; a client
//! that is told that it need not upload a blob makes the link young again.
//!
//! Age alone is not enough, so pushes and collectors tell each other what they are about to do:
//!
//! - A push writes its **intent** (all that the manifest needs), then looks for pending removals of it,
//!   then whether it is there, then writes the manifest, then removes the intent.
//! - A collector writes what is **pending** removal, then reads intents and manifests again, then
//!   removes what nobody needs, then removes the pending record.
//!
//! Whichever writes second sees the other: the collector leaves the blob alone, or the push waits and
//! then finds the blob kept or gone, and in the latter case is refused. Both records end by their date
//! if their process dies.

mod intent;
mod mark;
mod sweep;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::registry::{Inner, Registry};
use crate::storage::StorageError;
use mark::Marks;

pub(crate) use intent::{Intent, forget_pending};

/// When what is garbage.
#[derive(Clone, Debug)]
pub struct CollectOptions {
    /// Blobs and links younger than this are never garbage. Longer than any push takes.
    pub grace: Duration,
    /// An upload ends if nobody has added to it for this long.
    pub upload_expiry: Duration,
    /// Manifests that have no tag for this long are garbage; `None` keeps those whose tag was not
    /// deleted, because somebody may name them by digest.
    pub untagged_after: Option<Duration>,
    /// Time between collections; `None` collects only when asked.
    pub interval: Option<Duration>,
}

impl Default for CollectOptions {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(24 * 3600),
            upload_expiry: Duration::from_secs(7 * 24 * 3600),
            untagged_after: None,
            interval: Some(Duration::from_secs(3600)),
        }
    }
}

/// What a collection removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Manifests.
    pub manifests: u64,
    /// Blobs that a repository had.
    pub links: u64,
    /// Blobs.
    pub blobs: u64,
    /// Uploads.
    pub uploads: u64,
    /// Bytes of blobs and uploads.
    pub bytes: u64,
    /// Another process was collecting, so this one did nothing.
    pub busy: bool,
}

impl Registry {
    /// Collects garbage once.
    pub async fn collect(&self) -> Result<Collected, StorageError> {
        let registry = self.inner.clone();
        // Like every change it runs to its end although nobody waits for it any more.
        let job = tokio::spawn(async move { collect(&registry).await });
        job.await.unwrap_or_else(|error| {
            Err(StorageError {
                action: "collect",
                key: String::new(),
                source: std::io::Error::other(error),
            })
        })
    }

    /// Collects garbage from time to time, for as long as it is polled.
    pub async fn keep_collecting(&self) {
        let Some(interval) = self.inner.options.collect.interval else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(interval).await;
            match self.collect().await {
                Ok(collected) => tracing::info!(?collected, "collected garbage"),
                Err(error) => {
                    let error = berth_error::chain(&error);
                    tracing::error!(error, "collecting garbage failed");
                }
            }
        }
    }
}

async fn collect(registry: &Inner) -> Result<Collected, StorageError> {
    let _one = registry.collecting.lock().await;
    let Some(_lock) = registry.storage.lock_collector().await? else {
        return Ok(Collected {
            busy: true,
            ..Collected::default()
        });
    };
    let mut collected = Collected::default();
    sweep::uploads(registry, &mut collected).await?;
    let mut marks = Marks::default();
    marks.read(registry).await?;
    while sweep::manifests(registry, &mut marks, &mut collected).await? {
        marks.read(registry).await?;
    }
    sweep::links(registry, &mut marks, &mut collected).await?;
    sweep::blobs(registry, &mut marks, &mut collected).await?;
    crate::crash::crash_point("registry.gc.done");
    registry.count().await?;
    Ok(collected)
}
