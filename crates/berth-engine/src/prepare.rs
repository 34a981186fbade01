//! Everything of a container that can be made before it is started.
//!
//! Blocking (small reads and `mkdir`s); the actor runs it on the blocking pool. On an error nothing
//! of the container is left.
//!
//! ```text
//! <state_dir>/containers/<id>/upper    writable layer, ids as inside
//!                            /work     overlayfs' own
//!                            /log.<n>  see log/store.rs
//! <state_dir>/trash/<id>               removed, being deleted
//! ```

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use berth_image::{Image, ImageStore};
use berth_jail::{DEFAULT_CAPABILITIES, ProcessSpec, Rootfs, SandboxSpec, Zygote};
use tokio::sync::broadcast;
use tokio_util::task::TaskTracker;

use crate::actor::{Home, Prepared, Shared};
use crate::files::{engine_files, is_plain_word};
use crate::ids::IdAllocator;
use crate::launch::JailLauncher;
use crate::log::{LogStore, Sink, now_ms};
use crate::process::{Effective, effective};
use crate::{ContainerInfo, ContainerSpec, EngineConfig, EngineError, Event, Status, Timings};

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
    Ok(())
}

/// Makes everything.
#[tracing::instrument(level = "debug", skip_all, fields(container = %spec.name))]
pub(crate) fn prepare(
    means: &Means,
    shared: &Shared,
    spec: ContainerSpec,
) -> Result<Prepared<JailLauncher>, EngineError> {
    let begin = Instant::now();
    let image = resolve(&means.images, &spec.image)?;
    let process = effective(&spec, &image.config)?;
    let ids = means.ids.take()?;
    let home = Home {
        dir: means.containers_dir().join(&shared.id),
        trash: means.trash_dir(),
        deletions: means.deletions.clone(),
    };
    make_dirs(&home.dir)?;
    let log = Arc::new(LogStore::new(home.dir.clone(), means.config.log_bytes));
    // The only place that sets it, once per container.
    let _ = shared.log.set(Arc::clone(&log));
    let sink = Sink {
        store: log,
        events: means.events.clone(),
        name: spec.name.as_str().into(),
        display_name: spec.display_name.as_str().into(),
        untold: Arc::default(),
    };
    let mut info = snapshot(means, shared, &spec, &image, &process);
    let sandbox = sandbox(means, &info, &spec, &image, &process, &home.dir, ids.base());
    info.timings.prepare = Some(begin.elapsed());
    let launcher = JailLauncher {
        name: spec.name,
        zygote: means.zygote.clone(),
        network: spec.network,
        sandbox,
        startup_cpu_milli: means.config.startup_cpu_milli,
        ids,
    };
    Ok(Prepared {
        launcher,
        process,
        info,
        home,
        sink,
    })
}

fn resolve(images: &ImageStore, reference: &str) -> Result<Image, EngineError> {
    match images.resolve(reference) {
        Ok(Some(image)) => Ok(image),
        Ok(None) => Err(EngineError::NoSuchImage(reference.to_owned())),
        Err(source) => Err(EngineError::Image {
            reference: reference.to_owned(),
            source,
        }),
    }
}

fn make_dirs(home: &Path) -> Result<(), EngineError> {
    // The upper directory's mode is that of `/` inside.
    for (dir, mode) in [
        (home.to_owned(), 0o700),
        (home.join("upper"), 0o755),
        (home.join("work"), 0o700),
    ] {
        let made = std::fs::DirBuilder::new()
            .mode(mode)
            .create(&dir)
            .and_then(|()| set_mode(&dir, mode));
        if let Err(source) = made {
            // Best effort: what was made before the failing step.
            let _ = fs_err::remove_dir_all(home);
            return Err(EngineError::File {
                step: "create",
                path: dir,
                source,
            });
        }
    }
    Ok(())
}

/// Whatever the umask says.
fn set_mode(dir: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode))
}

fn snapshot(
    means: &Means,
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
        limits: spec.limits.unwrap_or(means.config.default_limits),
        rest: None,
        sleepless: None,
        timings: Timings::default(),
    }
}

fn sandbox(
    means: &Means,
    info: &ContainerInfo,
    spec: &ContainerSpec,
    image: &Image,
    process: &Effective,
    home: &Path,
    id_base: u32,
) -> SandboxSpec {
    let lower = image.layers.iter().rev();
    SandboxSpec {
        id: info.id.chars().take(SANDBOX_ID_DIGITS).collect(),
        hostname: spec.hostname.clone(),
        rootfs: Rootfs {
            lower: lower.map(|layer| means.images.layer_path(layer)).collect(),
            upper: home.join("upper"),
            work: home.join("work"),
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
        capabilities: DEFAULT_CAPABILITIES.map(str::to_owned).to_vec(),
        no_new_privs: true,
        shm_bytes: SHM_BYTES,
    }
}
