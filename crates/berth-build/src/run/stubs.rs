//! Mount targets that the image did not have: the jail creates them in the writable layer, and they
//! must not become part of the image.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use berth_image::{ImageStore, Layer, Root};
use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;

use crate::error::StepError;
use crate::view::View;

/// Paths that were missing before the command, deepest first.
#[derive(Debug)]
pub(super) struct Stubs {
    missing: Vec<String>,
}

impl Stubs {
    /// Which of the targets, and of the directories they are in, the image does not have.
    pub(super) fn find(
        store: &ImageStore,
        layers: &[Layer],
        targets: Vec<String>,
    ) -> Result<Self, StepError> {
        let view = View::new(store, layers)?;
        let mut missing = Vec::new();
        for target in &targets {
            let target = target.trim_matches('/');
            let ends = target.match_indices('/').map(|(at, _)| at).chain([target.len()]);
            for end in ends {
                let path = &target[..end];
                if view.root.open_any(path.as_bytes(), OFlags::PATH)?.is_none() {
                    missing.push(path.to_owned());
                }
            }
        }
        missing.sort_unstable_by_key(|path| std::cmp::Reverse(path.matches('/').count()));
        missing.dedup();
        Ok(Self { missing })
    }

    /// Removes those that are still empty. What the command put there stays.
    pub(super) fn remove(&self, upper: &Path) -> io::Result<()> {
        let root = Root::open(upper)?;
        for path in &self.missing {
            let (parent, base) = path.rsplit_once('/').unwrap_or(("", path));
            // No link is followed: the command may have put some in the way.
            if let Some(parent) = root.open_exact(parent.as_bytes())? {
                remove_if_empty(&parent, base)?;
            }
        }
        Ok(())
    }
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
