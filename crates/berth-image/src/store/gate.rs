//! The gate between those who add to the store and those who remove from it.
//!
//! Whoever is about to need something passes it shared, for as long as it takes to put that on record
//! (a line in a lease); whoever removes holds it alone, for as long as it takes to see what is needed
//! and to rename the rest away. Nobody waits for anything else with the gate in hand, except for
//! `images.lock`, whose holders never ask for the gate.

use std::path::Path;

use fs_err::File;
use rustix::fs::FlockOperation;

use super::{flock, open_lock};
use crate::ImageError;

/// The gate, held until this is dropped.
#[derive(Debug)]
pub(super) struct Gate(#[expect(dead_code, reason = "the lock ends with it")] File);

impl Gate {
    /// To put something on record.
    pub(super) fn shared(root: &Path) -> Result<Self, ImageError> {
        Self::pass(root, FlockOperation::LockShared)
    }

    /// To remove.
    pub(super) fn alone(root: &Path) -> Result<Self, ImageError> {
        Self::pass(root, FlockOperation::LockExclusive)
    }

    /// To remove, if nobody is at the gate just now.
    pub(super) fn alone_now(root: &Path) -> Option<Self> {
        Self::pass(root, FlockOperation::NonBlockingLockExclusive).ok()
    }

    fn pass(root: &Path, operation: FlockOperation) -> Result<Self, ImageError> {
        let path = root.join("gc.lock");
        let file = open_lock(&path)?;
        flock(&file, operation).map_err(ImageError::errno("lock", &path))?;
        Ok(Self(file))
    }
}
