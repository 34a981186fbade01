//! Objects of a Durable Object class that has been transferred: from the directory of the Worker whose it was to
//! that of the one whose it is.
//!
//! Invariants: nobody has the objects open while they move; they are in one of the two directories at any time,
//! and the record says so only when they have arrived. Moving again what has arrived changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_control::worker::Worker;
use berth_error::{Report, ResultExt as _};
use tokio::sync::watch;

use super::app::App;

/// Longest wait for the former Worker to be replaced by one without the class: its requests have their time.
const RELEASE: Duration = Duration::from_secs(60);

/// Keys of the classes whose objects the workerd of a Worker may have open.
pub(super) type Held = BTreeSet<String>;

/// The objects of one class, on their way.
#[derive(Clone, Debug)]
pub(super) struct Move {
    pub(super) key: String,
    /// In the directory of the Worker whose they were.
    from: PathBuf,
    /// What that one has open; `None`: it does not run.
    held: Option<watch::Receiver<Held>>,
}

/// Those that a Worker waits for. `apps`: the directory of all Workers' directories.
pub(super) fn of(worker: &Worker, apps: &Path, running: &BTreeMap<String, App>) -> Vec<Move> {
    let classes = worker.classes.values();
    let moving = classes.filter_map(|class| {
        let id = class.kept_by.as_ref()?;
        Some(Move {
            key: class.key.clone(),
            from: objects(&apps.join(id)).join(&class.key),
            held: running.get(id).map(|app| app.held.clone()),
        })
    });
    moving.collect()
}

/// Where a Worker's objects are, in its directory: `state/do`, a directory for each class.
fn objects(app: &Path) -> PathBuf {
    app.join("state/do")
}

impl Move {
    /// Waits until nobody has the objects open, and moves them into the directory of a Worker.
    ///
    /// # Errors
    /// The former Worker is not replaced; the disk.
    pub(super) async fn make(&self, app: &Path) -> Result<(), Report> {
        if let Some(held) = &self.held {
            let mut held = held.clone();
            let released = held.wait_for(|keys| !keys.contains(&self.key));
            if tokio::time::timeout(RELEASE, released).await.is_err() {
                return Err(Report::new(
                    "the Worker that a Durable Object class is transferred from still runs with it",
                    Some(
                        "`berth status` says why it was not replaced; deploy again afterwards"
                            .to_owned(),
                    ),
                ));
            }
        }
        let (from, to) = (self.from.clone(), objects(app).join(&self.key));
        let moved = tokio::task::spawn_blocking(move || rename(&from, &to)).await;
        let moved = moved.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        moved.context("could not move the objects of a Durable Object class")
    }
}

/// Moves a directory, if it is there, and waits until it will be there after a power cut.
fn rename(from: &Path, to: &Path) -> std::io::Result<()> {
    let (Some(former), Some(next)) = (from.parent(), to.parent()) else {
        return Ok(());
    };
    if !from.exists() {
        // It has arrived, or no object was ever made.
        return Ok(());
    }
    fs_err::create_dir_all(next)?;
    fs_err::rename(from, to)?;
    for directory in [Some(next), Some(former), next.parent()]
        .into_iter()
        .flatten()
    {
        fs_err::File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_arrived_is_not_moved_again() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (
            directory.path().join("a/state/do/k"),
            directory.path().join("b/state/do/k"),
        );
        rename(&from, &to).unwrap();
        assert!(!to.exists(), "there was nothing");
        fs_err::create_dir_all(&from).unwrap();
        fs_err::write(from.join("o.sqlite"), "kept").unwrap();
        rename(&from, &to).unwrap();
        rename(&from, &to).unwrap();
        assert_eq!(fs_err::read(to.join("o.sqlite")).unwrap(), b"kept");
        assert!(!from.exists());
    }
}
