//! Everything of a container that can be made before it is started.
//!
//! Blocking (small reads and `mkdir`s); the actor runs it on the blocking pool. On an error nothing
//! of the container is left.
//!
//! ```text
//! <state_dir>/containers/<id>/disk     writable layer with a limit: see berth_jail::Disk
//!                            /upper    writable layer without one, ids as inside
//!                            /work     overlayfs' own of that
//!                            /log.<n>  see log/store.rs
//! <state_dir>/disks/                   disks made ahead
//! <state_dir>/trash/<id>               removed, being deleted
//! ```

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use berth_image::{Hold, Image, ImageStore};
use berth_jail::{
    DEFAULT_CAPABILITIES, IdAllocator, Limits, ProcessSpec, Rootfs, SandboxExtras, SandboxSpec,
    Zygote,
};
use berth_net::Network;
use tokio::sync::broadcast;
use tokio_util::task::TaskTracker;

use crate::actor::{Home, Prepared, Shared};
use crate::commit::{Origin, OriginRecord};
use crate::disks::Disks;
use crate::files::{engine_files, is_plain_word};
use crate::keep::record::Fixed;
use crate::keep::{Claims, Keeper};
use crate::launch::JailLauncher;
use crate::log::{LogStore, Sink, now_ms};
use crate::mounts::{Mounted, check as check_mounts};
use crate::process::{Effective, effective};
use crate::slots::Slots;
use crate::volumes::Volumes;
use crate::{
    ContainerInfo, ContainerSpec, EngineConfig, EngineError, Event, Policy, Status, Timings,
};

/// Docker's `/dev/shm`.
const SHM_BYTES: u64 = 64 << 20;

/// Digits of the id that name the sandbox (and its cgroups).
const SANDBOX_ID_DIGITS: usize = 12;

/// What the engine lends to every container.
#[derive(Clone, Debug)]
pub(crate) struct Means {
    pub(crate) config: Arc<EngineConfig>,
    pub(crate) images: ImageStore,
    pub(crate) zygote: Zygote,
    pub(crate) ids: IdAllocator,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) deletions: TaskTracker,
    pub(crate) disks: Disks,
    pub(crate) slots: Slots,
    pub(crate) volumes: Volumes,
    pub(crate) claims: Claims,
}

impl Means {
    pub(crate) fn containers_dir(&self) -> PathBuf {
        self.config.state_dir.join("containers")
    }

    pub(crate) fn trash_dir(&self) -> PathBuf {
        self.config.state_dir.join("trash")
    }
}

/// Refuses what would corrupt the files that the engine writes.
pub(crate) fn check(spec: &ContainerSpec) -> Result<(), EngineError> {
    let words = spec
        .extra_hosts
        .iter()
        .flat_map(|(name, address)| [name, address]);
    for word in std::iter::once(&spec.hostname).chain(words) {
        if !is_plain_word(word) {
            return Err(EngineError::InvalidHost(word.clone()));
        }
    }
    check_mounts(&spec.mounts).map(drop)
}

/// Makes everything.
#[tracing::instrument(level = "debug", skip_all, fields(container = %spec.name))]
pub(crate) fn prepare(
    means: &Means,
    shared: &Arc<Shared>,
    spec: ContainerSpec,
) -> Result<Prepared<JailLauncher>, EngineError> {
    let begin = Instant::now();
    let image = resolve(&means.images, &spec.image)?;
    let in_use = in_use(&means.images, &image, &spec.image, &spec.display_name)?;
    let process = effective(&spec, &image.config)?;
    let ids = means.ids.take().ok_or(EngineError::NoIdRange)?;
    let limits = spec.limits.unwrap_or(means.config.default_limits);
    // An image without layers is its writable layer; nothing in it can be executed anyway.
    let disk_bytes = limits.disk_bytes.filter(|_| !image.layers.is_empty());
    let mut mounted = Mounted::new(&means.volumes, &spec.mounts)?;
    let home = make_home(means, shared, disk_bytes)?;
    berth_jail::crash_point("create.made");
    let log = LogStore::new(home.dir.clone(), means.config.log_bytes);
    let sink = sink(means, shared, log, &spec.display_name);
    let sleep = spec.sleep;
    let mut info = snapshot(limits, shared, &spec, &image, &process);
    let mut sandbox = sandbox(means, &info, &spec, &image, &process, &home, ids.base());
    if let Err(error) = mounted.fill(&sandbox.rootfs, home.disk.as_deref()) {
        // Best effort: nobody will see it.
        let _ = fs_err::remove_dir_all(&home.dir);
        return Err(error);
    }
    sandbox.mounts = std::mem::take(&mut mounted.mounts);
    let origin = OriginRecord::new(&spec, &image, &process.env);
    let fixed = Fixed {
        sandbox: sandbox.clone(),
        process: process.clone(),
        origin: origin.clone(),
        volumes: mounted.volumes(),
        disk: home.disk.is_some(),
        sleep,
        carried_before: carried_before(shared),
        companion: spec.companion,
    };
    let keeper = keeper(means, fixed, &spec.network);
    // The only place that sets it, once per container.
    let origin = Origin::new(origin, image, in_use);
    let _ = shared.origin.set(Arc::new(origin));
    info.timings.prepare = Some(begin.elapsed());
    let launcher = JailLauncher {
        keepsakes: keeper.as_ref().map(Keeper::keepsakes),
        claims: means.claims.clone(),
        name: spec.name,
        zygote: means.zygote.clone(),
        network: spec.network,
        sandbox,
        disk: home.disk.as_ref().map(Arc::downgrade),
        startup_cpu_milli: means.config.startup_cpu_milli,
        ids,
        mounted,
        shared: Arc::clone(shared),
    };
    berth_jail::crash_point("create.prepared");
    Ok(Prepared {
        launcher,
        process,
        info,
        home,
        sink,
        slots: means.slots.clone(),
        sleep,
        criu: means.config.criu.clone(),
        keeper,
    })
}

/// Where its lines go.
pub(crate) fn sink(means: &Means, shared: &Shared, log: LogStore, display_name: &str) -> Sink {
    let log = Arc::new(log);
    // The only place that sets it, once per container.
    let _ = shared.log.set(Arc::clone(&log));
    Sink {
        store: log,
        events: means.events.clone(),
        name: shared.name.as_str().into(),
        display_name: display_name.into(),
        untold: Arc::default(),
    }
}

fn carried_before(shared: &Shared) -> (u64, u64) {
    let before = shared.carried_before.get().copied().unwrap_or_default();
    (before.egress_bytes, before.ingress_bytes)
}

/// Who writes down what the next daemon must know, if there is to be one.
fn keeper(means: &Means, fixed: Fixed, network: &Network) -> Option<Keeper> {
    if !means.zygote.keeps() {
        return None;
    }
    match Keeper::new(fixed, network) {
        Ok(keeper) => Some(keeper),
        Err(error) => {
            tracing::warn!(%error, "a container would end with this server");
            None
        }
    }
}

/// What of an image is not there.
fn missing(images: &ImageStore, reference: &str) -> String {
    match images.lost_layer(reference) {
        Ok(Some(layer)) => {
            format!("{reference} has lost the layer {layer}; build or pull it again")
        }
        // It was looked up without an error a moment ago.
        Ok(None) | Err(_) => reference.to_owned(),
    }
}

pub(crate) fn resolve(images: &ImageStore, reference: &str) -> Result<Image, EngineError> {
    match images.resolve(reference) {
        Ok(Some(image)) => Ok(image),
        Ok(None) => Err(EngineError::NoSuchImage(missing(images, reference))),
        Err(source) => Err(EngineError::Image {
            reference: reference.to_owned(),
            source,
        }),
    }
}

/// The image is needed as long as the container exists, and is used now.
pub(crate) fn in_use(
    images: &ImageStore,
    image: &Image,
    reference: &str,
    display_name: &str,
) -> Result<Hold, EngineError> {
    images.touch(image);
    let purpose = format!("container `{display_name}`");
    let hold = images.hold_for(image, &purpose);
    hold.map_err(|source| EngineError::Image {
        reference: reference.to_owned(),
        source,
    })
}

/// Makes the container's directory and its writable layer. Nothing is left after an error.
fn make_home(means: &Means, shared: &Shared, disk_bytes: Option<u64>) -> Result<Home, EngineError> {
    let dir = means.containers_dir().join(&shared.id);
    let made = make_dir(&dir, 0o700).and_then(|()| {
        let disk = match disk_bytes {
            Some(bytes) => means.disks.take(bytes, &dir.join("disk"))?,
            None => None,
        };
        if disk.is_none() {
            // The upper directory's mode is that of `/` inside.
            make_dir(&dir.join("upper"), 0o755)?;
            make_dir(&dir.join("work"), 0o700)?;
        }
        Ok(disk)
    });
    match made {
        Ok(disk) => Ok(Home {
            dir,
            trash: means.trash_dir(),
            deletions: means.deletions.clone(),
            disk: disk.map(Arc::new),
        }),
        Err(error) => {
            // Best effort: what was made before the failing step.
            let _ = fs_err::remove_dir_all(&dir);
            Err(error)
        }
    }
}

fn make_dir(dir: &Path, mode: u32) -> Result<(), EngineError> {
    std::fs::DirBuilder::new()
        .mode(mode)
        .create(dir)
        .and_then(|()| set_mode(dir, mode))
        .map_err(|source| EngineError::File {
            step: "create",
            path: dir.to_owned(),
            source,
        })
}

/// Whatever the umask says.
fn set_mode(dir: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode))
}

fn snapshot(
    limits: Limits,
    shared: &Shared,
    spec: &ContainerSpec,
    image: &Image,
    process: &Effective,
) -> ContainerInfo {
    ContainerInfo {
        id: shared.id.clone(),
        name: spec.name.clone(),
        display_name: spec.display_name.clone(),
        image: spec.image.clone(),
        image_id: image.id.to_string(),
        status: Status::Created,
        pid: None,
        exit: None,
        error: None,
        created_ms: now_ms(),
        started_ms: None,
        finished_ms: None,
        labels: spec.labels.clone(),
        env: process.env.clone(),
        argv: process.argv.clone(),
        rest: None,
        sleepless: None,
        limits,
        policy: spec.policy.clone(),
        restart_count: 0,
        restarting: false,
        timings: Timings::default(),
        used: None,
    }
}

fn sandbox(
    means: &Means,
    info: &ContainerInfo,
    spec: &ContainerSpec,
    image: &Image,
    process: &Effective,
    home: &Home,
    id_base: u32,
) -> SandboxSpec {
    // A disk has its own root.
    let writable = match home.disk {
        Some(_) => Path::new(""),
        None => &home.dir,
    };
    SandboxSpec {
        id: info.id.chars().take(SANDBOX_ID_DIGITS).collect(),
        hostname: spec.hostname.clone(),
        rootfs: Rootfs {
            lower: means.images.lower_directories(&image.layers),
            upper: writable.join("upper"),
            work: writable.join("work"),
            read_only: false,
        },
        mounts: Vec::new(),
        files: engine_files(
            &spec.hostname,
            &spec.extra_hosts,
            berth_net::RESOLVER_ADDRESS,
        ),
        process: ProcessSpec {
            argv: process.argv.clone(),
            env: process.env.clone(),
            cwd: process.cwd.clone(),
            user: process.user.clone(),
            terminal: None,
        },
        limits: info.limits,
        id_base,
        capabilities: capabilities(&spec.policy),
        no_new_privs: true,
        shm_bytes: SHM_BYTES,
        extras: SandboxExtras {
            checkpointable: checkpointable(means, spec),
            ..spec.policy.extras.clone()
        },
    }
}

/// Whether it is ever to be written to disk: that changes whose its mounts are.
fn checkpointable(means: &Means, spec: &ContainerSpec) -> bool {
    let asked = spec.sleep.and_then(|policy| policy.checkpoint_after);
    asked.is_some() && means.config.criu.is_some()
}

fn capabilities(policy: &Policy) -> Vec<String> {
    let mut all = DEFAULT_CAPABILITIES.map(str::to_owned).to_vec();
    all.extend(policy.capabilities.iter().cloned());
    all.sort();
    all.dedup();
    all
}
