//! Named points at which a test can have this process killed, to see what a successor makes of it.
//!
//! A process with `BERTH_CRASH=<dir>` in its environment that reaches the point `<name>` while a file
//! of that name is in the directory deletes the file and kills itself with SIGKILL: once, so that its
//! successor passes. Exists in builds with debug assertions only. (The jail has points of its own;
//! this crate stands below it.)

/// Every point there is; each is in the code once.
pub const CRASH_POINTS: &[&str] = &[
    "registry.upload.created",
    "registry.upload.written",
    "registry.blob.hashed",
    "registry.blob.synced",
    "registry.blob.renamed",
    "registry.upload.synced",
    "registry.upload.renamed",
    "registry.blob.linked",
    "registry.record.written",
    "registry.manifest.intended",
    "registry.manifest.stored",
    "registry.manifest.referrer",
    "registry.manifest.tagged",
    "registry.delete.untagged",
    "registry.delete.record",
    "registry.gc.pending",
    "registry.gc.unlinked",
    "registry.gc.blob",
    "registry.gc.done",
];

/// The points of a storage in a bucket.
pub const BUCKET_CRASH_POINTS: &[&str] = &[
    "registry.bucket.blob",
    "registry.bucket.part",
    "registry.bucket.complete",
    "registry.bucket.committed",
];

/// Ends the process here if a test has asked for it.
#[cfg(debug_assertions)]
pub(crate) fn crash_point(name: &str) {
    debug_assert!(
        CRASH_POINTS.contains(&name) || BUCKET_CRASH_POINTS.contains(&name),
        "an unlisted point: {name}"
    );
    let Some(directory) = std::env::var_os("BERTH_CRASH") else {
        return;
    };
    if std::fs::remove_file(std::path::Path::new(&directory).join(name)).is_ok() {
        // That the process is still here afterwards is what the test would notice.
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Does nothing.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn crash_point(_name: &str) {}
