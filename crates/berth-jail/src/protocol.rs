//! The messages between the daemon and the zygote, and between the zygote and its children.
//!
//! Invariant: a ticket is chosen by the daemon, never reused (a successor goes on counting), and
//! names the sandbox or exec'ed process that it started from then on.
//!
//! # A conversation
//!
//! ```text
//! zygote                                      daemon
//!   Hello { protocol, capabilities, … }  ──▶
//!   Survivor { … } + pidfd               ──▶    one per sandbox that lives, or whose end nobody
//!                                               has acknowledged; only to a successor
//!   Deposited { … } + descriptors        ──▶    one per deposit; only to a successor
//!   Greeted                              ──▶
//!                                        ◀──  Spawn, Exec, Checkpoint, Restore, Discard, Deposit,
//!                                              Withdraw, Acknowledge, Shutdown
//!   Spawned, Executed, Checkpointed,
//!   Restored, Failed, Exited, Listening,
//!   Warning                              ──▶
//! ```
//!
//! A second daemon is told `Busy` while the first one is connected. In every version the first
//! packet is `{"Hello":{"protocol":<number>,…}}` and the packet `"Shutdown"` ends the zygote, so that
//! a daemon of another version can tell and can end it in an orderly way.
//!
//! # What a zygote keeps for a successor ([`crate::OnDisconnect::Keep`])
//!
//! * sandboxes whose program runs, with their pidfd and the ports they have listened on;
//! * the exit status of those that have ended, until a daemon acknowledges it;
//! * deposits: descriptors that a daemon left under a name, such as the reading ends of a
//!   container's output, its network namespace, or a listening socket.
//!
//! It waits for a successor only so long ([`crate::OnDisconnect::Keep`]), and not at all when there is no
//! sandbox; then everything ends.
//!
//! Whatever was half-way when the daemon went is killed (nobody waits for it any more), and so are
//! exec'ed processes: nobody could read their output, nor learn how they ended. A sandbox on disk
//! ends then, too.

use serde::{Deserialize, Serialize};

use crate::cgroup::Capabilities;
use crate::error::Failure;
use crate::spec::{Criu, ExitStatus, ProcessSpec, SandboxSpec, SpawnTimings};

/// Version of this protocol: raised with every change that an older peer would not understand.
pub(crate) const PROTOCOL: u32 = 5;

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
    /// Descriptors: what to keep under the name, in place of what was there; for as long as that sandbox,
    /// if it names one, runs and its end is not acknowledged.
    Deposit {
        name: String,
        sandbox: Option<Ticket>,
    },
    /// Forget a deposit that belongs to no sandbox, if there is one.
    Withdraw { name: String },
    /// The end of this sandbox is known and recorded. Its deposits go.
    Acknowledge { sandbox: Ticket },
    /// Have CRIU write the sandbox's processes to a directory, and end them.
    Checkpoint {
        ticket: Ticket,
        sandbox: Ticket,
        criu: Criu,
    },
    /// Have CRIU make them again from there.
    Restore {
        ticket: Ticket,
        sandbox: Ticket,
        criu: Criu,
    },
    /// End a sandbox that is on disk, or on its way there or back. For any other: nothing.
    Discard { sandbox: Ticket },
    /// Kill everything and leave.
    Shutdown,
}

/// From the zygote to the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The first one: the zygote is ready.
    Hello {
        protocol: u32,
        capabilities: Capabilities,
        /// The highest ticket so far.
        last_ticket: Ticket,
    },
    /// Another daemon is connected.
    Busy,
    /// A sandbox of an earlier daemon. Descriptors: its pidfd while it lives.
    Survivor {
        ticket: Ticket,
        /// As in its specification.
        id: String,
        pid: u32,
        cgroup: String,
        ports: Vec<u16>,
        /// How it ended; `None`: it lives.
        ended: Option<ExitStatus>,
        /// CPU time of one that has ended, in nanoseconds.
        cpu_ns: u64,
    },
    /// What an earlier daemon left. Descriptors: in the order they were given.
    Deposited {
        name: String,
        sandbox: Option<Ticket>,
    },
    /// The greeting is complete.
    Greeted,
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
    /// A sandbox is on disk; none of its processes lives.
    Checkpointed { ticket: Ticket },
    /// It lives again. Descriptors: the first process's new pidfd.
    Restored {
        ticket: Ticket,
        sandbox: Ticket,
        pid: u32,
    },
    /// The request failed and left nothing. A sandbox that could not be written lives on, thawed;
    /// one that could not be restored is reported as exited next.
    Failed { ticket: Ticket, failure: Failure },
    /// A process that was reported as started has ended. For a sandbox: all its processes have.
    Exited {
        ticket: Ticket,
        status: ExitStatus,
        /// CPU time of a sandbox at its end, in nanoseconds.
        cpu_ns: u64,
    },
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
