//! Records that lead nowhere go: once a day after a build, and when the cache is pruned.

use std::path::Path;
use std::time::{Duration, SystemTime};

use berth_image::ImageStore;
use fs_err as fs;

use super::{Former, Record};

/// How often a build looks.
const EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// What tells of no layer goes when it is this old: steps that changed nothing, contexts.
const OLD: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Its time is that of the last look.
const NOTE: &str = "swept";

/// Removes the builder's records of layers that are gone, and old ones of no layer. Records are hints:
/// what is removed wrongly costs a step. Returns how many went.
pub fn sweep_records(store: &ImageStore) -> usize {
    let directory = store.cache_dir().join("build");
    let mut removed = 0;
    for entry in entries(&directory.join("steps")) {
        let path = entry.path();
        let record = fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
        let useless = match record {
            Some(Record {
                layer: Some(layer), ..
            }) => !store.has_layer(&layer),
            Some(Record { layer: None, .. }) => is_older(&path, OLD),
            None => true,
        };
        removed += usize::from(useless && fs::remove_file(&path).is_ok());
    }
    for entry in entries(&directory.join("contexts")) {
        let path = entry.path();
        removed += usize::from(is_older(&path, OLD) && fs::remove_file(&path).is_ok());
    }
    for entry in entries(&directory.join("copies")) {
        let path = entry.path();
        let layer = Former::layer_of(&path);
        let useless = layer.is_none_or(|diff_id| !matches!(store.layer(&diff_id), Ok(Some(_))));
        removed += usize::from(useless && fs::remove_file(&path).is_ok());
    }
    if let Err(error) = fs::write(directory.join(NOTE), b"") {
        tracing::debug!(%error, "the sweep of the build cache is not noted");
    }
    removed
}

/// The same, if the last time is long ago.
pub(crate) fn sweep_sometimes(store: &ImageStore) {
    let note = store.cache_dir().join("build").join(NOTE);
    if !note.exists() || is_older(&note, EVERY) {
        sweep_records(store);
    }
}

fn entries(directory: &Path) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(directory).into_iter().flatten().flatten()
}

fn is_older(path: &Path, age: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| {
        SystemTime::now()
            .duration_since(modified)
            .is_ok_and(|since| since > age)
    })
}
