//! What a sandbox and a process are made of: plain data that crosses the zygote's socket.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

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
    /// What few sandboxes ask for.
    #[serde(default)]
    pub extras: SandboxExtras,
}

/// What goes beyond, or changes, what every sandbox gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxExtras {
    /// Devices of the host besides the usual ones.
    pub devices: Vec<Device>,
    /// Limits that each process carries itself. A value above what the daemon may have is lowered
    /// to that.
    pub rlimits: Vec<Rlimit>,
    /// Its mounts belong to its own user namespace, which [`crate::Sandbox::checkpoint`] needs.
    /// Without effect for a sandbox that may mount (CAP_SYS_ADMIN).
    #[serde(default)]
    pub checkpointable: bool,
    /// Files like [`SandboxSpec::files`], but with any bytes, an owner and a mode, and read-only.
    #[serde(default)]
    pub files: Vec<ExtraFile>,
    /// The program is not process 1: a process of ours is, which passes signals on and reaps what
    /// others leave, as on a machine. Without it, signals that a program does not handle do nothing.
    #[serde(default)]
    pub init: bool,
    /// Groups of every process besides its user's own: names in the image's /etc/group, or ids.
    #[serde(default)]
    pub groups: Vec<String>,
    /// What is masked of the modes of new files; `None`: 0o022.
    #[serde(default)]
    pub umask: Option<u32>,
    /// How much sooner than others its processes are killed when the machine's memory runs out, up to
    /// 1000. Never less than without it: a container goes before the daemon does.
    #[serde(default)]
    pub oom_score_adjustment: i32,
    /// NIS domain name; empty: the kernel's default.
    #[serde(default)]
    pub domain_name: String,
}

/// A small file that exists only in the sandbox's memory.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraFile {
    /// Absolute path inside.
    pub path: String,
    /// Its bytes.
    pub content: Vec<u8>,
    /// Owner, as inside.
    pub uid: u32,
    /// Group, as inside.
    pub gid: u32,
    /// Permissions.
    pub mode: u32,
}

impl std::fmt::Debug for ExtraFile {
    /// The content may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExtraFile")
            .field("path", &self.path)
            .field("bytes", &self.content.len())
            .finish_non_exhaustive()
    }
}

/// A device of the host that a sandbox may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Device {
    /// `/dev/fuse`: file systems in user space.
    Fuse,
}

impl Device {
    /// Name below `/dev`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fuse => "fuse",
        }
    }

    /// Major and minor number, fixed by the kernel's list of devices.
    pub(crate) fn number(self) -> (u32, u32) {
        match self {
            Self::Fuse => (10, 229),
        }
    }
}

/// A limit that a process carries itself (`setrlimit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// Which.
    pub kind: RlimitKind,
    /// Soft limit; `None` is unlimited.
    pub soft: Option<u64>,
    /// Hard limit; `None` is unlimited.
    pub hard: Option<u64>,
}

/// The limits of [`Rlimit`] that make sense in a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RlimitKind {
    /// Open files.
    Nofile,
    /// Processes of one user.
    Nproc,
    /// Bytes of a core dump.
    Core,
    /// Bytes of locked memory.
    Memlock,
    /// Bytes of stack.
    Stack,
    /// Bytes of a file.
    Fsize,
    /// Bytes of address space.
    As,
    /// Bytes of data and heap.
    Data,
    /// Bytes in memory; Linux ignores it.
    Rss,
    /// Seconds of CPU time.
    Cpu,
    /// Signals that wait.
    Sigpending,
    /// Bytes of POSIX message queues.
    Msgqueue,
}

/// An overlay root: read-only layers and one writable directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rootfs {
    /// Unpacked layers, **topmost first**, ids as in the image (idmapped at mount time).
    pub lower: Vec<PathBuf>,
    /// Writable layer. Relative to the root of [`crate::SandboxFds::disk`] if there is one.
    pub upper: PathBuf,
    /// overlayfs work directory on the same file system as `upper`; relative as `upper` is.
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
    /// A part of some layers.
    Overlay(OverlayMount),
}

/// A file or directory of an overlay.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OverlayMount {
    /// The overlay; what is written to it ends up in its writable layer.
    pub rootfs: Rootfs,
    /// An empty directory of the host that nobody else uses.
    pub at: PathBuf,
    /// What to mount, below the overlay's root; links are followed inside it. Empty: all of it.
    pub path: String,
}

/// CRIU, and where it keeps a sandbox's processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Criu {
    /// The program.
    pub program: PathBuf,
    /// An existing directory for the images, for root only; empty before a checkpoint. CRIU's logs
    /// are `dump.log` and `restore.log` in it.
    pub images: PathBuf,
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
    /// Give it a controlling terminal (exec only).
    pub terminal: Option<TerminalSpec>,
}

/// A terminal as a process finds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSpec {
    /// Its height.
    pub rows: u16,
    /// Its width.
    pub columns: u16,
    /// What differs from the kernel's settings: opcodes and numbers as in RFC 4254, section 8.
    pub modes: Vec<(u8, u32)>,
}

impl From<(u16, u16)> for TerminalSpec {
    /// Of so many rows and columns, as the kernel makes it otherwise.
    fn from((rows, columns): (u16, u16)) -> Self {
        Self {
            rows,
            columns,
            modes: Vec::new(),
        }
    }
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
    /// Bytes of the writable layer. Held by whoever makes it: see [`crate::Disk`].
    pub disk_bytes: Option<u64>,
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

/// How long the steps of a sandbox's start took, in their order. Between them lie only messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnTimings {
    /// Control groups: joining them, if no process had done so ahead, and the limits.
    pub cgroup: Duration,
    /// Entering the network namespace and making the others.
    pub namespaces: Duration,
    /// Mounting the root file system and everything in it, and moving there.
    pub rootfs: Duration,
    /// Streams, user namespace, seccomp filters, capabilities, user.
    pub identity: Duration,
    /// `execve`.
    pub exec: Duration,
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

/// What a sandbox uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of memory now.
    pub memory_bytes: u64,
    /// Nanoseconds of CPU time since the start.
    pub cpu_ns: u64,
    /// Processes and threads now.
    pub pids: u64,
}
