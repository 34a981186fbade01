//! Mount targets that the image does not have: they are made before the command, and must not become
//! part of the image, but for `/dev`, `/proc` and `/sys`.
//!
//! Invariant: the layer says of a directory what the command left there, its time included, as if the
//! targets had never been made. They are made here rather than by the jail, so that the times from
//! before can be put back before the command sees them.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use berth_image::{ImageStore, Layer, Root};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use crate::error::StepError;
use crate::view::{View, Writable};

/// What an image that has no such directory gets by its first command, in Docker as well.
const STAYING: [&str; 3] = ["dev", "proc", "sys"];

/// Something that is mounted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) path: String,
    pub(super) is_directory: bool,
}

/// What has to be undone after the command, deepest paths first.
#[derive(Debug)]
pub(super) struct Stubs {
    /// Paths that were missing before the command.
    missing: Vec<String>,
    /// Directories of the image that get a copy in the writable layer when something is created in
    /// them, as they were.
    parents: Vec<(String, Before)>,
}

/// A directory before the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Before {
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
}

impl Before {
    fn of(stat: &Stat) -> Self {
        Self {
            mode: stat.st_mode,
            owner: (stat.st_uid, stat.st_gid),
            modified: modified(stat),
        }
    }
}

fn modified(stat: &Stat) -> (i64, i64) {
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
    (stat.st_mtime, nanoseconds)
}

impl Stubs {
    /// Makes those of the targets that the image does not have.
    pub(super) fn make(
        store: &ImageStore,
        layers: &[Layer],
        writable: &Writable,
        targets: &[Target],
    ) -> Result<Self, StepError> {
        let stubs = {
            let view = View::new(store, layers)?;
            Self::find(&view.root, targets)?
        };
        if !stubs.missing.is_empty() {
            let mut root = writable.mount_before(store, layers)?;
            stubs.create(&mut root, targets)?;
        }
        Ok(stubs)
    }

    /// Looks which of the targets, and of the directories they are in, the image does not have.
    fn find(root: &Root, targets: &[Target]) -> Result<Self, StepError> {
        let mut missing = Vec::new();
        let mut parents = Vec::new();
        for target in targets {
            let target = target.path.trim_matches('/');
            let ends = target
                .match_indices('/')
                .map(|(at, _)| at)
                .chain([target.len()]);
            for end in ends {
                let path = &target[..end];
                if root.open_any(path.as_bytes(), OFlags::PATH)?.is_none() {
                    missing.push(path.to_owned());
                } else if let Some(directory) = root.open_exact(path.as_bytes())? {
                    let stat = rustix::fs::fstat(&directory).map_err(io::Error::from)?;
                    parents.push((path.to_owned(), Before::of(&stat)));
                }
            }
        }
        deepest_first(&mut missing, |path| path);
        deepest_first(&mut parents, |(path, _)| path);
        Ok(Self { missing, parents })
    }

    fn create(&self, root: &mut Root, targets: &[Target]) -> io::Result<()> {
        for target in targets {
            let path = target.path.trim_matches('/');
            if !self.missing.iter().any(|missing| missing == path) {
                continue;
            }
            if target.is_directory {
                root.parent(path.as_bytes())?;
                continue;
            }
            let (parent, base) = split(path);
            let parent = root.parent(parent.as_bytes())?;
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(parent, base, flags, Mode::from_raw_mode(0o644))?;
        }
        for (path, before) in &self.parents {
            if let Some(directory) = root.open_exact(path.as_bytes())? {
                set_modified(&directory, before.modified)?;
            }
        }
        Ok(())
    }

    /// Removes those that are still empty, and copies of directories in which nothing changed. What
    /// the command did stays.
    pub(super) fn remove(&self, upper: &Path) -> io::Result<()> {
        let root = Root::open(upper)?;
        // What the command left, before anything is removed.
        let mut left = Vec::new();
        for (path, before) in &self.parents {
            if let Some(directory) = root.open_exact(path.as_bytes())? {
                let after = Before::of(&rustix::fs::fstat(&directory)?);
                let unchanged = after == *before && !has_own_xattrs(&directory)?;
                left.push((path, directory, after.modified, unchanged));
            }
        }
        for path in &self.missing {
            if STAYING.contains(&path.as_str()) {
                continue;
            }
            let (parent, base) = split(path);
            // No link is followed: the command may have put some in the way.
            if let Some(parent) = root.open_exact(parent.as_bytes())? {
                remove_if_empty(&parent, base)?;
            }
        }
        for (path, directory, modified, unchanged) in left {
            let (parent, base) = split(path);
            set_modified(&directory, modified)?;
            if unchanged && let Some(parent) = root.open_exact(parent.as_bytes())? {
                remove_if_empty(&parent, base)?;
            }
        }
        Ok(())
    }
}

fn set_modified(directory: &OwnedFd, modified: (i64, i64)) -> io::Result<()> {
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: modified.0,
            tv_nsec: modified.1,
        },
    };
    Ok(rustix::fs::futimens(directory, &times)?)
}

fn deepest_first<T: PartialEq>(list: &mut Vec<T>, path: impl Fn(&T) -> &String) {
    list.sort_by(|a, b| {
        path(b)
            .matches('/')
            .count()
            .cmp(&path(a).matches('/').count())
            .then_with(|| path(a).cmp(path(b)))
    });
    list.dedup();
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Whether a directory of the writable layer says more than where it was copied from: that it hides
/// the image's one, or attributes that the command gave it.
fn has_own_xattrs(directory: &OwnedFd) -> io::Result<bool> {
    let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let mut names = xattr::list_deref(path)?;
    Ok(names.any(|name| {
        !matches!(
            name.as_encoded_bytes(),
            b"trusted.overlay.origin" | b"trusted.overlay.impure" | b"trusted.overlay.uuid"
        )
    }))
}

fn remove_if_empty(parent: &OwnedFd, base: &str) -> io::Result<()> {
    let stat = match rustix::fs::statat(parent, base, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let result = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => rustix::fs::unlinkat(parent, base, AtFlags::REMOVEDIR),
        FileType::RegularFile if stat.st_size == 0 => {
            rustix::fs::unlinkat(parent, base, AtFlags::empty())
        }
        _ => Ok(()),
    };
    match result {
        Ok(()) | Err(Errno::NOTEMPTY) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
