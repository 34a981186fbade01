//! The small privileged part: a single-threaded helper (the zygote) that does every fork, and the
//! namespaces, root file system, cgroups, seccomp filter and capabilities of a container process.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// First argument of the re-executed binary that turns it into the zygote.
pub const ZYGOTE_ARG: &str = "__zygote";

/// What one sandbox is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Unique within the session; safe as a file name.
    pub id: String,
    /// Host name inside.
    pub hostname: String,
    /// The root file system.
    pub rootfs: Rootfs,
    /// Bind mounts and tmpfs on top of it; sorted by depth before they are mounted.
    pub mounts: Vec<Mount>,
    /// Small files bind-mounted read-write over the root file system (`/etc/hosts`, …): path → content.
    pub files: BTreeMap<String, String>,
    /// The first process.
    pub process: ProcessSpec,
    /// Resource limits.
    pub limits: Limits,
    /// Container ids 0..65536 are mapped to host ids from here on.
    pub id_base: u32,
    /// Capabilities kept in the bounding, effective and permitted sets (`CAP_CHOWN`, …).
    pub capabilities: Vec<String>,
    /// Sets `no_new_privs`.
    pub no_new_privs: bool,
    /// Size of `/dev/shm` in bytes.
    pub shm_bytes: u64,
}

/// An overlay root: read-only layers and one writable directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rootfs {
    /// Unpacked layers, **topmost first**, ids as in the image (idmapped at mount time).
    pub lower: Vec<PathBuf>,
    /// Writable layer.
    pub upper: PathBuf,
    /// overlayfs work directory on the same file system as `upper`.
    pub work: PathBuf,
    /// Mount the root read-only.
    pub read_only: bool,
}

/// One extra mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside.
    pub target: String,
    /// What is mounted.
    pub source: MountSource,
    /// Read-only.
    pub read_only: bool,
}

/// What a [`Mount`] mounts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum MountSource {
    /// A host directory or file, idmapped like the layers.
    Bind(PathBuf),
    /// A fresh tmpfs of at most this many bytes.
    Tmpfs(u64),
}

/// One process in a sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// Program and arguments; a program without `/` is looked up in `PATH` of `env` inside the root.
    pub argv: Vec<String>,
    /// `KEY=value`. `HOME` is added from /etc/passwd when absent.
    pub env: Vec<String>,
    /// Working directory; created if missing. Empty: `/`.
    pub cwd: String,
    /// `user`, `uid`, `user:group`, `uid:gid`; empty: root. Resolved inside the root.
    pub user: String,
    /// Give it a controlling terminal (exec only): rows, columns.
    pub terminal: Option<(u16, u16)>,
}

/// Resource limits; `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Thousandths of a CPU.
    pub cpu_milli: Option<u32>,
    /// Bytes, no swap.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// File descriptors handed to a new sandbox.
#[derive(Debug)]
pub struct SandboxFds {
    /// The network namespace.
    pub netns: OwnedFd,
    /// Standard input; `None`: /dev/null.
    pub stdin: Option<OwnedFd>,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// Exit code, or 128 + signal.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel killed it for memory.
    pub oom_killed: bool,
}

/// Why something in the jail failed.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// The command is not in the image.
    #[error("executable `{0}` not found in the image")]
    NotFound(String),
}

/// Settings of the zygote.
#[derive(Clone, Debug)]
pub struct ZygoteConfig {
    /// The binary to execute with [`ZYGOTE_ARG`]; normally `/proc/self/exe`.
    pub executable: PathBuf,
    /// Path of the session's cgroups below each controller's root, such as `berth/<session>`.
    pub cgroup: String,
    /// What becomes of the sandboxes when the daemon's connection closes.
    pub on_disconnect: OnDisconnect,
}

/// What the zygote does when the daemon is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDisconnect {
    /// Kill every sandbox, remove its cgroups and leave (`berth dev`).
    KillAll,
    /// Keep them for the next daemon.
    Keep,
}

/// The zygote's side: never returns to the caller's program. Call it first thing in `main`, before
/// any thread exists, when the first argument is [`ZYGOTE_ARG`].
pub fn zygote_main() -> ExitCode {
    ExitCode::FAILURE
}

/// The daemon's handle on the zygote. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Zygote {}

/// A running (or ended) sandbox.
#[derive(Clone, Debug)]
pub struct Sandbox {}

/// A process started in a sandbox with [`Sandbox::exec`].
#[derive(Clone, Debug)]
pub struct ExecProcess {}

/// Descriptors of an exec'ed process.
#[derive(Debug)]
pub enum ExecFds {
    /// Three pipes or files; `None`: /dev/null.
    Pipes {
        /// Standard input.
        stdin: Option<OwnedFd>,
        /// Standard output.
        stdout: Option<OwnedFd>,
        /// Standard error.
        stderr: Option<OwnedFd>,
    },
    /// A new pseudo-terminal inside the sandbox; the master comes back with the process.
    Terminal,
}

#[allow(unused_variables, missing_docs, clippy::todo, clippy::unused_async)]
impl Zygote {
    /// Starts the helper and connects to it.
    pub async fn launch(config: ZygoteConfig) -> Result<Self, JailError> {
        todo!()
    }
    /// Starts a sandbox; returns when its first process has been exec'ed, or why it was not.
    pub async fn spawn(&self, spec: SandboxSpec, fds: SandboxFds) -> Result<Sandbox, JailError> {
        todo!()
    }
    /// Kills all sandboxes, removes their cgroups and ends the helper.
    pub async fn shutdown(&self) {
        todo!()
    }
}

#[allow(unused_variables, missing_docs, clippy::todo, clippy::unused_async)]
impl Sandbox {
    pub fn id(&self) -> &str {
        todo!()
    }
    /// Host pid of the first process.
    pub fn pid(&self) -> u32 {
        todo!()
    }
    /// The exit status, at once if it has ended.
    pub async fn wait(&self) -> ExitStatus {
        todo!()
    }
    pub fn exit_status(&self) -> Option<ExitStatus> {
        todo!()
    }
    /// Signals the first process (through its pidfd). `Ok(false)`: it has ended.
    pub fn kill(&self, signal: i32) -> Result<bool, JailError> {
        todo!()
    }
    /// Kills every process of the sandbox and waits for the last one.
    pub async fn kill_all(&self) -> Result<(), JailError> {
        todo!()
    }
    /// TCP ports on which something in the sandbox has called `listen` so far; changes wake the receiver.
    pub fn listening(&self) -> tokio::sync::watch::Receiver<std::collections::BTreeSet<u16>> {
        todo!()
    }
    pub async fn exec(
        &self,
        process: ProcessSpec,
        fds: ExecFds,
    ) -> Result<(ExecProcess, Option<OwnedFd>), JailError> {
        todo!()
    }
    /// Stops (`true`) or continues (`false`) every process with the cgroup freezer.
    pub async fn freeze(&self, frozen: bool) -> Result<(), JailError> {
        todo!()
    }
    /// Memory in bytes and CPU time in nanoseconds used so far, and processes alive.
    pub fn usage(&self) -> Result<Usage, JailError> {
        todo!()
    }
}

#[allow(unused_variables, missing_docs, clippy::todo, clippy::unused_async)]
impl ExecProcess {
    /// Host pid.
    pub fn pid(&self) -> u32 {
        todo!()
    }
    pub async fn wait(&self) -> ExitStatus {
        todo!()
    }
    pub fn exit_status(&self) -> Option<ExitStatus> {
        todo!()
    }
    pub fn kill(&self, signal: i32) -> Result<bool, JailError> {
        todo!()
    }
}

/// What a sandbox uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Bytes of memory now.
    pub memory_bytes: u64,
    /// Nanoseconds of CPU time since the start.
    pub cpu_ns: u64,
    /// Processes and threads now.
    pub pids: u64,
}

/// Capabilities a container gets by default: Docker's fourteen.
pub const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Removes what a dead session left: kills every process in the cgroups below `cgroup` (as in
/// [`ZygoteConfig::cgroup`]) and removes them. Harmless when there is nothing.
#[allow(unused_variables, clippy::todo)]
pub fn sweep_session(cgroup: &str) -> Result<(), JailError> {
    todo!()
}

/// Moves a process of ours (workerd) into the session's cgroup so that [`sweep_session`] finds it.
#[allow(unused_variables, clippy::todo)]
pub fn adopt_into_session(cgroup: &str, pid: u32) -> Result<(), JailError> {
    todo!()
}

/// Makes the kernel kill the child when this process dies.
#[allow(unused_variables, clippy::todo)]
pub fn die_with_parent(command: &mut tokio::process::Command) {
    todo!()
}
