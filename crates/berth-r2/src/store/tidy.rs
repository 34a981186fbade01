//! Bytes that nobody needs: after a deletion, after a dead process, after an upload that was given up; and what the
//! rules of buckets say is due.

use std::sync::PoisonError;
use std::time::Duration;

use super::{R2, now};
use crate::R2Error;

/// An upload that is not complete after this is given up, as R2 does by default.
const UPLOADS_LAST: Duration = Duration::from_secs(7 * 24 * 3600);
/// Between two looks for such uploads.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

impl R2 {
    /// Has blobs deleted that the index does not name.
    pub(super) fn doom(&self, names: impl IntoIterator<Item = String>) {
        for name in names {
            self.inner.leases.doom(name);
        }
        self.begin_deleting();
    }

    /// The task that deletes begins with the first that is to go, and ends with the store.
    fn begin_deleting(&self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let freed = &self.inner.freed;
        let taken = freed.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut freed) = taken {
            let blobs = self.inner.blobs.clone();
            runtime.spawn(async move {
                while let Some(name) = freed.recv().await {
                    if let Err(error) = blobs.delete(&name).await {
                        let error = berth_error::chain(&error);
                        tracing::warn!(error, name, "a blob stays until the next start");
                    }
                }
            });
        }
    }

    /// Deletes what processes before this one left behind. While others read and write.
    ///
    /// # Errors
    /// Storage.
    pub async fn sweep(&self) -> Result<usize, R2Error> {
        let names = self.inner.blobs.sweep().await?;
        let of_store = format!("{}-", self.inner.index.id);
        let run = self.inner.run.clone();
        let former = move |name: &String| name.starts_with(&of_store) && !name.starts_with(&run);
        let names: Vec<String> = names.into_iter().filter(former).collect();
        let unknown = self
            .index(move |inner| Ok(inner.index.unknown(names)?))
            .await?;
        let count = unknown.len();
        for name in unknown {
            self.inner.blobs.delete(&name).await?;
        }
        Ok(count)
    }

    /// Gives up uploads that were begun before this time, in milliseconds since 1970.
    ///
    /// # Errors
    /// Storage.
    pub async fn expire_uploads(&self, before: u64) -> Result<(), R2Error> {
        let free = self
            .index(move |inner| inner.index.expire_uploads(before))
            .await?;
        self.doom(free);
        Ok(())
    }

    /// Keeps the store tidy as long as it is polled.
    pub async fn keep_tidy(&self) {
        self.begin_deleting();
        let said = |error: &R2Error| {
            let error = berth_error::chain(error);
            tracing::warn!(error, "buckets could not be tidied");
        };
        if let Err(error) = self.sweep().await {
            said(&error);
        }
        loop {
            let lasts = u64::try_from(UPLOADS_LAST.as_millis()).unwrap_or(u64::MAX);
            if let Err(error) = self.expire_uploads(now().saturating_sub(lasts)).await {
                said(&error);
            }
            if let Err(error) = self.obey_rules().await {
                said(&error);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.inner.ruled.notified() => {}
            }
        }
    }
}
