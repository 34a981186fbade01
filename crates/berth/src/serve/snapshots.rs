//! Deletes snapshots that nobody has used for long.

use std::time::Duration;

use berth_engine::Engine;

/// How long a snapshot is kept after its last use, as on Cloudflare.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often it is looked for those that are over.
const PERIOD: Duration = Duration::from_secs(3600);

/// Runs until it is aborted.
pub(super) async fn keep_expiring(engine: Engine) {
    let mut period = tokio::time::interval(PERIOD);
    loop {
        period.tick().await;
        let engine = engine.clone();
        let expired = move || berth_docker::expire_snapshots(&engine, KEPT);
        match tokio::task::spawn_blocking(expired).await {
            Ok(Ok(gone)) if gone.is_empty() => {}
            Ok(Ok(gone)) => tracing::info!(snapshots = gone.len(), "unused for 30 days, deleted"),
            Ok(Err(error)) => {
                let error = berth_error::chain(&error);
                tracing::warn!(error, "cannot look for old snapshots");
            }
            Err(_) => return,
        }
    }
}
