//! How many instances of each application may run at the same time, and how much all of them may be given.
//!
//! Owned by the engine. A container takes a slot when it starts and gives it back when its process
//! has ended, whatever happens in between: containers that were made and never started, ended ones
//! and the helpers of snapshots do not count.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_jail::Limits;

use crate::{EngineError, InstanceLimit, TotalLimits};

/// The slots of all applications. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    taken: HashMap<String, u32>,
    most: TotalLimits,
    /// What those that are taken have been given.
    given: Size,
    /// How many are taken.
    count: u64,
}

/// What an instance is given.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    cpu_milli: u64,
    memory_bytes: u64,
    disk_bytes: u64,
}

impl From<&Limits> for Size {
    fn from(limits: &Limits) -> Self {
        Self {
            cpu_milli: limits.cpu_milli.map_or(0, u64::from),
            memory_bytes: limits.memory_bytes.unwrap_or_default(),
            disk_bytes: limits.disk_bytes.unwrap_or_default(),
        }
    }
}

/// One taken slot; free again on drop.
#[derive(Debug)]
pub(crate) struct Slot {
    application: String,
    size: Size,
    owner: Slots,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut inner = self.owner.lock();
        inner.count = inner.count.saturating_sub(1);
        if let Some(count) = inner.taken.get_mut(&self.application) {
            *count = count.saturating_sub(1);
        }
        let given = &mut inner.given;
        given.cpu_milli = given.cpu_milli.saturating_sub(self.size.cpu_milli);
        given.memory_bytes = given.memory_bytes.saturating_sub(self.size.memory_bytes);
        given.disk_bytes = given.disk_bytes.saturating_sub(self.size.disk_bytes);
    }
}

/// Why there is no slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// As many run as may.
    Instances(u32),
    /// All together have been given as much as they may.
    Total(String),
}

impl Full {
    /// The error for the instance of this name.
    pub(crate) fn error(self, name: &str) -> EngineError {
        let name = name.to_owned();
        match self {
            Self::Instances(max) => EngineError::NoInstance { name, max },
            Self::Total(what) => EngineError::NoTotal { name, what },
        }
    }
}

impl Slots {
    /// Sets how much all may be given. What runs, runs on.
    pub(crate) fn set_total(&self, most: TotalLimits) {
        self.lock().most = most;
    }

    /// Takes a slot.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn take(&self, limit: &InstanceLimit, limits: &Limits) -> Result<Slot, Full> {
        let mut inner = self.lock();
        let size = Size::from(limits);
        inner.check(limit, size)?;
        Ok(self.give(&mut inner, limit, size))
    }

    /// The slot of an instance that runs already, whatever may run.
    pub(crate) fn keep(&self, limit: &InstanceLimit, limits: &Limits) -> Slot {
        let mut inner = self.lock();
        self.give(&mut inner, limit, limits.into())
    }

    fn give(&self, inner: &mut Inner, limit: &InstanceLimit, size: Size) -> Slot {
        *inner.taken.entry(limit.application.clone()).or_default() += 1;
        inner.count += 1;
        let given = &mut inner.given;
        given.cpu_milli += size.cpu_milli;
        given.memory_bytes += size.memory_bytes;
        given.disk_bytes += size.disk_bytes;
        Slot {
            application: limit.application.clone(),
            size,
            owner: self.clone(),
        }
    }

    /// Whether one more may start right now.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check(&self, limit: &InstanceLimit, limits: &Limits) -> Result<(), Full> {
        self.lock().check(limit, limits.into())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn check(&self, limit: &InstanceLimit, size: Size) -> Result<(), Full> {
        let count = self.taken.get(&limit.application).copied().unwrap_or(0);
        if count >= limit.max {
            return Err(Full::Instances(limit.max));
        }
        let over = |given: u64, more: u64, most: Option<u64>| {
            most.is_some_and(|most| given.saturating_add(more) > most)
        };
        let Self {
            given, most, count, ..
        } = self;
        // Each share was rounded up: sixteen of 0.0625 are one CPU.
        let rounded = most.cpu_milli.map(|most| most + count + 1);
        if over(given.cpu_milli, size.cpu_milli, rounded) {
            let vcpu = |milli: u64| format!("{}.{:03}", milli / 1000, milli % 1000);
            let most = vcpu(most.cpu_milli.unwrap_or_default());
            let text = format!("{most} vCPU, of which {} are taken", vcpu(given.cpu_milli));
            return Err(Full::Total(text));
        }
        if over(given.memory_bytes, size.memory_bytes, most.memory_bytes) {
            let mib = |bytes: u64| bytes >> 20;
            let most = mib(most.memory_bytes.unwrap_or_default());
            let text = format!(
                "{most} MiB of memory, of which {} are taken",
                mib(given.memory_bytes)
            );
            return Err(Full::Total(text));
        }
        if over(given.disk_bytes, size.disk_bytes, most.disk_bytes) {
            let mb = |bytes: u64| bytes / 1_000_000;
            let most = mb(most.disk_bytes.unwrap_or_default());
            let text = format!(
                "{most} MB of disk, of which {} are taken",
                mb(given.disk_bytes)
            );
            return Err(Full::Total(text));
        }
        Ok(())
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

    fn size(cpu_milli: u32, memory_mib: u64) -> Limits {
        Limits {
            cpu_milli: Some(cpu_milli),
            memory_bytes: Some(memory_mib << 20),
            disk_bytes: Some(2_000_000_000),
            ..Limits::default()
        }
    }

    #[test]
    fn a_slot_is_taken_until_it_is_dropped_and_applications_do_not_share() {
        let slots = Slots::default();
        let any = Limits::default();
        let first = slots.take(&limit("a", 2), &any).unwrap();
        let _second = slots.take(&limit("a", 2), &any).unwrap();
        let full = Full::Instances(2);
        assert_eq!(slots.take(&limit("a", 2), &any).unwrap_err(), full);
        assert_eq!(slots.check(&limit("a", 2), &any), Err(full));
        // A limit that was raised meanwhile holds from then on.
        assert!(slots.check(&limit("a", 3), &any).is_ok());
        assert!(slots.take(&limit("b", 1), &any).is_ok());
        drop(first);
        assert!(slots.check(&limit("a", 2), &any).is_ok());
        assert!(slots.take(&limit("a", 0), &any).is_err());
    }

    #[test]
    fn who_runs_already_has_a_slot() {
        let slots = Slots::default();
        let any = Limits::default();
        let kept: Vec<Slot> = (0..2).map(|_| slots.keep(&limit("a", 1), &any)).collect();
        assert!(slots.take(&limit("a", 2), &any).is_err());
        drop(kept);
        assert!(slots.take(&limit("a", 1), &any).is_ok());
    }

    #[test]
    fn sixteen_sixteenths_are_one() {
        let slots = Slots::default();
        slots.set_total(TotalLimits {
            cpu_milli: Some(1000),
            ..TotalLimits::default()
        });
        let taken: Vec<_> = (0..17)
            .map_while(|_| slots.take(&limit("a", 99), &size(63, 1)).ok())
            .collect();
        assert_eq!(taken.len(), 16);
    }

    #[test]
    fn all_together_have_no_more_than_there_is() {
        let slots = Slots::default();
        slots.set_total(TotalLimits {
            cpu_milli: Some(1000),
            memory_bytes: Some(1 << 30),
            disk_bytes: Some(5_000_000_000),
        });
        let first = slots.take(&limit("a", 9), &size(600, 256)).unwrap();
        let full = |wanted: Limits| match slots.take(&limit("b", 9), &wanted) {
            Err(Full::Total(text)) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(full(size(500, 1)), "1.000 vCPU, of which 0.600 are taken");
        assert_eq!(
            full(size(1, 900)),
            "1024 MiB of memory, of which 256 are taken"
        );
        let _second = slots.take(&limit("b", 9), &size(400, 768)).unwrap();
        assert_eq!(full(size(0, 0)), "5000 MB of disk, of which 4000 are taken");
        drop(first);
        assert!(slots.take(&limit("b", 9), &size(600, 256)).is_ok());
    }
}
