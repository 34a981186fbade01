//! Mount targets that the image did not have: the jail creates them in the writable layer, and they
//! must not become part of the image.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use berth_image::{ImageStore, Layer, Root};
use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use rustix::io::Errno;

use crate::error::StepError;
use crate::view::View;

/// What has to be undone after the command, deepest paths first.
#[derive(Debug)]
pub(super) struct Stubs {
    /// Paths that were missing before the command.
    missing: Vec<String>,
    /// Directories of the image that get a copy in the writable layer when something is created in
    /// them, with their mode and owner.
    parents: Vec<(String, Attributes)>,
}

type Attributes = (u32, u32, u32);

impl Stubs {
    /// Looks which of the targets, and of the directories they are in, the image does not have.
    pub(super) fn find(
        store: &ImageStore,
        layers: &[Layer],
        targets: Vec<String>,
    ) -> Result<Self, StepError> {
        let root = View::new(store, layers)?;
        let root = &root.root;
        let mut missing = Vec::new();
        let mut parents = Vec::new();
        for target in &targets {
            let target = target.trim_matches('/');
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
                    parents.push((path.to_owned(), attributes(&stat)));
                }
            }
        }
        deepest_first(&mut missing, |path| path);
        deepest_first(&mut parents, |(path, _)| path);
        Ok(Self { missing, parents })
    }

    /// Removes those that are still empty, and copies of directories in which nothing changed. What
    /// the command did stays.
    pub(super) fn remove(&self, upper: &Path) -> io::Result<()> {
        let root = Root::open(upper)?;
        for path in &self.missing {
            let (parent, base) = split(path);
            // No link is followed: the command may have put some in the way.
            if let Some(parent) = root.open_exact(parent.as_bytes())? {
                remove_if_empty(&parent, base)?;
            }
        }
        for (path, before) in &self.parents {
            let (parent, base) = split(path);
            let Some(directory) = root.open_exact(path.as_bytes())? else {
                continue;
            };
            let unchanged = attributes(&rustix::fs::fstat(&directory)?) == *before
                && !has_own_xattrs(&directory)?;
            if unchanged && let Some(parent) = root.open_exact(parent.as_bytes())? {
                remove_if_empty(&parent, base)?;
            }
        }
        Ok(())
    }
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

fn attributes(stat: &Stat) -> Attributes {
    (stat.st_mode, stat.st_uid, stat.st_gid)
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
