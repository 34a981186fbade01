//! One session at a time for one state: two workerds would both own its Durable Objects.

use std::fs::File;
use std::path::Path;

use berth_error::{Report, ResultExt as _};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Proof that a state directory is this process's: an flock, which ends with the process.
#[derive(Debug)]
pub(crate) struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes the state directory, which is made if it is missing.
    pub(crate) fn take(state_dir: &Path) -> Result<Self, Report> {
        let path = state_dir.join("lock");
        let failed = || format!("could not lock the state in `{}`", state_dir.display());
        fs_err::create_dir_all(state_dir).context(failed())?;
        let file = fs_err::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .context(failed())?
            .into_file();
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(Errno::WOULDBLOCK) => Err(Report::new(
                format!(
                    "another `berth dev` uses the state in `{}`",
                    state_dir.display()
                ),
                Some(
                    "leave that session, or give this one a state of its own with `--persist-to`"
                        .to_owned(),
                ),
            )),
            Err(error) => Err(Report::from_error(&error).context(failed())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::StateLock;

    #[test]
    fn a_state_has_one_owner_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let lock = StateLock::take(&state).unwrap();
        let refused = StateLock::take(&state).unwrap_err();
        assert!(
            refused.chain()[0].contains("another `berth dev`"),
            "{refused:?}"
        );
        drop(lock);
        StateLock::take(&state).unwrap();
    }
}
