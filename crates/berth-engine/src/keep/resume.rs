//! Taking over what a daemon before has left.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use berth_image::ImageStore;
use berth_jail::{Disk, IdRange, Sandbox, Survivor, Survivors, Zygote};
use berth_net::{Network, NetworkOptions, NetworkRecord};
use tokio::sync::oneshot;

use super::memo::Memo;
use super::record::Record;
use super::{IDS, IMAGES, Keeper, MEMOS, OUTPUT};
use crate::actor::{self, Adopted, Handle, Home, Prepared, Shared};
use crate::boost::{settle, startup_limits};
use crate::commit::Origin;
use crate::engine::{Engine, make_empty};
use crate::launch::JailLauncher;
use crate::log::{Capture, LogStore};
use crate::mounts::Mounted;
use crate::prepare::{self, Means};
use crate::{ContainerInfo, EngineConfig, EngineError};

/// A running container of a daemon before, of which everything is there. Dropped, it is neither ended nor
/// watched: hand it to [`Engine::adopt`] or [`Engine::end_kept`].
#[derive(Debug)]
pub struct Kept {
    record: Record,
    sandbox: Sandbox,
    network: Arc<Network>,
    output: [OwnedFd; 2],
    memos: (Memo, Memo),
    ids: IdRange,
    /// So long the images are held as the daemon before held them.
    _images: Arc<Vec<OwnedFd>>,
}

impl Kept {
    /// How it stood when it was written down last.
    pub fn info(&self) -> &ContainerInfo {
        &self.record.now.info
    }

    /// See [`crate::ContainerSpec::companion`].
    pub fn companion(&self) -> &serde_json::Value {
        &self.record.fixed.companion
    }

    /// The network that it joined.
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }
}

/// A container of a daemon before that was ended, because it could not be taken over.
#[derive(Clone, Debug)]
pub struct Lost {
    /// What a person knows it as, if that is known.
    pub display_name: Option<String>,
    /// Unique name, if that is known.
    pub name: Option<String>,
    /// Why.
    pub reason: String,
}

/// An engine that goes on where a daemon before was.
#[derive(Debug)]
pub struct Resumed {
    /// The engine. It has no container yet.
    pub engine: Engine,
    /// What is to be adopted.
    pub kept: Vec<Kept>,
    /// What was ended.
    pub lost: Vec<Lost>,
}

impl Engine {
    /// Opens an engine on the state directory of a daemon before, with what that has left. What cannot be
    /// taken over is ended; on return nothing is left of it.
    ///
    /// # Errors
    /// [`EngineError::File`]; nothing has been ended then.
    pub async fn resume(
        config: EngineConfig,
        images: ImageStore,
        zygote: Zygote,
        survivors: Survivors,
        networks: &NetworkOptions,
    ) -> Result<Resumed, EngineError> {
        let means = Self::means(config, images, zygote).await?;
        let mut images = Arc::default();
        for (name, fds) in survivors.deposits {
            if name == IMAGES {
                images = Arc::new(fds);
            } else if name.starts_with(IDS) {
                for claim in fds {
                    means.ids.adopt(claim);
                }
            }
        }
        let (mut kept, mut lost) = (Vec::new(), Vec::new());
        for survivor in survivors.sandboxes {
            let sandbox = survivor.sandbox.clone();
            if survivor.deposits.is_empty() && sandbox.exit_status().is_some() {
                // Nobody had heard that it was started.
                sandbox.acknowledge().await;
                continue;
            }
            match take(&means, survivor, networks, &images) {
                Ok(found) => kept.push(found),
                Err(one) => {
                    end(&sandbox).await;
                    lost.push(one);
                }
            }
        }
        let whose: HashMap<&str, &Kept> = kept
            .iter()
            .map(|one| (one.info().id.as_str(), one))
            .collect();
        empty_but(&means.containers_dir(), |id| whose.contains_key(id)).await?;
        let engine = Self::with(means).await?;
        Ok(Resumed { engine, kept, lost })
    }

    /// Takes a container over. If that fails it is ended, and nothing is left of it.
    ///
    /// # Errors
    /// [`EngineError::NameInUse`], or what of it could not be had.
    pub async fn adopt(&self, kept: Kept) -> Result<ContainerInfo, EngineError> {
        let (sandbox, dir) = (kept.sandbox.clone(), self.directory(&kept));
        let adopted = self.try_adopt(kept).await;
        if adopted.is_err() {
            end(&sandbox).await;
            remove(dir).await;
        }
        adopted
    }

    /// Ends a container that is not to be taken over.
    pub async fn end_kept(&self, kept: Kept) {
        end(&kept.sandbox).await;
        remove(self.directory(&kept)).await;
    }

    fn directory(&self, kept: &Kept) -> PathBuf {
        self.shared_means().containers_dir().join(&kept.info().id)
    }

    async fn try_adopt(&self, kept: Kept) -> Result<ContainerInfo, EngineError> {
        let info = kept.info();
        let (handle, mailbox) = Handle::new(info.id.clone(), info.name.clone());
        let shared = Arc::clone(handle.shared());
        // The handle is new: these are the first values.
        let _ = shared.network.set(Arc::clone(&kept.network));
        let _ = shared.carried_before.set(kept.record.carried_before());
        shared
            .trusts_ca
            .store(kept.record.now.trusts_ca, Ordering::Relaxed);
        let lease = self.table().claim(&info.name, &handle)?;
        drop(handle);
        let sandbox = kept.sandbox.clone();
        if sandbox.is_frozen() {
            // Why it was is not known any more.
            let _ = sandbox.freeze(false).await;
        }
        let means = Arc::clone(self.shared_means());
        let events = means.events.clone();
        let own = kept.info().limits;
        if startup_limits(own, means.config.startup_cpu_milli).cpu_milli != own.cpu_milli {
            tokio::spawn(settle(sandbox, own));
        }
        let (created, answer) = oneshot::channel();
        let name = kept.info().name.clone();
        let for_prepare = Arc::clone(&shared);
        let prepared =
            tokio::task::spawn_blocking(move || prepare_again(&means, &for_prepare, kept)).await;
        let (prepared, adopted) = prepared.unwrap_or_else(|error| {
            Err(EngineError::Kernel {
                step: "take everything over",
                name,
                source: error.into(),
            })
        })?;
        let place = (shared, mailbox, lease, events);
        tokio::spawn(actor::adopt(place, prepared, adopted, created));
        answer.await.unwrap_or(Err(EngineError::ShuttingDown))
    }
}

/// What of a survivor must be there at once.
fn take(
    means: &Means,
    survivor: Survivor,
    networks: &NetworkOptions,
    images: &Arc<Vec<OwnedFd>>,
) -> Result<Kept, Lost> {
    let Survivor {
        sandbox,
        mut deposits,
    } = survivor;
    let unknown = |reason: &str| Lost {
        display_name: None,
        name: None,
        reason: reason.to_owned(),
    };
    let memos: Option<[OwnedFd; 2]> = deposits.remove(MEMOS).and_then(|fds| fds.try_into().ok());
    let [of_container, of_network] = memos.ok_or_else(|| unknown("there is no record of it"))?;
    let opened = Memo::open::<Record>(of_container);
    let (of_container, record) = opened.map_err(|error| {
        let error = format!("its record cannot be read: {error}");
        unknown(&error)
    })?;
    let because = |reason: String| Lost {
        display_name: Some(record.now.info.display_name.clone()),
        name: Some(record.now.info.name.clone()),
        reason,
    };
    if !record.is_ours() || record.sandbox_id() != sandbox.id() {
        return Err(because("its record is another version's".to_owned()));
    }
    let dir = means.containers_dir().join(&record.now.info.id);
    if !is_plain(&record.now.info.id) || !dir.is_dir() {
        return Err(because("its directory is gone".to_owned()));
    }
    let output: Option<[OwnedFd; 2]> = deposits.remove(OUTPUT).and_then(|fds| fds.try_into().ok());
    let output = output.ok_or_else(|| because("its output is missing".to_owned()))?;
    let opened = Memo::open::<NetworkRecord>(of_network);
    let (of_network, of) = opened
        .map_err(|error| because(format!("the record of its network cannot be read: {error}")))?;
    let network = Network::adopt(&mut deposits, &of, networks.clone());
    let network = network.map_err(|error| because(berth_error::chain(&error)))?;
    let ids = means.ids.take_at(record.fixed.sandbox.id_base);
    let ids = ids.ok_or_else(|| because("its user ids are not ours any more".to_owned()))?;
    Ok(Kept {
        sandbox,
        network,
        output,
        memos: (of_container, of_network),
        ids,
        record,
        _images: Arc::clone(images),
    })
}

/// As the name of a directory: 64 hex digits.
fn is_plain(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Everything that [`prepare::prepare`] would have made. Blocks.
fn prepare_again(
    means: &Means,
    shared: &Arc<Shared>,
    kept: Kept,
) -> Result<(Prepared<JailLauncher>, Adopted<Sandbox>), EngineError> {
    let Record { fixed, now, .. } = kept.record;
    let info = now.info;
    let image = prepare::resolve(&means.images, &info.image_id)?;
    let in_use = prepare::in_use(&means.images, &image, &info.image, &info.display_name)?;
    let mounted = Mounted::resume(&means.volumes, &fixed.volumes)?;
    let dir = means.containers_dir().join(&info.id);
    let kernel = |step: &'static str| {
        let name = info.name.clone();
        move |source| EngineError::Kernel { step, name, source }
    };
    let disk = if fixed.disk {
        let disk = Disk::open(&dir.join("disk")).map_err(kernel("open the disk"))?;
        Some(Arc::new(disk))
    } else {
        None
    };
    let log = LogStore::open(dir.clone(), means.config.log_bytes);
    let log = log.map_err(kernel("open the log"))?;
    let sink = prepare::sink(means, shared, log, &info.display_name);
    let keeper = Keeper::with(fixed.clone(), &kept.network, kept.memos.0, kept.memos.1);
    let keeper = keeper.map_err(kernel("keep the records"))?;
    let capture = Capture::resume(sink.clone(), kept.output).map_err(kernel("read the output"))?;
    let origin = Origin::new(fixed.origin, image, in_use);
    // The only place that sets it, once per container.
    let _ = shared.origin.set(Arc::new(origin));
    let home = Home {
        dir,
        trash: means.trash_dir(),
        deletions: means.deletions.clone(),
        disk,
    };
    let launcher = JailLauncher {
        keepsakes: Some(keeper.keepsakes()),
        claims: means.claims.clone(),
        name: info.name.clone(),
        zygote: means.zygote.clone(),
        network: kept.network,
        sandbox: fixed.sandbox,
        disk: home.disk.as_ref().map(Arc::downgrade),
        startup_cpu_milli: means.config.startup_cpu_milli,
        ids: kept.ids,
        mounted,
        shared: Arc::clone(shared),
    };
    let prepared = Prepared {
        launcher,
        process: fixed.process,
        info,
        home,
        sink,
        slots: means.slots.clone(),
        sleep: fixed.sleep,
        criu: means.config.criu.clone(),
        keeper: Some(keeper),
    };
    let adopted = Adopted {
        guest: kept.sandbox,
        capture,
        launches: now.launches,
        past: now.past,
        kill_at_ms: now.kill_at_ms,
    };
    Ok((prepared, adopted))
}

async fn end(sandbox: &Sandbox) {
    if let Err(error) = sandbox.kill_all().await {
        tracing::error!(%error, sandbox = sandbox.id(), "cannot end a container that is not taken over");
    }
    sandbox.acknowledge().await;
}

async fn remove(dir: PathBuf) {
    if let Err(error) = fs_err::tokio::remove_dir_all(dir).await {
        tracing::warn!(%error, "the directory of a container that was ended stays behind");
    }
}

/// Removes what is in a directory, but for what is kept.
async fn empty_but(dir: &Path, is_kept: impl Fn(&str) -> bool) -> Result<(), EngineError> {
    let mut entries = match tokio::fs::read_dir(dir).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return make_empty(dir).await;
        }
        other => other.map_err(file_error("read", dir))?,
    };
    while let Some(entry) = entries
        .next_entry()
        .await
        .map_err(file_error("read", dir))?
    {
        let name = entry.file_name();
        if !name.to_str().is_some_and(&is_kept) {
            let path = entry.path();
            let removed = tokio::fs::remove_dir_all(&path).await;
            removed.map_err(file_error("delete", &path))?;
        }
    }
    Ok(())
}

fn file_error(
    step: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> EngineError + use<> {
    let path = path.to_owned();
    move |source| EngineError::File { step, path, source }
}
