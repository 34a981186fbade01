//! How many instances of each application may run at the same time.
//!
//! Owned by the engine. A container takes a slot when it starts and gives it back when its process
//! has ended, whatever happens in between: containers that were made and never started, ended ones
//! and the helpers of snapshots do not count.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::InstanceLimit;

/// The slots of all applications. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    taken: Arc<Mutex<HashMap<String, u32>>>,
}

/// One taken slot; free again on drop.
#[derive(Debug)]
pub(crate) struct Slot {
    application: String,
    owner: Slots,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.owner.lock();
        if let Some(count) = taken.get_mut(&self.application) {
            *count = count.saturating_sub(1);
        }
    }
}

impl Slots {
    /// Takes a slot; `None` if as many instances run as may.
    pub(crate) fn take(&self, limit: &InstanceLimit) -> Option<Slot> {
        let mut taken = self.lock();
        let count = taken.entry(limit.application.clone()).or_default();
        if *count >= limit.max {
            return None;
        }
        *count += 1;
        Some(Slot {
            application: limit.application.clone(),
            owner: self.clone(),
        })
    }

    /// Whether one more may start right now.
    pub(crate) fn is_free(&self, limit: &InstanceLimit) -> bool {
        self.lock()
            .get(&limit.application)
            .is_none_or(|count| *count < limit.max)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(application: &str, max: u32) -> InstanceLimit {
        InstanceLimit {
            application: application.to_owned(),
            max,
        }
    }

    #[test]
    fn a_slot_is_taken_until_it_is_dropped_and_applications_do_not_share() {
        let slots = Slots::default();
        let first = slots.take(&limit("a", 2)).unwrap();
        let _second = slots.take(&limit("a", 2)).unwrap();
        assert!(slots.take(&limit("a", 2)).is_none());
        assert!(!slots.is_free(&limit("a", 2)));
        // A limit that was raised meanwhile holds from then on.
        assert!(slots.is_free(&limit("a", 3)));
        assert!(slots.take(&limit("b", 1)).is_some());
        drop(first);
        assert!(slots.is_free(&limit("a", 2)));
        assert!(slots.take(&limit("a", 0)).is_none());
    }
}
