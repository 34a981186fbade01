//! Copies of directories that are of one instant.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use berth_error::{Report, ResultExt as _};

/// A file that was changed so shortly before it was copied may have been changed again within the same
/// tick of the file system's clock.
const TICK: Duration = Duration::from_secs(2);
/// Made anew by whoever needs them: locks, SQLite's shared memory, half-written files, configurations.
const LEFT_OUT: [&str; 2] = ["lock", "generated"];

/// Where copies are made. All calls block.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    root: PathBuf,
}

/// Size and time of every file when it was copied; `None`: it may have changed since.
pub(super) type Seen = BTreeMap<PathBuf, Option<(u64, i64, i64)>>;

impl Stage {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Gives up what was copied.
    pub(super) fn clear(&self) -> Result<(), Report> {
        match fs_err::remove_dir_all(&self.root) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Report::from_error(&error))
            }
            _ => Ok(()),
        }
    }

    /// A directory whose files are written once and then replaced or removed, and databases that name
    /// them: files are linked before and after the databases are read. Members in `skipped` are not
    /// wanted.
    pub(super) fn linked(&self, from: &Path, skipped: &[&str]) -> Result<PathBuf, Report> {
        self.clear()?;
        make(&self.root)?;
        let mut databases = Vec::new();
        link(from, &self.root, skipped, &mut databases)?;
        for (database, to) in &databases {
            berth_control::snapshot(database, to)
                .map_err(Report::from)
                .map_err(|report| {
                    report.context(format!("could not back up `{}`", database.display()))
                })?;
        }
        link(from, &self.root, skipped, &mut Vec::new())?;
        Ok(self.root.clone())
    }

    /// A first copy of a directory in which somebody writes.
    pub(super) fn copied(&self, from: &Path) -> Result<Seen, Report> {
        self.clear()?;
        let mut seen = Seen::new();
        copy(from, &self.root, Path::new(""), &mut seen, &Seen::new())?;
        Ok(seen)
    }

    /// The copy as the directory is now; only what is not as it was seen is copied again.
    pub(super) fn brought_up_to_date(&self, from: &Path, seen: &Seen) -> Result<PathBuf, Report> {
        let mut now = Seen::new();
        copy(from, &self.root, Path::new(""), &mut now, seen)?;
        for gone in seen.keys().filter(|path| !now.contains_key(*path)) {
            match fs_err::remove_file(self.root.join(gone)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Report::from_error(&error));
                }
                _ => {}
            }
        }
        Ok(self.root.clone())
    }
}

/// Names in a directory; none if it is not there.
pub(super) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn make(directory: &Path) -> Result<(), Report> {
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(directory);
    made.context(format!("could not make `{}`", directory.display()))
}

fn is_left_out(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    LEFT_OUT.contains(&name.as_ref()) || name.ends_with("-shm") || name.starts_with(".new-")
}

fn link(
    from: &Path,
    to: &Path,
    skipped: &[&str],
    databases: &mut Vec<(PathBuf, PathBuf)>,
) -> Result<(), Report> {
    let Some(entries) = entries(from)? else {
        return Ok(());
    };
    make(to)?;
    for (name, path) in entries {
        if is_left_out(&name) || skipped.iter().any(|skipped| name == *skipped) {
            continue;
        }
        let Some(metadata) = metadata(&path)? else {
            continue;
        };
        let target = to.join(&name);
        if metadata.is_dir() {
            link(&path, &target, &[], databases)?;
        } else if is_wal(&path) || target.exists() {
            // A database's log is in its snapshot.
        } else if is_database(&path) {
            databases.push((path, target));
        } else if metadata.is_file() {
            link_file(&path, &target)?;
        }
    }
    Ok(())
}

fn link_file(path: &Path, target: &Path) -> Result<(), Report> {
    let linked = match fs_err::hard_link(path, target) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            fs_err::copy(path, target).map(|_| ())
        }
        other => other,
    };
    match linked {
        // It has been removed meanwhile, and is named by nothing that is read later.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.context("could not back up a file"),
    }
}

/// SQLite's, by its first bytes.
fn is_database(path: &Path) -> bool {
    use std::io::Read as _;
    let mut head = [0; 16];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && &head == b"SQLite format 3\0"
}

fn is_wal(path: &Path) -> bool {
    let text = path.as_os_str().to_string_lossy();
    let of = text
        .strip_suffix("-wal")
        .or_else(|| text.strip_suffix("-journal"));
    of.is_some_and(|database| Path::new(database).exists())
}

fn copy(
    from: &Path,
    to: &Path,
    within: &Path,
    seen: &mut Seen,
    before: &Seen,
) -> Result<(), Report> {
    let Some(entries) = entries(&from.join(within))? else {
        return Ok(());
    };
    make(&to.join(within))?;
    for (name, path) in entries {
        let within = within.join(&name);
        let Some(metadata) = metadata(&path)?.filter(|_| !is_left_out(&name)) else {
            continue;
        };
        if metadata.is_dir() {
            copy(from, to, &within, seen, before)?;
            continue;
        }
        if metadata.file_type().is_socket() || metadata.file_type().is_fifo() {
            continue;
        }
        let state = (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        let is_settled = metadata
            .modified()
            .is_ok_and(|modified| modified + TICK < SystemTime::now());
        if before.get(&within) != Some(&Some(state)) {
            copy_file(&path, &to.join(&within), &metadata)?;
        }
        seen.insert(within, is_settled.then_some(state));
    }
    Ok(())
}

fn copy_file(path: &Path, target: &Path, metadata: &std::fs::Metadata) -> Result<(), Report> {
    let copied = if metadata.is_symlink() {
        let _ = fs_err::remove_file(target);
        fs_err::read_link(path).and_then(|to| fs_err::os::unix::fs::symlink(to, target))
    } else {
        fs_err::copy(path, target).map(|_| ())
    };
    match copied {
        // The next look finds that it is gone.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.context("could not back up a file"),
    }
}

/// What is in a directory, by name; `None` if it is gone.
fn entries(directory: &Path) -> Result<Option<BTreeMap<std::ffi::OsString, PathBuf>>, Report> {
    let listed = match fs_err::read_dir(directory) {
        Ok(listed) => listed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Report::from_error(&error)),
    };
    let mut entries = BTreeMap::new();
    for entry in listed {
        let entry = entry.context("could not read a directory")?;
        entries.insert(entry.file_name(), entry.path());
    }
    Ok(Some(entries))
}

fn metadata(path: &Path) -> Result<Option<std::fs::Metadata>, Report> {
    match fs_err::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Report::from_error(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    #[test]
    fn a_copy_is_brought_up_to_date() {
        let world = tempfile::tempdir().unwrap();
        let from = world.path().join("from");
        write(&from.join("a/one"), "1");
        write(&from.join("a/two"), "2");
        write(&from.join("db-shm"), "memory");
        let stage = Stage::new(world.path().join("stage"));
        let seen = stage.copied(&from).unwrap();
        assert_eq!(seen.len(), 2);
        write(&from.join("a/one"), "changed");
        write(&from.join("b/three"), "3");
        fs_err::remove_file(from.join("a/two")).unwrap();
        let copy = stage.brought_up_to_date(&from, &seen).unwrap();
        let read = |name: &str| fs_err::read_to_string(copy.join(name)).ok();
        assert_eq!(read("a/one").as_deref(), Some("changed"));
        assert_eq!(read("b/three").as_deref(), Some("3"));
        assert_eq!((read("a/two"), read("db-shm")), (None, None));
        stage.clear().unwrap();
        assert!(!copy.exists());
    }

    #[test]
    fn files_are_linked_and_what_is_skipped_is_not() {
        let world = tempfile::tempdir().unwrap();
        let from = world.path().join("from");
        write(&from.join("modules/abc"), "code");
        write(&from.join("modules/.new-1"), "half");
        write(&from.join("apps/x/state"), "changing");
        write(&from.join("lock"), "");
        let stage = Stage::new(world.path().join("stage"));
        let linked = stage.linked(&from, &["apps"]).unwrap();
        let inode = |path: PathBuf| fs_err::metadata(path).unwrap().ino();
        assert_eq!(
            inode(linked.join("modules/abc")),
            inode(from.join("modules/abc"))
        );
        assert_eq!(names(&linked), ["modules"]);
        assert_eq!(names(&linked.join("modules")), ["abc"]);
        assert!(stage.linked(&world.path().join("nothing"), &[]).is_ok());
    }
}
