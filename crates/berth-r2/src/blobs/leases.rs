//! Who still reads a blob that nobody needs any more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

/// Blobs that are read, and those of them that are to go afterwards.
#[derive(Clone, Debug)]
pub(crate) struct Leases {
    held: Arc<Mutex<HashMap<String, Held>>>,
    /// What is to be deleted now.
    free: mpsc::UnboundedSender<String>,
}

#[derive(Debug, Default)]
struct Held {
    readers: usize,
    doomed: bool,
}

/// As long as it lives the blob is there.
#[derive(Debug)]
pub(crate) struct Lease {
    leases: Leases,
    name: String,
}

impl Leases {
    /// The other end says what is to be deleted.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<String>) {
        let (free, freed) = mpsc::unbounded_channel();
        let held = Arc::default();
        (Self { held, free }, freed)
    }

    /// A blob that the index names while nobody can change it.
    pub(crate) fn take(&self, name: &str) -> Lease {
        self.lock().entry(name.to_owned()).or_default().readers += 1;
        Lease {
            leases: self.clone(),
            name: name.to_owned(),
        }
    }

    /// A blob that the index does not name any more.
    pub(crate) fn doom(&self, name: String) {
        if let Some(held) = self.lock().get_mut(&name) {
            held.doomed = true;
            return;
        }
        // Without a receiver the store is going; the next one sweeps.
        let _ = self.free.send(name);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        // Every change is one operation of the map.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut held = self.leases.lock();
        let Some(entry) = held.get_mut(&self.name) else {
            return;
        };
        entry.readers -= 1;
        if entry.readers == 0 {
            let doomed = entry.doomed;
            held.remove(&self.name);
            drop(held);
            if doomed {
                let _ = self.leases.free.send(self.name.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_goes_with_its_last_reader() {
        let (leases, mut freed) = Leases::new();
        let (one, other) = (leases.take("a"), leases.take("a"));
        leases.doom("a".to_owned());
        leases.doom("b".to_owned());
        assert_eq!(freed.try_recv().unwrap(), "b");
        drop(one);
        assert!(freed.try_recv().is_err());
        drop(other);
        assert_eq!(freed.try_recv().unwrap(), "a");
        drop(leases.take("c"));
        assert!(freed.try_recv().is_err() && leases.lock().is_empty());
    }
}
