//! Points at which a test can have the daemon or the zygote killed.

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

/// Ends the process here if a test has asked for it.
#[inline]
pub fn crash_point(name: &str) {
    berth_crash::point(
        name,
        &[CRASH_POINTS, CHECKPOINT_CRASH_POINTS, API_CRASH_POINTS],
    );
}
