//! Byte counts of a network.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes carried since the network was made: payload, without headers and name look-ups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkUsage {
    /// From the container outwards.
    pub egress_bytes: u64,
    /// From outside into the container, replies to its connections included.
    pub ingress_bytes: u64,
}

/// The running counts. Relaxed: they order nothing.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) egress: AtomicU64,
    pub(crate) ingress: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> NetworkUsage {
        NetworkUsage {
            egress_bytes: self.egress.load(Ordering::Relaxed),
            ingress_bytes: self.ingress.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn count(&self, carried: NetworkUsage) {
        self.egress
            .fetch_add(carried.egress_bytes, Ordering::Relaxed);
        self.ingress
            .fetch_add(carried.ingress_bytes, Ordering::Relaxed);
    }
}

/// Adds a length to a count.
pub(crate) fn add(count: &AtomicU64, bytes: usize) {
    count.fetch_add(bytes as u64, Ordering::Relaxed);
}
