//! Notices changed files.
//!
//! Directories are watched rather than files, because editors replace a file by renaming another
//! one over it. A burst of changes is reported once, when it has been quiet for a moment.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_error::{Report, ResultExt as _};
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long it must be quiet after a change: editors write in several steps.
const QUIET: Duration = Duration::from_millis(50);

/// Watches a set of files.
pub(crate) struct FileWatcher {
    watcher: notify::RecommendedWatcher,
    changes: mpsc::UnboundedReceiver<PathBuf>,
    files: BTreeSet<PathBuf>,
    /// Directories in which everything counts.
    trees: BTreeSet<PathBuf>,
    /// What the kernel watches for us.
    watched: BTreeSet<(PathBuf, bool)>,
    /// Changes of a burst that goes on, and when it counts as over.
    pending: BTreeSet<PathBuf>,
    quiet_at: Option<Instant>,
}

impl FileWatcher {
    /// A watcher of nothing yet.
    pub(crate) fn new() -> Result<Self, Report> {
        let (sender, changes) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            if event.kind.is_access() {
                return;
            }
            for path in event.paths {
                // Nobody listens any more while the session ends.
                let _ = sender.send(path);
            }
        })
        .context("could not watch files for changes")?;
        Ok(Self {
            watcher,
            changes,
            files: BTreeSet::new(),
            trees: BTreeSet::new(),
            watched: BTreeSet::new(),
            pending: BTreeSet::new(),
            quiet_at: None,
        })
    }

    /// Replaces what is watched: files, also ones that do not exist yet, and directories with all
    /// that is in them.
    pub(crate) fn watch(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        (self.trees, self.files) = paths.into_iter().partition(|path| path.is_dir());
        let parents = self.files.iter().filter_map(|file| file.parent());
        let wanted: BTreeSet<(PathBuf, bool)> = parents
            .filter(|directory| directory.is_dir())
            .map(|directory| (directory.to_owned(), false))
            .chain(self.trees.iter().map(|tree| (tree.clone(), true)))
            .collect();
        for (directory, _) in self.watched.difference(&wanted) {
            // It may be gone from the disk, and with it the watch.
            let _ = self.watcher.unwatch(directory);
        }
        for (directory, recursive) in wanted.difference(&self.watched) {
            let mode = if *recursive {
                RecursiveMode::Recursive
            } else {
                RecursiveMode::NonRecursive
            };
            if let Err(error) = self.watcher.watch(directory, mode) {
                tracing::warn!(directory = %directory.display(), %error, "changes are not noticed");
            }
        }
        self.watched = wanted;
    }

    fn counts(&self, path: &Path) -> bool {
        self.files.contains(path)
            || path
                .ancestors()
                .any(|ancestor| self.trees.contains(ancestor))
    }

    /// Waits until watched files have changed and it is quiet again; says which.
    ///
    /// Cancel safe: what was seen, and since when, is kept for the next call.
    pub(crate) async fn changed(&mut self) -> BTreeSet<PathBuf> {
        loop {
            let path = match self.quiet_at {
                None => self.changes.recv().await,
                Some(quiet_at) => {
                    match tokio::time::timeout_at(quiet_at, self.changes.recv()).await {
                        Ok(path) => path,
                        Err(_) => {
                            self.quiet_at = None;
                            return std::mem::take(&mut self.pending);
                        }
                    }
                }
            };
            match path {
                Some(path) if self.counts(&path) => {
                    self.pending.insert(path);
                    self.quiet_at = Some(Instant::now() + QUIET);
                }
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_replaced_file_is_noticed_and_others_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let file = root.join("a.ts");
        fs_err::write(&file, "1").unwrap();
        let mut watcher = FileWatcher::new().unwrap();
        watcher.watch([file.clone()]);
        fs_err::write(root.join("b.ts"), "1").unwrap();
        fs_err::write(root.join("new"), "2").unwrap();
        fs_err::rename(root.join("new"), &file).unwrap();
        let changed = tokio::time::timeout(Duration::from_secs(10), watcher.changed()).await;
        assert_eq!(changed.unwrap(), BTreeSet::from([file]));
    }

    #[tokio::test]
    async fn everything_in_a_watched_directory_counts() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs_err::create_dir(root.join("inner")).unwrap();
        let mut watcher = FileWatcher::new().unwrap();
        watcher.watch([root.clone()]);
        let file = root.join("inner/a.ts");
        fs_err::write(&file, "1").unwrap();
        let changed = tokio::time::timeout(Duration::from_secs(10), watcher.changed()).await;
        assert!(changed.unwrap().contains(&file));
    }
}
