//! Byte counts of a network.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::page::Page;

/// Bytes carried since the network was made: payload, without headers and name look-ups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkUsage {
    /// From the container outwards.
    pub egress_bytes: u64,
    /// From outside into the container, replies to its connections included.
    pub ingress_bytes: u64,
}

/// The running counts. Relaxed: they order nothing.
#[derive(Debug)]
pub(crate) enum Counters {
    /// This process's own: egress, ingress.
    Own([AtomicU64; 2]),
    /// In memory that a successor goes on with.
    Shared(Page),
}

impl Default for Counters {
    fn default() -> Self {
        Self::Own([AtomicU64::new(0), AtomicU64::new(0)])
    }
}

impl Counters {
    /// Counts that outlive this process as long as somebody has [`Counters::descriptor`].
    pub(crate) fn shared() -> io::Result<Self> {
        Page::new().map(Self::Shared)
    }

    /// Goes on with the counts of a process before.
    pub(crate) fn adopt(descriptor: OwnedFd) -> io::Result<Self> {
        Page::open(descriptor).map(Self::Shared)
    }

    /// A second descriptor of the counts, if they outlive this process.
    pub(crate) fn descriptor(&self) -> io::Result<Option<OwnedFd>> {
        match self {
            Self::Own(_) => Ok(None),
            Self::Shared(page) => page.as_fd().try_clone_to_owned().map(Some),
        }
    }

    /// From the container outwards.
    pub(crate) fn egress(&self) -> &AtomicU64 {
        &self.both()[0]
    }

    /// Into the container.
    pub(crate) fn ingress(&self) -> &AtomicU64 {
        &self.both()[1]
    }

    fn both(&self) -> &[AtomicU64; 2] {
        match self {
            Self::Own(both) => both,
            Self::Shared(page) => page.words(),
        }
    }

    pub(crate) fn read(&self) -> NetworkUsage {
        NetworkUsage {
            egress_bytes: self.egress().load(Ordering::Relaxed),
            ingress_bytes: self.ingress().load(Ordering::Relaxed),
        }
    }

    pub(crate) fn count(&self, carried: NetworkUsage) {
        self.egress()
            .fetch_add(carried.egress_bytes, Ordering::Relaxed);
        self.ingress()
            .fetch_add(carried.ingress_bytes, Ordering::Relaxed);
    }
}

/// Adds a length to a count.
pub(crate) fn add(count: &AtomicU64, bytes: usize) {
    count.fetch_add(bytes as u64, Ordering::Relaxed);
}
