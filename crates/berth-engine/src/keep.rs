//! What a daemon leaves with the zygote so that the next one takes its running containers over.
//!
//! Of each running container the zygote has, besides the process: its output's reading ends, its network
//! (`berth_net::Network::descriptors`), and two [`Memo`]s in memory: a [`Record`] of the container, written by
//! its actor, and the network's, written whenever that changes. So nothing of it is on a disk: the environment
//! and the key of a certificate authority may be secrets. All of it goes when the end of the process is
//! acknowledged.
//!
//! Invariant: a container of which any of that is missing, or cannot be read, is not taken over but ended.

pub(crate) mod memo;
pub(crate) mod record;
pub(crate) mod resume;

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use berth_jail::{IdAllocator, JailError, Sandbox, Zygote};
use berth_net::{Network, NetworkRecord};

use crate::EngineError;
use crate::prepare::Means;
use memo::Memo;
use record::{Fixed, Record};

/// Name of a deposit: reading ends of standard output and standard error.
const OUTPUT: &str = "output";
/// Name of a deposit: the container's memo, the network's.
const MEMOS: &str = "memos";

/// Start of the names of deposits of no container: blocks of user ids.
const IDS: &str = "ids-";
/// Name of a deposit of no container: what keeps images from being collected.
const IMAGES: &str = "images";

/// The claims of user ids of one engine, as far as they have been left with the zygote. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    ids: IdAllocator,
    left: Arc<tokio::sync::Mutex<usize>>,
}

impl Claims {
    pub(crate) fn new(ids: IdAllocator) -> Self {
        let left = Arc::default();
        Self { ids, left }
    }

    /// Leaves those that are new.
    pub(crate) async fn leave(&self, zygote: &Zygote) -> Result<(), JailError> {
        let mut left = self.left.lock().await;
        let claims = self.ids.claims();
        let claims = claims.map_err(|source| JailError::Setup {
            step: "copy the claims of user ids".to_owned(),
            source,
        })?;
        for (number, claim) in claims.iter().enumerate().skip(*left) {
            let name = format!("{IDS}{number}");
            zygote.deposit(name, &[claim.as_fd()]).await?;
            *left = number + 1;
        }
        Ok(())
    }
}

/// Leaves with the zygote what keeps the images of containers from being collected.
pub(crate) async fn leave_images(means: &Means) -> Result<(), EngineError> {
    let failed = |source| EngineError::Jail {
        step: "keep the images of",
        name: "this session".to_owned(),
        source,
    };
    if !means.zygote.keeps() {
        return Ok(());
    }
    let lease = means.images.lease_descriptor();
    let lease = lease.map_err(|source| EngineError::Image {
        reference: "of this session".to_owned(),
        source,
    })?;
    let left = means.zygote.deposit(IMAGES, &[lease.as_fd()]).await;
    left.map_err(failed)
}

/// The memos of one container.
#[derive(Debug)]
pub(crate) struct Keeper {
    fixed: Fixed,
    container: Memo,
    memos: Arc<[OwnedFd; 2]>,
}

/// What the launcher leaves with each sandbox.
#[derive(Clone, Debug)]
pub(crate) struct Keepsakes {
    memos: Arc<[OwnedFd; 2]>,
}

impl Keeper {
    /// New memos, for a container that joins this network.
    pub(crate) fn new(fixed: Fixed, network: &Network) -> io::Result<Self> {
        Self::with(fixed, network, Memo::new()?, Memo::new()?)
    }

    /// With the memos that a daemon before has left.
    pub(crate) fn with(
        fixed: Fixed,
        network: &Network,
        container: Memo,
        of_network: Memo,
    ) -> io::Result<Self> {
        let memos = [container.descriptor()?, of_network.descriptor()?];
        let of_network = Mutex::new(of_network);
        network.on_change(move |record: &NetworkRecord| {
            let mut memo = of_network.lock().unwrap_or_else(PoisonError::into_inner);
            memo.write(record);
        });
        Ok(Self {
            fixed,
            container,
            memos: Arc::new(memos),
        })
    }

    pub(crate) fn keepsakes(&self) -> Keepsakes {
        let memos = Arc::clone(&self.memos);
        Keepsakes { memos }
    }

    /// Writes down how the container stands.
    pub(crate) fn write(&mut self, now: record::Now) {
        let record = Record::new(self.fixed.clone(), now);
        self.container.write(&record);
    }
}

impl Keepsakes {
    /// Leaves everything with the sandbox.
    pub(crate) async fn leave(
        &self,
        sandbox: &Sandbox,
        network: &Network,
        output: &[OwnedFd; 2],
    ) -> Result<(), JailError> {
        let copied = network.descriptors();
        let failed = |source| JailError::Setup {
            step: "copy a network's descriptors".to_owned(),
            source,
        };
        for (name, fds) in copied.map_err(failed)? {
            let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
            sandbox.deposit(name, &fds).await?;
        }
        let output = [output[0].as_fd(), output[1].as_fd()];
        sandbox.deposit(OUTPUT, &output).await?;
        let memos = [self.memos[0].as_fd(), self.memos[1].as_fd()];
        // Last: without it the rest is nothing.
        sandbox.deposit(MEMOS, &memos).await
    }
}
