//! Named points at which a test can have this process killed, to see what its successor makes of it.
//!
//! A process with `BERTH_CRASH=<dir>` in its environment that comes to the point `<name>` while a file of
//! that name is in the directory deletes the file and kills itself with SIGKILL: once, so that its successor
//! passes. Exists in builds with debug assertions only; a release build contains no trace of it.
//!
//! The names of the points stand in the crates that have them, so that tests go through all.

/// Name of the environment variable with the directory.
pub const VARIABLE: &str = "BERTH_CRASH";

/// Ends the process here if a test has asked for it. `lists`: where the name must stand.
#[cfg(debug_assertions)]
pub fn point(name: &str, lists: &[&[&str]]) {
    debug_assert!(
        lists.iter().any(|list| list.contains(&name)),
        "an unlisted point: {name}"
    );
    let Some(directory) = std::env::var_os(VARIABLE) else {
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
pub fn point(_name: &str, _lists: &[&[&str]]) {}
