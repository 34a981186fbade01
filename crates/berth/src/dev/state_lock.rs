//! One session at a time for one state: two workerds would both own its Durable Objects.

use std::path::Path;

use berth_error::Report;

use crate::lock::Lock;

/// Proof that a state directory is this process's.
#[derive(Debug)]
pub(crate) struct StateLock {
    _lock: Lock,
}

impl StateLock {
    /// Takes the state directory, which is made if it is missing.
    pub(crate) fn take(state_dir: &Path) -> Result<Self, Report> {
        match Lock::take(&state_dir.join("lock"))? {
            Some(lock) => Ok(Self { _lock: lock }),
            None => Err(Report::new(
                format!(
                    "another `berth dev` uses the state in `{}`",
                    state_dir.display()
                ),
                Some(
                    "leave that session, or give this one a state of its own with `--persist-to`"
                        .to_owned(),
                ),
            )),
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
