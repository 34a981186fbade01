//! What the engine's callers see: specifications, snapshots, events.
//!
//! Plain data without behaviour; owned by whoever holds it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_jail::{ExitStatus, Limits, SandboxExtras, SpawnTimings};
use berth_net::Network;
use serde::{Deserialize, Serialize};

use crate::Metered;

/// Settings of an engine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The session's directory: container uppers, logs, records. On the store's file system.
    pub state_dir: PathBuf,
    /// Resources of a container that brings none.
    pub default_limits: Limits,
    /// Thousandths of a CPU that a container with a lower limit may use while it starts up; `None`:
    /// its own limit holds from the beginning. See `boost.rs`.
    pub startup_cpu_milli: Option<u32>,
    /// The `criu` program, if this machine has it: without, containers are never written to disk.
    pub criu: Option<PathBuf>,
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
    pub labels: BTreeMap<String, String>,
    /// Host name inside.
    pub hostname: String,
    /// Extra `/etc/hosts` lines: (name, address).
    pub extra_hosts: Vec<(String, String)>,
    /// Volumes and temporary file systems on top of the image, in any order.
    pub mounts: Vec<ContainerMount>,
    /// The network it joins.
    pub network: Arc<Network>,
    /// When it goes to sleep; `None`: never.
    pub sleep: Option<SleepPolicy>,
    /// Its limits; `None`: the engine's default.
    pub limits: Option<Limits>,
    /// What a person knows it as: class and instance, for logs and `berth ps`.
    pub display_name: String,
    /// How it is started again, stopped and limited beyond [`ContainerSpec::limits`].
    pub policy: Policy,
    /// What its maker wants to be told should another daemon take it over ([`crate::Kept::companion`]).
    pub companion: serde_json::Value,
}

/// How a container is started again and stopped, how many of its kind may run, and what it gets
/// beyond what every container gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// When it is started again after its end.
    pub restart: RestartPolicy,
    /// The application it is an instance of, and how many of those may run.
    pub instances: Option<InstanceLimit>,
    /// How long a program may take to end once it has been asked to; then it is killed.
    pub stop_grace: Duration,
    /// Capabilities beyond Docker's fourteen (`CAP_SYS_ADMIN`, …); they hold in its own user
    /// namespace only.
    pub capabilities: Vec<String>,
    /// Devices and limits of processes.
    pub extras: SandboxExtras,
}

/// How long a program may take to end by default: Cloudflare's 15 minutes.
pub const STOP_GRACE: Duration = Duration::from_secs(15 * 60);

impl Default for Policy {
    fn default() -> Self {
        Self {
            restart: RestartPolicy::No,
            instances: None,
            stop_grace: STOP_GRACE,
            capabilities: Vec::new(),
            extras: SandboxExtras::default(),
        }
    }
}

/// When a container is started again after its end, as Docker has it: never after it was asked to
/// stop or killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// After an exit code that is not 0, at most this often; `None`: without end.
    OnFailure(Option<u32>),
    /// Always.
    Always,
}

/// Most running containers of one application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceLimit {
    /// Whose instances are counted.
    pub application: String,
    /// Containers that start or run at the same time.
    pub max: u32,
}

/// Most that running containers of applications may be given together; `None`: any amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TotalLimits {
    /// Thousandths of a CPU.
    pub cpu_milli: Option<u64>,
    /// Bytes.
    pub memory_bytes: Option<u64>,
    /// Bytes of writable layers.
    pub disk_bytes: Option<u64>,
}

/// Something mounted in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerMount {
    /// Absolute path inside.
    pub target: String,
    /// What is there.
    pub source: ContainerMountSource,
    /// Nothing inside can write to it.
    pub read_only: bool,
}

/// What a [`ContainerMount`] shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerMountSource {
    /// A volume of this name; made if there is none.
    Volume {
        /// The volume's name.
        name: String,
        /// An empty volume first gets what the image has at the target.
        copy_up: bool,
    },
    /// A fresh tmpfs of at most this many bytes, at every start.
    Tmpfs(u64),
}

/// How an image is made of a container.
#[derive(Clone, Debug, Default)]
pub struct CommitSpec {
    /// Name of the image, which another image loses if it had it; `None`: it has only its id.
    pub reference: Option<String>,
    /// Freeze the container while its files are copied.
    pub pause: bool,
    /// For the image's history.
    pub comment: String,
    /// Who made it.
    pub author: String,
    /// When, as RFC 3339 has it.
    pub created: String,
}

/// Where a container is in its life. See `state.rs` for what is legal when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// When an idle container goes to sleep. What counts as idle: see `sleep.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SleepPolicy {
    /// Idle for this long it is frozen: memory kept, no CPU.
    pub freeze_after: Duration,
    /// An open connection on which nothing has moved for this long, the last of it an answer, does
    /// not keep the container awake. `None`: every open connection does.
    pub quiet_connection_after: Option<Duration>,
    /// Frozen for this long it is written to disk by CRIU, and its memory is free; see `checkpoint.rs`
    /// for what cannot be. `None`: never.
    pub checkpoint_after: Option<Duration>,
}

/// Why a container that runs makes no progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rest {
    /// Frozen because it was idle; the next connection or exec thaws it.
    Frozen,
    /// On disk because it was frozen for long; the next connection, exec or signal restores it.
    OnDisk,
    /// Frozen by [`Engine::pause`](crate::Engine::pause); only `unpause` thaws it.
    Paused,
}

/// A snapshot of one container.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// Host pid while it runs and is not on disk. Another one after it was there.
    pub pid: Option<u32>,
    /// How it ended.
    pub exit: Option<ExitStatus>,
    /// Why it could not start, or not be restored from disk.
    pub error: Option<String>,
    /// Unix milliseconds.
    pub created_ms: u64,
    /// Unix milliseconds of the last start.
    pub started_ms: Option<u64>,
    /// Unix milliseconds of the last exit.
    pub finished_ms: Option<u64>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Effective environment.
    pub env: Vec<String>,
    /// Effective argv.
    pub argv: Vec<String>,
    /// Its limits.
    pub limits: Limits,
    /// Asleep or paused, and since when (Unix milliseconds); its status is `Running` all the same.
    pub rest: Option<(Rest, u64)>,
    /// Why it does not sleep (as deeply as it should).
    pub sleepless: Option<String>,
    /// See [`ContainerSpec::policy`].
    pub policy: Policy,
    /// How often its restart policy has started it again.
    pub restart_count: u32,
    /// It has ended and will be started again after a pause.
    pub restarting: bool,
    /// How long each phase of its life's beginning took.
    #[serde(skip)]
    pub timings: Timings,
    /// What it has used until its process ended, over all its starts; `None`: no process of it has ended yet.
    pub used: Option<Metered>,
}

/// How long the phases of a container's (latest) start took; `None`: not reached yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// When the start call arrived.
    pub start: Option<Instant>,
    /// From the create call until everything that can be made ahead existed.
    pub prepare: Option<Duration>,
    /// From the start call until pipes and namespace descriptors were at hand.
    pub open: Option<Duration>,
    /// From there until the jail said that the first process has been exec'ed.
    pub spawn: Option<Duration>,
    /// What the jail did of that.
    pub jail: Option<SpawnTimings>,
    /// From the exec until something inside first called `listen`.
    pub first_listen: Option<Duration>,
    /// The latest writing to disk.
    pub checkpoint: Option<Duration>,
    /// The latest restoration from there.
    pub restore: Option<Duration>,
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
    /// It runs, and was taken over from a daemon before.
    Adopted(ContainerInfo),
    /// Its first process ended.
    Exited(ContainerInfo),
    /// It could not even be created.
    CreateFailed {
        /// Unique name.
        name: String,
        /// See [`ContainerSpec::display_name`].
        display_name: String,
        /// Nothing is wrong with it: there is no room, or there are too many at a time.
        full: bool,
        /// Why, with its causes.
        reason: String,
    },
    /// It could not start.
    StartFailed(ContainerInfo),
    /// It fell asleep or was paused, deeper and deeper: see [`ContainerInfo::rest`].
    Asleep(ContainerInfo),
    /// It woke up and runs.
    Awake(ContainerInfo),
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
    /// A terminal.
    pub terminal: Option<berth_jail::TerminalSpec>,
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
