//! Host user-id ranges: every container, and every step of a build, gets 65536 ids that nobody else on
//! the machine uses.
//!
//! An [`IdRange`] is held by one of them and goes back on drop.
//!
//! Sessions do not know each other, and may keep their state in different places, so a session
//! claims **blocks** of ranges by binding an abstract unix socket named after the block. The kernel
//! makes that atomic and machine-wide and releases it however the process ends; nothing is left on
//! disk. Ranges are handed out in a circle, so an id is not reused at once.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{Arc, Mutex, PoisonError};

/// Ids of one container: 0..65536 inside.
const RANGE: u32 = 65_536;

/// First id of the first block; well above what distributions and `/etc/subuid` hand out.
const FIRST: u32 = 1_000_013_824;

/// Ranges of all blocks between [`FIRST`] and 2³¹: the upper half of the id space is left alone
/// because some programs still treat ids as signed.
const RANGES: u32 = ((1 << 31) - FIRST) / RANGE;

/// Ranges at the end of them that are for builds.
const BUILD_RANGES: u32 = 1_024;

/// A part of the ids, in blocks.
#[derive(Clone, Copy, Debug)]
struct Region {
    /// In the names of claims.
    name: &'static str,
    first: u32,
    blocks: u32,
    /// Ranges of a block.
    ranges: u32,
}

const CONTAINERS: Region = Region {
    name: "ids",
    first: FIRST,
    ranges: 512,
    blocks: (RANGES - BUILD_RANGES) / 512,
};

/// A build has a few steps at a time.
const BUILDS: Region = Region {
    name: "build-ids",
    first: FIRST + (RANGES - BUILD_RANGES) * RANGE,
    ranges: 16,
    blocks: BUILD_RANGES / 16,
};

/// Hands out ranges.
#[derive(Clone, Debug)]
pub struct IdAllocator {
    region: Region,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    free: VecDeque<u32>,
    claims: Vec<UnixListener>,
}

/// One range, given back on drop.
#[derive(Debug)]
pub struct IdRange {
    base: u32,
    owner: IdAllocator,
}

impl IdRange {
    /// The host id that is 0 inside.
    pub fn base(&self) -> u32 {
        self.base
    }
}

impl Drop for IdRange {
    fn drop(&mut self) {
        self.owner.lock().free.push_back(self.base);
    }
}

impl Default for IdAllocator {
    /// For containers.
    fn default() -> Self {
        Self::of(CONTAINERS)
    }
}

impl IdAllocator {
    /// For the steps of builds.
    pub fn builds() -> Self {
        Self::of(BUILDS)
    }

    fn of(region: Region) -> Self {
        Self {
            region,
            inner: Arc::default(),
        }
    }

    /// Takes a range; claims another block when all are in use. `None`: every block of the machine
    /// is taken.
    pub fn take(&self) -> Option<IdRange> {
        let mut inner = self.lock();
        if inner.free.is_empty() {
            inner.claim_block(self.region)?;
        }
        let base = inner.free.pop_front()?;
        Some(IdRange {
            base,
            owner: self.clone(),
        })
    }

    /// What keeps the claimed blocks from everybody else: for who may hold them when this process has
    /// ended. See [`IdAllocator::adopt`].
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn claims(&self) -> std::io::Result<Vec<OwnedFd>> {
        let inner = self.lock();
        let claims = inner.claims.iter().map(|claim| claim.as_fd());
        claims.map(|claim| claim.try_clone_to_owned()).collect()
    }

    /// Takes a block over that a process before claimed; all of it counts as free. `false`: it is none.
    pub fn adopt(&self, claim: OwnedFd) -> bool {
        let claim = UnixListener::from(claim);
        let block = claim.local_addr().ok().and_then(|address| {
            let name = std::str::from_utf8(address.as_abstract_name()?).ok()?;
            let block = name.strip_prefix(&format!("berth/{}/", self.region.name))?;
            block.parse::<u32>().ok()
        });
        let Some(block) = block.filter(|block| *block < self.region.blocks) else {
            return false;
        };
        self.lock().add(self.region, block, claim);
        true
    }

    /// Takes this very range; `None`: it is not free, or in no block of ours.
    pub fn take_at(&self, base: u32) -> Option<IdRange> {
        let mut inner = self.lock();
        let index = inner.free.iter().position(|free| *free == base)?;
        inner.free.remove(index)?;
        let owner = self.clone();
        Some(IdRange { base, owner })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn claim_block(&mut self, region: Region) -> Option<()> {
        // Anywhere, so that sessions that start together seldom ask for the same one.
        let random = RandomState::new().hash_one(std::process::id());
        let start = u32::try_from(random % u64::from(region.blocks)).unwrap_or(0);
        for step in 0..region.blocks {
            let block = (start + step) % region.blocks;
            let Some(claim) = claim(region, block) else {
                continue;
            };
            self.add(region, block, claim);
            return Some(());
        }
        None
    }

    fn add(&mut self, region: Region, block: u32, claim: UnixListener) {
        let first = region.first + block * region.ranges * RANGE;
        self.claims.push(claim);
        self.free
            .extend((0..region.ranges).map(|index| first + index * RANGE));
    }
}

/// `None`: somebody has it.
fn claim(region: Region, block: u32) -> Option<UnixListener> {
    let name = format!("berth/{}/{block}", region.name);
    let address = SocketAddr::from_abstract_name(name).ok()?;
    UnixListener::bind_addr(&address).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ranges_are_disjoint_within_and_between_sessions() {
        let (one, two) = (IdAllocator::default(), IdAllocator::default());
        let build = IdAllocator::builds();
        let held: Vec<IdRange> = (0..CONTAINERS.ranges + 3)
            .flat_map(|_| [one.take().unwrap(), two.take().unwrap()])
            .chain((0..BUILDS.ranges + 1).map(|_| build.take().unwrap()))
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
        let rest: Vec<IdRange> = (1..CONTAINERS.ranges)
            .map(|_| ids.take().unwrap())
            .collect();
        assert!(rest.iter().all(|range| range.base() != first));
        assert_eq!(ids.take().unwrap().base(), first);
    }

    #[test]
    fn claimed_blocks_pass_on_to_whoever_has_their_descriptors() {
        let (first, second) = (IdAllocator::default(), IdAllocator::default());
        let held = first.take().unwrap().base();
        let claims = first.claims().unwrap();
        assert_eq!(claims.len(), 1);
        drop(first);
        for claim in claims {
            assert!(second.adopt(claim));
        }
        let range = second.take_at(held).unwrap();
        assert!(second.take_at(held).is_none());
        assert!(second.take_at(1).is_none());
        let rest: Vec<IdRange> = (1..CONTAINERS.ranges)
            .map(|_| second.take().unwrap())
            .collect();
        assert!(rest.iter().all(|other| other.base() != range.base()));
        let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(!second.adopt(socket.into()));
    }

    #[test]
    fn a_claim_excludes_others_and_ends_with_its_holder() {
        // Outside the blocks that allocators choose from, so that no other test interferes.
        let block = CONTAINERS.blocks + 1 + std::process::id();
        let held = claim(CONTAINERS, block).unwrap();
        assert!(claim(CONTAINERS, block).is_none());
        drop(held);
        assert!(claim(CONTAINERS, block).is_some());
    }
}
