//! Snapshots end some time after their last use (Cloudflare: 30 days, which each restore begins anew).
//!
//! A directory's is a volume, whose use is noted when it is restored; a container's is an image, whose use the
//! store notes when something starts with it.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use berth_engine::{Engine, EngineError};

use crate::commit::SNAPSHOT;
use crate::volumes::{CLONES_PREFIX, WORKERDS_PREFIX};

/// Deletes the snapshots that nobody has used for so long, and returns their names. Blocks.
///
/// # Errors
/// The volumes or images cannot be listed. One that cannot be deleted is logged and stays.
pub fn expire_snapshots(engine: &Engine, unused_for: Duration) -> Result<Vec<String>, EngineError> {
    let mut gone = directories(engine, unused_for)?;
    gone.extend(containers(engine, unused_for)?);
    Ok(gone)
}

fn directories(engine: &Engine, unused_for: Duration) -> Result<Vec<String>, EngineError> {
    let volumes = engine.volumes();
    let mut gone = Vec::new();
    for volume in volumes.list()? {
        let name = volume.name;
        let is_snapshot = name.starts_with(WORKERDS_PREFIX) && !name.starts_with(CLONES_PREFIX);
        if !is_snapshot || !is_over(volumes.last_used(&name), unused_for) {
            continue;
        }
        match volumes.remove(&name) {
            Ok(()) => gone.push(name),
            // Somebody restores it at this moment, or has removed it.
            Err(EngineError::VolumeInUse(_) | EngineError::NoSuchVolume(_)) => {}
            Err(error) => {
                let error = berth_error::chain(&error);
                tracing::warn!(error, name, "a snapshot stays behind");
            }
        }
    }
    Ok(gone)
}

fn containers(engine: &Engine, unused_for: Duration) -> Result<Vec<String>, EngineError> {
    let store = engine.images();
    let failed = |source| EngineError::Image {
        reference: SNAPSHOT.to_owned(),
        source,
    };
    let running: HashSet<String> = engine.list().into_iter().map(|one| one.image_id).collect();
    let mut gone = Vec::new();
    for summary in store.list().map_err(failed)? {
        let snapshot = summary.name.rsplit('/').next().unwrap_or_default();
        if !snapshot.starts_with(SNAPSHOT) || running.contains(&summary.id.to_string()) {
            continue;
        }
        if is_over(store.last_used(&summary.id), unused_for)
            && store.remove(&summary.name).map_err(failed)?
        {
            gone.push(summary.name);
        }
    }
    if !gone.is_empty() {
        let policy = berth_image::Policy {
            unused_for: Some(unused_for),
            ..berth_image::Policy::default()
        };
        store.collect(&policy).map_err(failed)?;
    }
    Ok(gone)
}

/// What nobody knows of is kept.
fn is_over(last_used: Option<SystemTime>, unused_for: Duration) -> bool {
    let age = last_used.and_then(|at| SystemTime::now().duration_since(at).ok());
    age.is_some_and(|age| age >= unused_for)
}
