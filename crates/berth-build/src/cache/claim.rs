//! Who makes a step: one build at a time, in this process or another one.
//!
//! A claim is an exclusive `flock` of a file that exists only as long as somebody makes the step or
//! waits for it. It ends with its owner, however that ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The right to make a step, until dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
    _lock: File,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Whoever waits for the file that is gone looks again.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What [`Claim::take`] found.
pub(crate) enum Attempt {
    /// It is ours.
    Taken(Claim),
    /// Somebody else's; resolves when it is ours. Dropping it gives up.
    Waiting(tokio::sync::oneshot::Receiver<io::Result<Claim>>),
}

impl Claim {
    /// Takes the claim that `path` stands for, unless somebody else has it.
    pub(crate) fn try_take(path: &Path) -> io::Result<Option<Self>> {
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        Self::attempt(path, FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes the claim that `path` stands for.
    pub(crate) fn take(path: &Path) -> io::Result<Attempt> {
        if let Some(claim) = Self::attempt(path, FlockOperation::NonBlockingLockExclusive)? {
            return Ok(Attempt::Taken(claim));
        }
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let path = path.to_owned();
        // A thread of its own, so that neither a build that was given up nor the end of the program
        // waits for it.
        std::thread::Builder::new()
            .name("claim".to_owned())
            .spawn(move || {
                let claim = loop {
                    match Self::attempt(&path, FlockOperation::LockExclusive) {
                        Ok(Some(claim)) => break Ok(claim),
                        Ok(None) => {}
                        Err(error) => break Err(error),
                    }
                };
                // Given up meanwhile: the claim is dropped with the answer.
                let _ = sender.send(claim);
            })?;
        Ok(Attempt::Waiting(receiver))
    }

    /// `None`: somebody else has it, or had it and removed the file.
    fn attempt(path: &Path, how: FlockOperation) -> io::Result<Option<Self>> {
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        loop {
            match flock(&lock, how) {
                Ok(()) => break,
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
        let ours = lock.metadata()?;
        let current = match std::fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(
            (ours.ino() == current.ino() && ours.dev() == current.dev()).then(|| Self {
                path: path.to_owned(),
                _lock: lock,
            }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_claim_is_passed_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("claim");
        let Attempt::Taken(first) = Claim::take(&path).unwrap() else {
            panic!("nobody has it");
        };
        let Attempt::Waiting(second) = Claim::take(&path).unwrap() else {
            panic!("it is taken");
        };
        let Attempt::Waiting(given_up) = Claim::take(&path).unwrap() else {
            panic!("it is taken");
        };
        drop(given_up);
        drop(first);
        let second = second.await.unwrap().unwrap();
        drop(second);
        let Attempt::Taken(_) = Claim::take(&path).unwrap() else {
            // The thread that was given up may have it for a moment.
            let Attempt::Waiting(last) = Claim::take(&path).unwrap() else {
                return;
            };
            drop(last.await.unwrap().unwrap());
            return;
        };
    }
}
