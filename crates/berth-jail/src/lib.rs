//! The small privileged part: a single-threaded helper (the zygote) that does every fork, and the
//! namespaces, root file system, cgroups, seccomp filter and capabilities of a container process.
//!
//! A binary that uses this crate starts `main` with:
//!
//! ```ignore
//! if berth_jail::is_zygote() {
//!     return berth_jail::zygote_main();
//! }
//! ```
//!
//! Tests of other crates need a binary that does so: this crate builds one for them, `berth-zygote`,
//! and [`test_zygote`] finds it.
//!
//! Rooms: `spec` and `error` are the vocabulary; `client` is the daemon's side; `zygote` the
//! helper's event loop; `child` runs between fork and exec; `view` is the daemon's look into a root; `cgroup` and `seccomp` are mechanism;
//! `ids` hands out user ids; `waits` mends what a checkpoint interrupts;
//! `packet` and `protocol` the wire; `sys` the only place with `unsafe`.
//!
//! Invariants: see `client`, `zygote` and `child`. Whatever kills the daemon or the zygote,
//! no process of a sandbox survives its zygote.

mod cgroup;
mod child;
mod client;
mod crash;
mod disk;
mod error;
mod ids;
mod packet;
mod parent;
mod protocol;
mod seccomp;
mod spec;
mod sys;
mod view;
mod waits;
mod zygote;

pub use cgroup::Capabilities;
pub use client::{
    ExecFds, ExecProcess, OnDisconnect, Sandbox, SandboxFds, Survivor, Survivors, Zygote,
    ZygoteConfig,
};
pub use crash::{API_CRASH_POINTS, CHECKPOINT_CRASH_POINTS, CRASH_POINTS, crash_point};
pub use disk::{Disk, DiskTemplate};
pub use error::JailError;
pub use ids::{IdAllocator, IdRange};
pub use parent::{adopt_into_session, die_with_parent, sweep_session, test_zygote};
pub use spec::{
    Criu, DEFAULT_CAPABILITIES, Device, ExitStatus, ExtraFile, Limits, Mount, MountSource,
    OverlayMount, ProcessSpec, Rlimit, RlimitKind, Rootfs, SandboxExtras, SandboxSpec,
    SpawnTimings, TerminalSpec, Usage,
};
pub use view::{ContainerRoot, with_root};
pub use zygote::{ZYGOTE_ARG, is_zygote, zygote_main};
