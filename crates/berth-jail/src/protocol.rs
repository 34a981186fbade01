//! The messages between the daemon and the zygote, and between the zygote and its children.
//!
//! Invariant: a ticket is chosen by the daemon, never reused, and names the sandbox or exec'ed
//! process that it started from then on.

use serde::{Deserialize, Serialize};

use crate::cgroup::Capabilities;
use crate::error::Failure;
use crate::spec::{ExitStatus, ProcessSpec, SandboxSpec, SpawnTimings};

/// Names one request and what it started.
pub(crate) type Ticket = u64;

/// From the daemon to the zygote.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Descriptors: network namespace, standard input if `stdin`, output, error, the writable
    /// layer's mount if `disk`.
    Spawn {
        ticket: Ticket,
        stdin: bool,
        disk: bool,
        spec: Box<SandboxSpec>,
    },
    /// Descriptors: the ones of `streams` that are set.
    Exec {
        ticket: Ticket,
        sandbox: Ticket,
        process: ProcessSpec,
        streams: [bool; 3],
    },
    /// Kill everything and leave.
    Shutdown,
}

/// From the zygote to the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The first one: the zygote is ready.
    Hello { capabilities: Capabilities },
    /// Descriptors: the first process's pidfd.
    Spawned {
        ticket: Ticket,
        pid: u32,
        /// Name of the sandbox's cgroup below the session's.
        cgroup: String,
        /// Where the time went.
        timings: SpawnTimings,
    },
    /// Descriptors: the process's pidfd, and the terminal's master if there is one.
    Executed { ticket: Ticket, pid: u32 },
    /// The request failed and left nothing.
    Failed { ticket: Ticket, failure: Failure },
    /// A process that was reported as started has ended. For a sandbox: all its processes have.
    Exited { ticket: Ticket, status: ExitStatus },
    /// Something in the sandbox listens on a TCP port.
    Listening { sandbox: Ticket, port: u16 },
    /// Something the daemon should log.
    Warning(String),
}

/// From the zygote to a blank: what it becomes. Descriptors: network namespace, user namespace,
/// standard input if `stdin`, output, error, the writable layer's mount if `disk`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) stdin: bool,
    pub(crate) disk: bool,
    /// When the zygote sent it: nanoseconds of the monotonic clock.
    pub(crate) sent: u64,
    pub(crate) spec: Box<SandboxSpec>,
}

/// From a child to the zygote, before its `execve`. The socket's end after `Ready` means that the
/// program runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// Descriptor: the listener of the notifying seccomp filter.
    Listener,
    /// Descriptor: the master of the new terminal.
    Terminal,
    /// `execve` is next, at this time (nanoseconds of the monotonic clock); what the steps before it
    /// took.
    Ready { at: u64, timings: SpawnTimings },
    /// It failed; the child leaves.
    Failed(Failure),
}
