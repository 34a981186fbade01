//! The engine of one session: finds the actor that a call is for, and makes new ones.
//!
//! Holds no container state itself; that is the actors'. All it owns is the table of names.

mod connect;
mod files;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use berth_image::ImageStore;
use berth_jail::{ExitStatus, IdAllocator, Zygote};
use futures_util::future::join_all;
use tokio::net::TcpStream;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::activity::Connected;
use crate::actor::{self, Handle};
use crate::disks::Disks;
use crate::keep::{self, Claims};
use crate::prepare::{self, Means};
use crate::slots::Slots;
use crate::table::Table;
use crate::volumes::Volumes;
use crate::{
    ContainerInfo, ContainerSpec, EngineConfig, EngineError, Event, Exec, ExecSpec, LogLine,
    Metered,
};

/// Events kept for a listener that lags.
pub(crate) const EVENTS_KEPT: usize = 1024;

/// From this many unread events on lines are left out, so that they cannot push out the rest.
pub(crate) const EVENTS_FOR_LINES: usize = EVENTS_KEPT / 4 * 3;

/// A connection into a container.
#[derive(Debug)]
pub struct Tunnel {
    /// The connection.
    pub stream: TcpStream,
    /// To be told what moves on it, and dropped with it: it decides whether the container may sleep.
    pub traffic: Connected,
}

/// What connections to a container have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Somebody has tried.
    pub wanted: bool,
    /// The last one found the port closed.
    pub refused: bool,
}

/// The engine of one session. Cheap to clone. Every call is finished even if its caller goes away.
///
/// A `name` is a container's name, its id, or a prefix of its id that fits only one.
#[derive(Clone, Debug)]
pub struct Engine {
    means: Arc<Means>,
    table: Arc<Table>,
}

impl Engine {
    /// Opens an engine on a state directory of its own, which it empties: nothing in there outlives
    /// a session.
    ///
    /// # Errors
    /// [`EngineError::File`].
    pub async fn open(
        config: EngineConfig,
        images: ImageStore,
        zygote: Zygote,
    ) -> Result<Self, EngineError> {
        let means = Self::means(config, images, zygote).await?;
        make_empty(&means.containers_dir()).await?;
        Self::with(means).await
    }

    pub(crate) async fn means(
        config: EngineConfig,
        images: ImageStore,
        zygote: Zygote,
    ) -> Result<Means, EngineError> {
        let deletions = TaskTracker::new();
        let volumes = open_volumes(&images, config.state_dir.clone()).await?;
        let disks = Disks::new(config.state_dir.join("disks"), deletions.clone());
        let ids = IdAllocator::default();
        Ok(Means {
            volumes,
            config: Arc::new(config),
            images,
            zygote,
            claims: Claims::new(ids.clone()),
            ids,
            events: broadcast::Sender::new(EVENTS_KEPT),
            slots: Slots::default(),
            disks,
            deletions,
        })
    }

    /// With everything that is no container's made anew.
    pub(crate) async fn with(means: Means) -> Result<Self, EngineError> {
        let disks = means.config.state_dir.join("disks");
        for dir in [means.trash_dir(), disks] {
            make_empty(&dir).await?;
        }
        keep::leave_images(&means).await?;
        Ok(Self {
            means: Arc::new(means),
            table: Arc::default(),
        })
    }

    /// Makes writable layers of this size ahead, so that the first container finds one.
    pub fn expect_disks(&self, bytes: u64) {
        self.means.disks.make_ahead(bytes);
    }

    /// The images that containers are made from.
    pub fn images(&self) -> &ImageStore {
        &self.means.images
    }

    /// Registers a container and prepares everything that can be made before its start.
    ///
    /// # Errors
    /// [`EngineError::NameInUse`], [`EngineError::NoSuchImage`], [`EngineError::NoCommand`],
    /// [`EngineError::InvalidHost`], or what failed; nothing is left of it then.
    pub async fn create(&self, spec: ContainerSpec) -> Result<ContainerInfo, EngineError> {
        let (name, display_name) = (spec.name.clone(), spec.display_name.clone());
        let outcome = self.register(spec).await;
        if let Err(error) = &outcome
            && !matches!(error, EngineError::NameInUse(_))
        {
            // The caller is workerd, which tells the user no more than that it failed.
            let reason = berth_error::chain(error);
            let _ = self.means.events.send(Event::CreateFailed {
                name,
                display_name,
                full: false,
                reason,
            });
        }
        outcome
    }

    async fn register(&self, spec: ContainerSpec) -> Result<ContainerInfo, EngineError> {
        prepare::check(&spec)?;
        let id = new_id();
        let name = spec.name.clone();
        let (handle, mailbox) = Handle::new(id, name.clone());
        // The handle is new: this is the first value.
        let _ = handle.shared().network.set(Arc::clone(&spec.network));
        let _ = handle.shared().carried_before.set(spec.network.usage());
        let lease = self.table.claim(&name, &handle)?;
        let shared = Arc::clone(handle.shared());
        drop(handle);
        let (means, for_prepare) = (Arc::clone(&self.means), Arc::clone(&shared));
        let events = means.events.clone();
        let prepare = async move {
            tokio::task::spawn_blocking(move || prepare::prepare(&means, &for_prepare, spec))
                .await
                .unwrap_or_else(|error| {
                    Err(EngineError::Kernel {
                        step: "prepare everything",
                        name,
                        source: error.into(),
                    })
                })
        };
        let (created, answer) = oneshot::channel();
        tokio::spawn(actor::run(shared, mailbox, lease, events, prepare, created));
        answer.await.unwrap_or(Err(EngineError::ShuttingDown))
    }

    /// Starts a container; returns when its first process has been exec'ed. A container that has
    /// exited may be started again and finds what it wrote.
    ///
    /// # Errors
    /// [`EngineError::AlreadyRunning`], [`EngineError::Start`], [`EngineError::BeingRemoved`].
    pub async fn start(&self, name: &str) -> Result<(), EngineError> {
        self.find(name)?.start().await
    }

    /// The stored exit, or the next one: of a container that was never started, that of its first
    /// start. A container that is removed before it ends by itself answers 137.
    ///
    /// # Errors
    /// [`EngineError::NoSuchContainer`].
    pub async fn wait(&self, name: &str) -> Result<ExitStatus, EngineError> {
        self.find(name)?.wait().await
    }

    /// Resolves when the container is gone and its name is free.
    ///
    /// # Errors
    /// [`EngineError::NoSuchContainer`] if there is none at the time of the call.
    pub async fn wait_removed(&self, name: &str) -> Result<(), EngineError> {
        let handle = self.find(name)?;
        handle.gone().await;
        Ok(())
    }

    /// Signals the first process.
    ///
    /// # Errors
    /// [`EngineError::NotRunning`].
    pub async fn kill(&self, name: &str, signal: i32) -> Result<(), EngineError> {
        self.find(name)?.kill(signal, false).await
    }

    /// Signals the first process and, if it still lives after [`crate::Policy::stop_grace`], kills
    /// everything. Returns when the signal was sent.
    ///
    /// # Errors
    /// [`EngineError::NotRunning`].
    pub async fn ask_to_end(&self, name: &str, signal: i32) -> Result<(), EngineError> {
        self.find(name)?.kill(signal, true).await
    }

    /// Tells who listens to events that a container was not even made, for want of room.
    pub fn tell_refused(&self, name: &str, display_name: String, reason: String) {
        // An error means that nobody listens.
        let _ = self.means.events.send(Event::CreateFailed {
            name: name.to_owned(),
            display_name,
            full: true,
            reason,
        });
    }

    /// Sets how much running instances may be given together. What runs, runs on.
    pub fn set_total_limits(&self, most: crate::TotalLimits) {
        self.means.slots.set_total(most);
    }

    /// Whether one more instance with these resources may start right now.
    ///
    /// # Errors
    /// [`EngineError::NoInstance`], [`EngineError::NoTotal`].
    pub fn check_room(
        &self,
        display_name: &str,
        limit: &crate::InstanceLimit,
        limits: Option<&berth_jail::Limits>,
    ) -> Result<(), EngineError> {
        let limits = limits.unwrap_or(&self.means.config.default_limits);
        let room = self.means.slots.check(limit, limits);
        room.map_err(|full| full.error(display_name))
    }

    /// Bytes of disk that a container's writable layer takes; `None`: it has none of its own. Wakes nobody.
    pub fn disk_bytes(&self, name: &str) -> Option<u64> {
        use std::os::unix::fs::MetadataExt as _;
        let handle = self.table.find(name)?;
        let directory = self.means.config.state_dir.join("containers");
        let disk = directory.join(handle.id()).join("disk");
        Some(std::fs::metadata(disk).ok()?.blocks() * 512)
    }

    /// The image's stop signal (SIGTERM unless it says otherwise), then SIGKILL after `grace`. The stored exit if it has ended before.
    ///
    /// # Errors
    /// [`EngineError::NotRunning`] if it was never started.
    pub async fn stop(&self, name: &str, grace: Duration) -> Result<ExitStatus, EngineError> {
        self.find(name)?.stop(grace).await
    }

    /// Ends it like [`Engine::stop`], for another container of the same name to take its place: whoever connects
    /// meanwhile is held for that one, and what it has on the way has a moment to be done.
    ///
    /// # Errors
    /// As [`Engine::stop`].
    pub async fn retire(&self, name: &str, grace: Duration) -> Result<ExitStatus, EngineError> {
        let handle = self.find(name)?;
        self.table.retire(name);
        let activity = &handle.shared().activity;
        activity.retire();
        // What takes longer is the program's to finish.
        let _ = tokio::time::timeout(connect::LAST_ANSWERS, activity.at_rest()).await;
        handle.stop(grace).await
    }

    /// Kills (with `force`) and removes; pending `wait`s answer 137. The name is free when this
    /// returns. Removing a container that is being removed waits for that.
    ///
    /// # Errors
    /// [`EngineError::StillRunning`] without `force`; [`EngineError::NoSuchContainer`].
    pub async fn remove(&self, name: &str, force: bool) -> Result<(), EngineError> {
        self.find(name)?.remove(force).await
    }

    /// The latest snapshot.
    pub fn inspect(&self, name: &str) -> Option<ContainerInfo> {
        self.table.find(name)?.info()
    }

    /// All containers, oldest first.
    pub fn list(&self) -> Vec<ContainerInfo> {
        let handles = self.table.all();
        let mut list: Vec<ContainerInfo> = handles.iter().filter_map(Handle::info).collect();
        list.sort_by_key(|info| info.created_ms);
        list
    }

    /// Executes another process in a running container. If the caller goes away before it has the
    /// process, the process is killed.
    ///
    /// # Errors
    /// [`EngineError::NotRunning`], [`EngineError::Exec`].
    pub async fn exec(&self, name: &str, spec: ExecSpec) -> Result<Exec, EngineError> {
        self.find(name)?.exec(spec).await
    }

    /// The kept log, then (with `follow`) new lines until the container is gone. Drop the receiver
    /// to stop.
    ///
    /// # Errors
    /// [`EngineError::NoSuchContainer`].
    pub async fn logs(
        &self,
        name: &str,
        follow: bool,
    ) -> Result<mpsc::Receiver<LogLine>, EngineError> {
        let handle = self.find(name)?;
        match handle.shared().log.get() {
            Some(log) => Ok(log.read(follow)),
            None => Err(EngineError::NoSuchContainer(name.to_owned())),
        }
    }

    /// Whether somebody has tried to connect to a container, and whether the last one found its port
    /// closed; `None`: there is none.
    pub fn reached(&self, name: &str) -> Option<Reached> {
        let handle = self.table.find(name)?;
        let reach = &handle.shared().reach;
        Some(Reached {
            wanted: reach.wanted.load(Ordering::Relaxed),
            refused: reach.refused.load(Ordering::Relaxed),
        })
    }

    /// Freezes a container until [`Engine::unpause`], a signal or its end.
    ///
    /// # Errors
    /// [`EngineError::NotRunning`], [`EngineError::Paused`], or the kernel's refusal.
    pub async fn pause(&self, name: &str) -> Result<(), EngineError> {
        self.find(name)?.pause().await
    }

    /// Ends a pause; returns when the container runs.
    ///
    /// # Errors
    /// [`EngineError::NotRunning`], [`EngineError::NotPaused`].
    pub async fn unpause(&self, name: &str) -> Result<(), EngineError> {
        self.find(name)?.unpause().await
    }

    /// What a container uses and has used; `None`: there is none. Wakes nobody.
    pub fn metered(&self, name: &str) -> Option<Metered> {
        let handle = self.table.find(name)?;
        Some(handle.shared().metered())
    }

    /// What happens from now on. A listener that lags loses lines first, other events last.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.means.events.subscribe()
    }

    /// Kills and removes every container, at the same time; no new one can be created. The zygote
    /// is the caller's and stays.
    pub async fn shutdown(&self) {
        let handles = self.table.close();
        for result in join_all(handles.iter().map(|handle| handle.remove(true))).await {
            if let Err(error) = result {
                tracing::error!(%error, "cannot remove a container at shutdown");
            }
        }
        self.means.deletions.close();
        self.means.deletions.wait().await;
        let (disks, volumes) = (self.means.disks.clone(), self.means.volumes.clone());
        let cleared = move || {
            disks.clear();
            if let Err(error) = volumes.end_session() {
                tracing::warn!(%error, "the session's volumes stay behind");
            }
        };
        // It does not panic.
        let _ = tokio::task::spawn_blocking(cleared).await;
    }

    pub(crate) fn shared_means(&self) -> &Arc<Means> {
        &self.means
    }

    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    fn find(&self, name: &str) -> Result<Handle, EngineError> {
        self.table
            .find(name)
            .ok_or_else(|| EngineError::NoSuchContainer(name.to_owned()))
    }
}

/// Volumes are beside the images: for every session of the machine.
async fn open_volumes(images: &ImageStore, session: PathBuf) -> Result<Volumes, EngineError> {
    let root = images.root().join("volumes");
    let opened = tokio::task::spawn_blocking(move || Volumes::open(&root, &session)).await;
    opened.unwrap_or(Err(EngineError::ShuttingDown))
}

/// 64 hex digits, as Docker's ids.
fn new_id() -> String {
    let words: [u128; 2] = rand::random();
    format!("{:032x}{:032x}", words[0], words[1])
}

pub(crate) async fn make_empty(dir: &Path) -> Result<(), EngineError> {
    let failed = |step: &'static str| {
        let path = dir.to_owned();
        move |source| EngineError::File { step, path, source }
    };
    match tokio::fs::remove_dir_all(dir).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed("empty")(error));
        }
        _ => {}
    }
    tokio::fs::create_dir_all(dir)
        .await
        .map_err(failed("create"))
}
