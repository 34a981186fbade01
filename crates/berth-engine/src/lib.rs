//! Containers: one actor per container; create, start, exec, stop, logs, connect.
//!
//! ```text
//! Engine ── table (names) ── Handle ══mpsc══▶ actor (one task per container)
//!   │                          │ watch          ├─ state      what is legal when (pure)
//!   │                          ▼                ├─ launch     the jail, or a test's stand-in
//!   └── connect ── hold ── liveness, ports      ├─ log        pipes → lines → ring on disk, events
//!                                               └─ exec       other processes
//! disks: writable layers of limited size
//! prepare: image + request → process (pure), files (pure), ids, directories
//! keep: what the next daemon takes running containers over with
//! session: the directory, lock and record of a living session; sweeping dead ones
//! ```
//!
//! Invariants: only a container's actor changes it; its state follows from its live process (the
//! jail's pidfd), never from a record; whatever happens to a caller, what it asked for is finished.
#![forbid(unsafe_code)]

mod activity;
mod actor;
mod archive;
mod boost;
mod checkpoint;
mod commit;
mod disks;
mod engine;
mod error;
mod exec;
mod files;
mod hold;
mod keep;
mod launch;
mod log;
mod meter;
mod model;
mod mounts;
mod output;
mod prepare;
mod process;
mod pty;
mod session;
mod signals;
mod sleep;
mod slots;
mod state;
mod streams;
mod table;
mod terminal;
mod trust;
mod visit;
mod volumes;

pub use activity::Connected;
pub use archive::{PathStat, Pieces, WriteOptions};
pub use engine::{Engine, Reached, Tunnel};
pub use error::EngineError;
pub use keep::resume::{Kept, Lost, Resumed};
pub use meter::Metered;
pub use model::{
    CommitSpec, ContainerInfo, ContainerMount, ContainerMountSource, ContainerSpec, EngineConfig,
    Event, Exec, ExecIo, ExecSpec, InstanceLimit, LogLine, Policy, Rest, RestartPolicy, STOP_GRACE,
    SleepPolicy, Status, Timings, TotalLimits,
};
pub use output::{Output, OutputStream};
pub use session::{Session, SessionLock, SessionRecord, kept_sessions, sessions, sweep};
pub use signals::signal_number;
pub use streams::{ExecInput, ExecOutput};
pub use terminal::resize;
pub use volumes::{VolumeInfo, VolumeLease, Volumes};
