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
    "start.left",
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

/// The version of the protocol that a zygote tells the next daemon that it speaks: a test may have it be another
/// program's, by a file in the same directory.
pub(crate) fn spoken_protocol(own: u32) -> u32 {
    let other = || {
        if !cfg!(debug_assertions) {
            return None;
        }
        let directory = std::env::var_os(berth_crash::VARIABLE)?;
        let file = std::path::Path::new(&directory).join("zygote.protocol");
        std::fs::read_to_string(file).ok()?.trim().parse().ok()
    };
    other().unwrap_or(own)
}
