//! Work in a container's root while nobody starts or removes the container.
//!
//! The actor gives a [`Visit`] away when a container is created, runs or has exited; a start and the
//! final cleaning wait until all visits have ended, and a removal asks them to end
//! ([`Gate::gone`]). Two visits never mount the same writable layer at the same time: those of a
//! container without processes exclude all others.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use berth_jail::{ContainerRoot, Disk, JailError, Mount, Rootfs, Sandbox, with_root};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio_util::sync::CancellationToken;

use crate::EngineError;
use crate::archive::Place;

/// What a container's root is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) rootfs: Rootfs,
    pub(crate) mounts: Vec<Mount>,
    /// The writable layer if it has a limit; the actor keeps it.
    pub(crate) disk: Option<Weak<Disk>>,
    pub(crate) id_base: u32,
}

impl Parts {
    fn disk(&self) -> std::io::Result<Option<Arc<Disk>>> {
        match &self.disk {
            None => Ok(None),
            Some(disk) => Ok(Some(disk.upgrade().ok_or(std::io::ErrorKind::NotFound)?)),
        }
    }

    /// The writable layer, and what must live as long as its path is used.
    pub(crate) fn upper(&self) -> std::io::Result<(PathBuf, Option<Arc<Disk>>)> {
        let disk = self.disk()?;
        let upper = match &disk {
            Some(disk) => disk.upper(),
            None => self.rootfs.upper.clone(),
        };
        Ok((upper, disk))
    }
}

/// The locks of one container.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    /// Shared by visits; exclusive for a start and for the cleaning.
    visits: Arc<RwLock<()>>,
    /// Shared by visits of a running container; exclusive for others.
    layer: Arc<RwLock<()>>,
    gone: CancellationToken,
}

impl Gate {
    /// Waits until no visit is under way. To be asked only when the actor gives none away.
    pub(crate) async fn close(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.visits).write_owned().await
    }

    /// Resolves when visits are asked to end.
    pub(crate) fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    /// Asks visits to end.
    pub(crate) fn hurry(&self) {
        self.gone.cancel();
    }

    /// A visit; `None` while somebody waits in [`Gate::close`].
    pub(crate) fn enter(
        &self,
        name: &str,
        parts: Arc<Parts>,
        sandbox: Option<Sandbox>,
    ) -> Option<Visit> {
        let inside = Arc::clone(&self.visits).try_read_owned().ok()?;
        Some(Visit {
            name: name.to_owned(),
            parts,
            sandbox,
            layer: Arc::clone(&self.layer),
            gone: self.gone.clone(),
            _inside: inside,
        })
    }
}

/// The right to work in a container's root.
#[derive(Debug)]
pub(crate) struct Visit {
    name: String,
    pub(crate) parts: Arc<Parts>,
    /// `None`: the container has no processes.
    pub(crate) sandbox: Option<Sandbox>,
    layer: Arc<RwLock<()>>,
    gone: CancellationToken,
    _inside: OwnedRwLockReadGuard<()>,
}

/// See [`Gate::layer`]; only held.
#[derive(Debug)]
enum LayerLock {
    Shared { _guard: OwnedRwLockReadGuard<()> },
    Exclusive { _guard: OwnedRwLockWriteGuard<()> },
}

/// A visit whose turn it is.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) visit: Visit,
    _lock: LayerLock,
}

impl Visit {
    /// Waits until no other visit is in the way.
    pub(crate) async fn turn(self) -> Result<Turn, EngineError> {
        let layer = Arc::clone(&self.layer);
        let running = self.sandbox.is_some();
        let lock = async move {
            if running {
                let _guard = layer.read_owned().await;
                LayerLock::Shared { _guard }
            } else {
                let _guard = layer.write_owned().await;
                LayerLock::Exclusive { _guard }
            }
        };
        tokio::select! {
            () = self.gone.cancelled() => Err(EngineError::BeingRemoved(self.name)),
            lock = lock => Ok(Turn { visit: self, _lock: lock }),
        }
    }
}

impl Turn {
    /// Runs `work` in the root. Blocks. Gives `work` back when the container has ended before it
    /// could begin.
    pub(crate) fn run<T: Send, W: FnOnce(Place) -> T + Send>(
        &self,
        work: W,
    ) -> Result<T, Failed<W>> {
        let parts = &self.visit.parts;
        let disk = parts.disk().map_err(|source| {
            Failed::Other(EngineError::Kernel {
                step: "find the disk",
                name: self.visit.name.clone(),
                source,
            })
        })?;
        let container = match &self.visit.sandbox {
            Some(sandbox) => ContainerRoot::Running {
                sandbox,
                id_base: parts.id_base,
            },
            None => ContainerRoot::Stopped {
                rootfs: &parts.rootfs,
                mounts: &parts.mounts,
                disk: disk.as_deref(),
            },
        };
        let mut work = Some(work);
        let visited = with_root(&container, |root, id_base| {
            work.take().map(|work| work(Place::new(root, id_base)))
        });
        match (visited, work) {
            (Ok(Some(result)), _) => Ok(result),
            (Err(JailError::Gone), Some(work)) => Err(Failed::Ended(work)),
            (Err(source), _) => Err(Failed::Other(EngineError::Jail {
                step: "look into",
                name: self.visit.name.clone(),
                source,
            })),
            (Ok(None), _) => Err(Failed::Other(EngineError::ShuttingDown)),
        }
    }
}

/// Why a visit did not take place.
pub(crate) enum Failed<W> {
    /// The container has ended meanwhile: it can be visited as a stopped one.
    Ended(W),
    Other(EngineError),
}
