//! The container side of a running Berth: image store, session directory, zygote, engine and Docker
//! API, with their order of start and end. `berth dev`, `berth engine` and `berth serve` share it.
//!
//! Invariant: what was started is ended by [`Host::end`]; a host that is dropped leaves its session
//! to the next sweep, or to who takes it over ([`HostOptions::keep_for`]).

mod keep;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use berth_docker::{Applications, DockerApi};
use berth_engine::{Engine, EngineConfig, Kept, Lost, Session};
use berth_error::{Report, ResultExt as _};
use berth_image::ImageStore;
use berth_jail::{OnDisconnect, Zygote, ZygoteConfig};
use berth_net::NetworkOptions;

use crate::paths::Paths;
use crate::store_limit::StoreLimit;
use keep::KeptSession;

/// A whole CPU while a container starts up, whatever its instance type.
const STARTUP_CPU_MILLI: u32 = 1000;

/// Log kept for each container.
const LOG_BYTES: u64 = 8 << 20;

/// What a host is started for.
#[derive(Debug)]
pub(crate) struct HostOptions {
    /// The directory whose `berth ps` means this session.
    pub(crate) project: PathBuf,
    /// What is known of the container applications.
    pub(crate) applications: Applications,
    /// Bytes of the image store, from which on what is not used goes.
    pub(crate) images_max_size: Option<u64>,
    /// What containers reach of this machine.
    pub(crate) services: Vec<HostService>,
    /// Containers outlive this process, however it ends, and wait so long for the next one; `None`: they end
    /// with it. Only for who has the data directory to itself.
    pub(crate) keep_for: Option<Duration>,
}

/// A service of this machine that containers reach, under a name of its own.
#[derive(Clone, Debug)]
pub(crate) struct HostService {
    /// In their `/etc/hosts`.
    pub(crate) name: &'static str,
    /// The port that they connect to.
    pub(crate) port: u16,
    /// Where it is.
    pub(crate) address: SocketAddr,
}

/// How containers get at services of this machine. All have one address; ports tell them apart.
fn networks(services: &[HostService], passes_on: bool) -> NetworkOptions {
    let mut options = NetworkOptions {
        passes_on,
        ..NetworkOptions::default()
    };
    for service in services {
        let inside = SocketAddr::new(berth_net::HOST_ADDRESS, service.port);
        options.forwards.insert(inside, service.address);
        let name = service.name.to_owned();
        options.names.push((name, berth_net::HOST_ADDRESS));
    }
    options
}

/// A running container side.
pub(crate) struct Host {
    pub(crate) store: ImageStore,
    pub(crate) engine: Engine,
    pub(crate) docker: Arc<DockerApi>,
    pub(crate) zygote: Zygote,
    pub(crate) session: Session,
    /// What the process before has left; to be handed to `docker` when who hears of containers is there.
    pub(crate) kept: Vec<Kept>,
    /// Containers of the process before that had to be ended.
    pub(crate) lost: Vec<Lost>,
    /// What else there is to be said of them.
    pub(crate) notes: Vec<String>,
    settling: tokio::task::JoinHandle<()>,
    _store_limit: Option<StoreLimit>,
}

/// How often layers that builds left to the kernel are seen onto the disk.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(60);

impl Host {
    /// Cleans up after dead sessions and starts a new one. It answers at its socket on return.
    pub(crate) async fn start(paths: &Paths, options: HostOptions) -> Result<Self, Report> {
        let store = open_store(&paths.data)?;
        let KeptSession {
            session,
            zygote,
            survivors,
            notes,
        } = match options.keep_for {
            Some(patience) => {
                let sessions = paths.sessions();
                let session = keep::session(&sessions, &options.project, patience);
                Box::pin(session).await?
            }
            None => passing_session(paths, &options.project).await?,
        };
        let config = EngineConfig {
            state_dir: session.dir.clone(),
            default_limits: berth_jail::Limits::default(),
            startup_cpu_milli: Some(STARTUP_CPU_MILLI),
            criu: find_criu(),
            log_bytes: LOG_BYTES,
        };
        let networks = networks(&options.services, zygote.keeps());
        let (engine, kept, lost) = match survivors {
            Some(survivors) => {
                let (store, zygote) = (store.clone(), zygote.clone());
                let resumed = Engine::resume(config, store, zygote, survivors, &networks);
                let resumed = Box::pin(resumed).await?;
                (resumed.engine, resumed.kept, resumed.lost)
            }
            None => {
                let engine = Engine::open(config, store.clone(), zygote.clone()).await?;
                (engine, Vec::new(), Vec::new())
            }
        };
        let applications = options.applications;
        let docker = DockerApi::serve_with(&session.socket, engine.clone(), applications, networks)
            .await
            .context("could not serve the container API")?;
        let settling = tokio::spawn(settle(store.clone()));
        let limit = options.images_max_size;
        Ok(Self {
            _store_limit: limit.map(|bytes| StoreLimit::keep(&store, bytes)),
            store,
            engine,
            docker,
            zygote,
            session,
            kept,
            lost,
            notes,
            settling,
        })
    }

    /// Lets go of everything, and of containers so that the next process takes them over. This one has to end
    /// right after.
    pub(crate) async fn leave(self) {
        self.settling.abort();
        self.docker.leave().await;
        // Its containers would end if the engine did.
        std::mem::forget(self);
    }

    /// Ends everything; nothing of the session remains.
    pub(crate) async fn end(self) {
        self.settling.abort();
        self.docker.shutdown().await;
        self.engine.shutdown().await;
        self.zygote.shutdown().await;
        if let Err(error) = self.session.remove() {
            tracing::warn!(%error, "the session's directory stays behind");
        }
    }
}

/// A session that ends with this process.
async fn passing_session(paths: &Paths, project: &Path) -> Result<KeptSession, Report> {
    for dead in berth_engine::sweep(&paths.sessions())? {
        tracing::info!(session = dead, "cleaned up after a session that was killed");
    }
    let session = Session::create(&paths.sessions(), project)?;
    Ok(KeptSession {
        zygote: launch_zygote(&session).await?,
        session,
        survivors: None,
        notes: Vec::new(),
    })
}

/// Sees to it that what builds have made outlives a power cut.
async fn settle(store: ImageStore) {
    let mut period = tokio::time::interval(SETTLE);
    loop {
        period.tick().await;
        let store = store.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || store.settle()).await {
            tracing::warn!(%error, "layers may not survive a power cut");
        }
    }
}

/// Starts the helper that makes the sandboxes of a session.
pub(crate) async fn launch_zygote(session: &Session) -> Result<Zygote, Report> {
    Ok(Zygote::launch(ZygoteConfig {
        executable: PathBuf::from("/proc/self/exe"),
        cgroup: session.cgroup.clone(),
        on_disconnect: OnDisconnect::KillAll,
    })
    .await?)
}

/// Opens the store of images of this machine.
pub(crate) fn open_store(data: &Path) -> Result<ImageStore, Report> {
    fs_err::create_dir_all(data).context("could not create the data directory")?;
    Ok(ImageStore::open(data)?)
}

/// `BERTH_CRIU`, or the one in `PATH`.
fn find_criu() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("BERTH_CRIU").filter(|path| !path.is_empty()) {
        // Those who run it stand elsewhere.
        return std::path::absolute(named).ok();
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join("criu"))
        .find(|program| program.is_file())
        .and_then(|program| std::path::absolute(program).ok())
}
