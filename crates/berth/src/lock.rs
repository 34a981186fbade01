//! Locks that end with their process, however it ends.

use std::fs::File;
use std::path::Path;

use berth_error::{Report, ResultExt as _};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Proof that something is this process's: an flock, held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock in a file, which is made with its directory if it is missing. `None`: another
    /// process has it.
    pub(crate) fn take(path: &Path) -> Result<Option<Self>, Report> {
        let failed = || format!("could not take the lock `{}`", path.display());
        if let Some(directory) = path.parent() {
            fs_err::create_dir_all(directory).context(failed())?;
        }
        let file = fs_err::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .context(failed())?
            .into_file();
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(Report::from_error(&error).context(failed())),
        }
    }
}
