//! Sessions whose containers outlive their daemon: the next one takes them over.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::{
    LOCK, RECORD, Session, SessionLock, SessionRecord, file_error, gone, sessions, write_record,
};
use crate::EngineError;

const ZYGOTE_SOCKET: &str = "zygote.sock";

/// What of a session's directory its next daemon goes on with; everything else is a former one's.
const LASTING: [&str; 4] = [LOCK, RECORD, ZYGOTE_SOCKET, "containers"];

impl SessionRecord {
    /// Where the zygote of a kept session is found.
    pub fn zygote_socket(&self, sessions_dir: &Path) -> PathBuf {
        sessions_dir.join(&self.id).join(ZYGOTE_SOCKET)
    }
}

impl Session {
    /// Takes a kept session over of whose lock somebody has left a descriptor. What is in its directory
    /// besides its containers is deleted.
    ///
    /// # Errors
    /// [`EngineError::File`], also if that is not its lock.
    pub fn adopt(
        sessions_dir: &Path,
        record: SessionRecord,
        lock: OwnedFd,
    ) -> Result<Self, EngineError> {
        let dir = sessions_dir.join(&record.id);
        let path = dir.join(LOCK);
        let file = File::from(lock);
        let same = || -> io::Result<bool> {
            let (one, other) = (file.metadata()?, fs_err::metadata(&path)?);
            Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
        };
        if !same().map_err(file_error("look at", &path))? {
            let error = io::Error::other("another file is locked");
            return Err(file_error("take over", &path)(error));
        }
        // Held already, if it is what it should be.
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| file_error("lock", &path)(error.into()))?;
        for entry in fs_err::read_dir(&dir).map_err(file_error("read", &dir))? {
            let entry = entry.map_err(file_error("read", &dir))?;
            if LASTING.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            let path = entry.path();
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let deleted = if is_dir {
                fs_err::remove_dir_all(&path)
            } else {
                fs_err::remove_file(&path)
            };
            deleted.or_else(gone).map_err(file_error("delete", &path))?;
        }
        let record = SessionRecord {
            pid: std::process::id(),
            ..record
        };
        let new = dir.join(format!("{RECORD}~"));
        write_record(&new, &record)?;
        let target = dir.join(RECORD);
        fs_err::rename(&new, &target).map_err(file_error("write", &target))?;
        Ok(Self {
            id: record.id,
            dir,
            cgroup: record.cgroup,
            socket: record.socket,
            lock: SessionLock { file },
        })
    }

    /// Where the zygote of a kept session is to be found by the next daemon.
    pub fn zygote_socket(&self) -> PathBuf {
        self.dir.join(ZYGOTE_SOCKET)
    }

    /// A second descriptor of its lock: the session counts as living as long as there is one.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn lock_descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.lock.file.try_clone()?.into())
    }
}

/// The sessions whose containers may be waiting for another daemon: the caller knows that the one that they
/// had has ended.
///
/// # Errors
/// As [`sessions`].
pub fn kept_sessions(sessions_dir: &Path) -> Result<Vec<SessionRecord>, EngineError> {
    let mut kept = sessions(sessions_dir)?;
    kept.retain(|record| record.kept);
    Ok(kept)
}
