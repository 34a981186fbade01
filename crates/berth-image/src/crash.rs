//! Named points at which a test can have this process killed, to see what the next one makes of it:
//! a process with `BERTH_CRASH=<dir>` in its environment that comes to the point `<name>` while a file
//! of that name is in the directory deletes the file and kills itself. Exists in builds with debug
//! assertions only.

/// Every point there is in the store.
pub const CRASH_POINTS: &[&str] = &[
    "collect.begun",
    "collect.forgotten",
    "collect.half",
    "collect.moved",
    "collect.emptying",
    "ingest.unpacked",
    "ingest.stored",
    "ingest.placed",
    "image.described",
];

/// Ends the process here if a test has asked for it.
#[cfg(debug_assertions)]
pub(crate) fn crash_point(name: &str) {
    debug_assert!(CRASH_POINTS.contains(&name), "an unlisted point: {name}");
    let Some(directory) = std::env::var_os("BERTH_CRASH") else {
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
pub(crate) fn crash_point(_name: &str) {}
