//! Host user-id ranges: every container gets 65536 ids that nobody else on the machine uses.
//!
//! Owned by the engine; a [`IdRange`] is held by one container and goes back on drop.
//!
//! Sessions do not know each other, and may keep their state in different places, so a session
//! claims **blocks** of [`BLOCK_CONTAINERS`] ranges by binding an abstract unix socket named after
//! the block. The kernel makes that atomic and machine-wide and releases it however the process
//! ends; nothing is left on disk. Ranges are handed out in a circle, so an id is not reused at once.

use std::collections::VecDeque;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{Arc, Mutex, PoisonError};

use crate::EngineError;

/// Ids of one container: 0..65536 inside.
const RANGE: u32 = 65_536;

/// Containers that one block serves.
const BLOCK_CONTAINERS: u32 = 512;

/// First id of the first block; well above what distributions and `/etc/subuid` hand out.
const FIRST: u32 = 1_000_013_824;

/// Blocks between [`FIRST`] and 2³¹: the upper half of the id space is left alone because some
/// programs still treat ids as signed.
const BLOCKS: u32 = ((1 << 31) - FIRST) / (RANGE * BLOCK_CONTAINERS);

/// Hands out ranges.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdAllocator {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    free: VecDeque<u32>,
    claims: Vec<UnixListener>,
}

/// One range, given back on drop.
#[derive(Debug)]
pub(crate) struct IdRange {
    base: u32,
    owner: IdAllocator,
}

impl IdRange {
    /// The host id that is 0 inside.
    pub(crate) fn base(&self) -> u32 {
        self.base
    }
}

impl Drop for IdRange {
    fn drop(&mut self) {
        self.owner.lock().free.push_back(self.base);
    }
}

impl IdAllocator {
    /// Takes a range; claims another block when all are in use.
    ///
    /// # Errors
    /// [`EngineError::NoIdRange`] when every block of the machine is taken.
    pub(crate) fn take(&self) -> Result<IdRange, EngineError> {
        let mut inner = self.lock();
        if inner.free.is_empty() {
            inner.claim_block()?;
        }
        let base = inner.free.pop_front().ok_or(EngineError::NoIdRange)?;
        Ok(IdRange {
            base,
            owner: self.clone(),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn claim_block(&mut self) -> Result<(), EngineError> {
        let start = rand::random_range(0..BLOCKS);
        for step in 0..BLOCKS {
            let block = (start + step) % BLOCKS;
            let Some(claim) = claim(block) else { continue };
            let first = FIRST + block * BLOCK_CONTAINERS * RANGE;
            self.claims.push(claim);
            self.free
                .extend((0..BLOCK_CONTAINERS).map(|index| first + index * RANGE));
            return Ok(());
        }
        Err(EngineError::NoIdRange)
    }
}

/// `None`: somebody has it.
fn claim(block: u32) -> Option<UnixListener> {
    let address = SocketAddr::from_abstract_name(format!("berth/ids/{block}")).ok()?;
    UnixListener::bind_addr(&address).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ranges_are_disjoint_within_and_between_sessions() {
        let (one, two) = (IdAllocator::default(), IdAllocator::default());
        let held: Vec<IdRange> = (0..BLOCK_CONTAINERS + 3)
            .flat_map(|_| [one.take().unwrap(), two.take().unwrap()])
            .collect();
        let bases: BTreeSet<u32> = held.iter().map(IdRange::base).collect();
        assert_eq!(bases.len(), held.len());
        for base in bases {
            assert!(base >= FIRST && (base - FIRST).is_multiple_of(RANGE));
            assert!(base.checked_add(RANGE).is_some_and(|end| end <= 1 << 31));
        }
    }

    #[test]
    fn a_dropped_range_is_reused_but_last() {
        let ids = IdAllocator::default();
        let first = ids.take().unwrap().base();
        let rest: Vec<IdRange> = (1..BLOCK_CONTAINERS).map(|_| ids.take().unwrap()).collect();
        assert!(rest.iter().all(|range| range.base() != first));
        assert_eq!(ids.take().unwrap().base(), first);
    }

    #[test]
    fn a_claim_excludes_others_and_ends_with_its_holder() {
        // Outside the blocks that allocators choose from, so that no other test interferes.
        let block = BLOCKS + 1 + std::process::id();
        let held = claim(block).unwrap();
        assert!(claim(block).is_none());
        drop(held);
        assert!(claim(block).is_some());
    }
}
