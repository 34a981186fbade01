//! Keeps the image store below a size while a long-running command runs.

use std::time::Duration;

use berth_image::{ImageStore, Policy};
use tokio::task::JoinHandle;

/// How often it is looked at.
const PERIOD: Duration = Duration::from_secs(10 * 60);

/// Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct StoreLimit(JoinHandle<()>);

impl StoreLimit {
    /// Looks at once, then again and again. What is in use stays, so the store may stay larger.
    pub(crate) fn keep(store: &ImageStore, max_bytes: u64) -> Self {
        let store = store.clone();
        Self(tokio::spawn(async move {
            let mut period = tokio::time::interval(PERIOD);
            loop {
                period.tick().await;
                let store = store.clone();
                let collect = move || {
                    store.collect(&Policy {
                        max_bytes: Some(max_bytes),
                        ..Policy::default()
                    })
                };
                match tokio::task::spawn_blocking(collect).await {
                    Ok(Ok(collected)) => tracing::info!(
                        images = collected.images.len(),
                        freed = collected.bytes,
                        left = collected.left,
                        "the store was cleaned up"
                    ),
                    Ok(Err(error)) => tracing::warn!(%error, "the store was not cleaned up"),
                    Err(_) => return,
                }
            }
        }))
    }
}

impl Drop for StoreLimit {
    fn drop(&mut self) {
        self.0.abort();
    }
}
