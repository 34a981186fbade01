//! Containers: one actor per container; create, start, exec, stop, logs, recovery.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::Arc;

use berth_image::ImageStore;
use berth_jail::{ExitStatus, Limits, Zygote};
use berth_net::Network;

/// Settings of an engine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The session's directory: container uppers, logs, records. On the store's file system.
    pub state_dir: PathBuf,
    /// cgroup path of the session, as given to the zygote.
    pub cgroup: String,
    /// Resources of a container that brings none.
    pub default_limits: Limits,
    /// Bytes of log kept per container.
    pub log_bytes: u64,
}

/// What a container is made of.
#[derive(Clone, Debug)]
pub struct ContainerSpec {
    /// Unique name.
    pub name: String,
    /// Image reference as given; echoed by inspect.
    pub image: String,
    /// Replaces the image's `ENTRYPOINT` if set.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's `CMD` if set.
    pub command: Option<Vec<String>>,
    /// `KEY=value`, over the image's; later entries win.
    pub env: Vec<String>,
    /// Overrides the image's `USER`.
    pub user: Option<String>,
    /// Overrides the image's `WORKDIR`.
    pub working_dir: Option<String>,
    /// Labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Host name inside.
    pub hostname: String,
    /// Extra `/etc/hosts` lines: (name, address).
    pub extra_hosts: Vec<(String, String)>,
    /// The network it joins.
    pub network: Arc<Network>,
    /// Its limits; `None`: the engine's default.
    pub limits: Option<Limits>,
    /// What a person knows it as: class and instance, for logs and `berth ps`.
    pub display_name: String,
}

/// Where a container is in its life. See `state.rs` for what is legal when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Made, never started.
    Created,
    /// Its process is being made.
    Starting,
    /// Its first process lives.
    Running,
    /// Its first process has ended.
    Exited,
    /// It is being removed.
    Removing,
}

/// A snapshot of one container.
#[derive(Clone, Debug)]
pub struct ContainerInfo {
    /// 64 hex digits.
    pub id: String,
    /// Unique name.
    pub name: String,
    /// See [`ContainerSpec::display_name`].
    pub display_name: String,
    /// As given at create.
    pub image: String,
    /// Id of the image.
    pub image_id: String,
    /// Where it is in its life.
    pub status: Status,
    /// Host pid while it runs.
    pub pid: Option<u32>,
    /// How it ended.
    pub exit: Option<ExitStatus>,
    /// Why it could not start.
    pub error: Option<String>,
    /// Unix milliseconds.
    pub created_ms: u64,
    /// Unix milliseconds of the last start.
    pub started_ms: Option<u64>,
    /// Unix milliseconds of the last exit.
    pub finished_ms: Option<u64>,
    /// Labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Effective environment.
    pub env: Vec<String>,
    /// Effective argv.
    pub argv: Vec<String>,
    /// Its limits.
    pub limits: Limits,
}

/// Why the engine refused or failed. The Docker face maps each variant to one status code.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// 409.
    #[error("the container name `{0}` is already in use")]
    NameInUse(String),
    /// 404.
    #[error("no such image: {0}")]
    NoSuchImage(String),
    /// 404.
    #[error("no such container: {0}")]
    NoSuchContainer(String),
    /// 304.
    #[error("container `{0}` is already running")]
    AlreadyRunning(String),
    /// 409.
    #[error("container `{0}` is not running")]
    NotRunning(String),
}

/// One line (or part of a long line) that a container wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Unix milliseconds.
    pub time_ms: u64,
    /// Standard error rather than standard output.
    pub stderr: bool,
    /// Bytes without the newline.
    pub bytes: Vec<u8>,
}

/// Something that happened to a container; for the dev session's screen and `berth logs -f`.
#[derive(Clone, Debug)]
pub enum Event {
    /// It was created.
    Created(ContainerInfo),
    /// Its first process runs.
    Started(ContainerInfo),
    /// Its first process ended.
    Exited(ContainerInfo),
    /// It could not start.
    StartFailed(ContainerInfo),
    /// It is gone.
    Removed(ContainerInfo),
    /// It wrote a line.
    Log {
        /// See [`ContainerSpec::display_name`].
        display_name: Arc<str>,
        /// Unique name.
        name: Arc<str>,
        /// The line.
        line: LogLine,
    },
}

/// What to execute in a running container.
#[derive(Clone, Debug)]
pub struct ExecSpec {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Over the container's environment; later wins.
    pub env: Vec<String>,
    /// `None`: the container's.
    pub working_dir: Option<String>,
    /// `None`: the container's.
    pub user: Option<String>,
    /// A terminal of rows × columns.
    pub terminal: Option<(u16, u16)>,
    /// Connect standard input.
    pub stdin: bool,
}

/// A running exec: its streams and its end.
#[derive(Debug)]
pub struct Exec {
    /// The process.
    pub process: berth_jail::ExecProcess,
    /// Streams.
    pub io: ExecIo,
}

/// Streams of an exec; non-blocking pipes, or the terminal's master.
#[derive(Debug)]
pub enum ExecIo {
    /// Three pipes.
    Pipes {
        /// Write end of standard input, if connected.
        stdin: Option<tokio::net::unix::pipe::Sender>,
        /// Read end of standard output.
        stdout: tokio::net::unix::pipe::Receiver,
        /// Read end of standard error.
        stderr: tokio::net::unix::pipe::Receiver,
    },
    /// The master of a pseudo-terminal.
    Terminal(std::os::fd::OwnedFd),
}

/// The engine of one session. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {}

#[allow(unused_variables, missing_docs, clippy::todo, clippy::unused_async)]
impl Engine {
    pub async fn open(
        config: EngineConfig,
        images: ImageStore,
        zygote: Zygote,
    ) -> Result<Self, EngineError> {
        todo!()
    }
    pub fn images(&self) -> &ImageStore {
        todo!()
    }
    /// Registers a container; prepares its root file system in the background.
    pub async fn create(&self, spec: ContainerSpec) -> Result<ContainerInfo, EngineError> {
        todo!()
    }
    /// Returns when the first process has been exec'ed.
    pub async fn start(&self, name: &str) -> Result<(), EngineError> {
        todo!()
    }
    /// The next exit of a running container, or the stored one.
    pub async fn wait(&self, name: &str) -> Result<ExitStatus, EngineError> {
        todo!()
    }
    /// Resolves when the container is gone.
    pub async fn wait_removed(&self, name: &str) -> Result<(), EngineError> {
        todo!()
    }
    /// Signals the first process.
    pub async fn kill(&self, name: &str, signal: i32) -> Result<(), EngineError> {
        todo!()
    }
    /// SIGTERM, then SIGKILL after `grace`.
    pub async fn stop(
        &self,
        name: &str,
        grace: std::time::Duration,
    ) -> Result<ExitStatus, EngineError> {
        todo!()
    }
    /// Kills and removes; pending `wait`s answer 137. The name is free when this returns.
    pub async fn remove(&self, name: &str, force: bool) -> Result<(), EngineError> {
        todo!()
    }
    /// By name, id or unambiguous id prefix.
    pub fn inspect(&self, name: &str) -> Option<ContainerInfo> {
        todo!()
    }
    pub fn list(&self) -> Vec<ContainerInfo> {
        todo!()
    }
    pub async fn exec(&self, name: &str, spec: ExecSpec) -> Result<Exec, EngineError> {
        todo!()
    }
    /// The kept log, then (with `follow`) new lines until the container is gone.
    pub async fn logs(
        &self,
        name: &str,
        follow: bool,
    ) -> Result<tokio::sync::mpsc::Receiver<LogLine>, EngineError> {
        todo!()
    }
    /// Connects to a port of a running container. While it starts up, holds until the port listens:
    /// see `hold.rs`.
    pub async fn connect(
        &self,
        name: &str,
        port: u16,
    ) -> Result<tokio::net::TcpStream, EngineError> {
        todo!()
    }
    pub fn events(&self) -> tokio::sync::broadcast::Receiver<Event> {
        todo!()
    }
    /// Kills and removes every container.
    pub async fn shutdown(&self) {
        todo!()
    }
}
