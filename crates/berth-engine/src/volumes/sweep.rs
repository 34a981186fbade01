//! Volumes that nobody will finish or use any more: left half-way, or a session's that has ended.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;

use super::{DATA, DEAD, OWNER, UNFINISHED, Volumes, file_error};
use crate::EngineError;

/// What has been unfinished for this long was left by a daemon that died making it.
const UNFINISHED_FOR: Duration = Duration::from_secs(60);

impl Volumes {
    /// Removes what ends with this session.
    pub(crate) fn end_session(&self) -> Result<(), EngineError> {
        for name in self.entries()? {
            if owner(&self.root.join(&name)).is_some_and(|session| session == self.session) {
                report(self.remove(&name));
            }
        }
        Ok(())
    }

    /// Deletes what daemons left that died half-way, and what belonged to their sessions.
    pub(super) fn sweep(&self) -> Result<(), EngineError> {
        for name in self.entries()? {
            let path = self.root.join(&name);
            let swept = if name.starts_with(DEAD) || self.is_abandoned(&name, &path) {
                delete(&path)
            } else if is_orphan(&path) {
                self.remove(&name)
            } else {
                continue;
            };
            report(swept);
        }
        Ok(())
    }

    /// Whether nobody will finish making it: its maker has a lock before it puts anything there.
    fn is_abandoned(&self, name: &str, path: &Path) -> bool {
        let unlocked = || {
            let lock = self.lock(path, FlockOperation::NonBlockingLockExclusive);
            path.join(DATA).exists() && lock.is_ok_and(|lock| lock.is_some())
        };
        name.starts_with(UNFINISHED) && (is_old(path) || unlocked())
    }
}

/// The directory of the session that a volume belongs to, if any.
fn owner(directory: &Path) -> Option<PathBuf> {
    let owner = fs_err::read(directory.join(OWNER)).ok()?;
    Some(OsString::from_vec(owner).into())
}

/// Whether the session that a volume belongs to has ended.
fn is_orphan(directory: &Path) -> bool {
    owner(directory).is_some_and(|session| crate::session::is_dead(&session))
}

/// What still uses a volume goes before it; another sweep may be faster.
fn report(removed: Result<(), EngineError>) {
    match removed {
        Ok(()) | Err(EngineError::VolumeInUse(_) | EngineError::NoSuchVolume(_)) => {}
        Err(error) => {
            let error = berth_error::chain(&error);
            tracing::warn!(error, "cannot delete what is left of a volume");
        }
    }
}

fn delete(path: &Path) -> Result<(), EngineError> {
    match fs_err::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(file_error("delete", path)(error))
        }
        _ => Ok(()),
    }
}

fn is_old(path: &Path) -> bool {
    let modified = fs_err::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|at| {
        let age = SystemTime::now().duration_since(at).unwrap_or_default();
        age > UNFINISHED_FOR
    })
}
