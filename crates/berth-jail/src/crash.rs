//! Named points at which a test can have this process killed, to see what a successor makes of it.
//!
//! A process with `BERTH_CRASH=<dir>` in its environment that reaches the point `<name>` while a file
//! of that name is in the directory deletes the file and kills itself with SIGKILL: once, so that
//! its successor passes. Exists in builds with debug assertions only; a release build contains no
//! trace of it.

/// Every point there is, in the order of a container's life; each is in the code once. Those of the
/// zygote kill the zygote, the others the daemon.
pub const CRASH_POINTS: &[&str] = &[
    "create.made",
    "create.prepared",
    "start.pipes",
    "zygote.spawn",
    "zygote.ordered",
    "zygote.runs",
    "start.launched",
    "start.running",
    "zygote.exec",
    "zygote.exec-runs",
    "exec.runs",
    "zygote.ended",
    "zygote.reaped",
    "exit.seen",
    "exit.told",
    "remove.begun",
    "remove.moved",
];

/// The points on the way of a container to disk and back. They kill the zygote.
pub const CHECKPOINT_CRASH_POINTS: &[&str] = &[
    "zygote.checkpoint",
    "zygote.dumping",
    "zygote.stored",
    "zygote.restore",
    "zygote.restoring",
    "zygote.restored",
];

/// The points outside of a container's life: in calls of the Docker API that make other things.
/// They kill the daemon.
pub const API_CRASH_POINTS: &[&str] = &[
    "sidecar.network",
    "sidecar.listens",
    "sidecar.removed",
    "volume.made",
    "volume.created",
    "volume.moved",
    "archive.half",
    "commit.copied",
    "commit.layered",
];

/// Name of the environment variable.
pub const CRASH_VARIABLE: &str = "BERTH_CRASH";

/// Ends the process here if a test has asked for it.
#[cfg(debug_assertions)]
pub fn crash_point(name: &str) {
    debug_assert!(
        [CRASH_POINTS, CHECKPOINT_CRASH_POINTS, API_CRASH_POINTS]
            .iter()
            .any(|points| points.contains(&name)),
        "an unlisted point: {name}"
    );
    let Some(directory) = std::env::var_os(CRASH_VARIABLE) else {
        return;
    };
    if std::fs::remove_file(std::path::Path::new(&directory).join(name)).is_ok() {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Does nothing.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn crash_point(_name: &str) {}
