//! Named points at which a test can have this process killed, to see what a successor makes of it.
//!
//! A process with `BERTH_CRASH=<dir>` in its environment that reaches the point `<name>` while a file
//! of that name is in the directory deletes the file and kills itself with SIGKILL: once, so that its
//! successor passes. Exists in builds with debug assertions only.

/// Every point there is; each is in the code once.
pub const CRASH_POINTS: &[&str] = &[
    "r2.blob.created",
    "r2.blob.written",
    "r2.blob.synced",
    "r2.blob.renamed",
    "r2.bucket.written",
    "r2.bucket.finished",
    "r2.object.stored",
    "r2.object.committed",
    "r2.object.replaced",
    "r2.part.stored",
    "r2.part.committed",
    "r2.upload.linked",
    "r2.upload.committed",
];

/// Ends the process here if a test has asked for it.
#[cfg(debug_assertions)]
pub(crate) fn crash_point(name: &str) {
    debug_assert!(CRASH_POINTS.contains(&name), "an unlisted point: {name}");
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
