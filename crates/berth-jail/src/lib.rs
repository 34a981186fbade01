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
//! helper's event loop; `child` runs between fork and exec; `cgroup` and `seccomp` are mechanism;
//! `packet` and `protocol` the wire; `sys` the only place with `unsafe`.
//!
//! Invariants: see `client`, `zygote` and `child`. Whatever kills the daemon or the zygote,
//! no process of a sandbox survives its zygote.

mod cgroup;
mod child;
mod client;
mod disk;
mod error;
mod packet;
mod parent;
mod protocol;
mod seccomp;
mod spec;
mod sys;
mod zygote;

pub use cgroup::Capabilities;
pub use client::{ExecFds, ExecProcess, OnDisconnect, Sandbox, SandboxFds, Zygote, ZygoteConfig};
pub use disk::{Disk, DiskTemplate};
pub use error::JailError;
pub use parent::{adopt_into_session, die_with_parent, sweep_session, test_zygote};
pub use spec::{
    DEFAULT_CAPABILITIES, Device, ExitStatus, Limits, Mount, MountSource, ProcessSpec, Rlimit,
    RlimitKind, Rootfs, SandboxExtras, SandboxSpec, SpawnTimings, Usage,
};
pub use zygote::{ZYGOTE_ARG, is_zygote, zygote_main};
