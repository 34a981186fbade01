//! Content that is needed although no record names it yet: while an upload is looked at.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::Control;
use crate::ControlError;

/// Keeps content from being collected; gives it up when it is dropped.
#[derive(Debug)]
pub(super) struct Pins {
    control: Control,
    held: Mutex<BTreeMap<String, usize>>,
}

impl Control {
    /// None yet.
    pub(super) fn pins(&self) -> Pins {
        Pins {
            control: self.clone(),
            held: Mutex::default(),
        }
    }
}

impl Pins {
    /// Keeps these bytes; their digest.
    pub(super) fn put(&self, bytes: &[u8]) -> Result<String, ControlError> {
        // The collector sees either nothing of it, or that it is needed.
        let mut pending = self.control.pending();
        let digest = self.control.content().put(bytes)?;
        *pending.entry(digest.clone()).or_default() += 1;
        self.note(&digest);
        Ok(digest)
    }

    /// Holds what is there.
    pub(super) fn hold(&self, digest: &str) {
        *self.control.pending().entry(digest.to_owned()).or_default() += 1;
        self.note(digest);
    }

    fn note(&self, digest: &str) {
        let mut held = self.held();
        *held.entry(digest.to_owned()).or_default() += 1;
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, usize>> {
        // Every write is one map operation.
        self.held
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let mut pending = self.control.pending();
        for (digest, count) in self.held().iter() {
            if let Some(total) = pending.get_mut(digest) {
                *total = total.saturating_sub(*count);
                if *total == 0 {
                    pending.remove(digest);
                }
            }
        }
    }
}
