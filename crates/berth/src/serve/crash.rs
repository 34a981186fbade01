//! Named steps of a deployment at which a test can have the server killed, to see what the next one makes of
//! it: with `BERTH_CRASH=<dir>` in its environment it looks there for a file of the step's name, deletes it and
//! kills itself. Exists in builds with debug assertions only.

/// Every step there is.
#[cfg(debug_assertions)]
const POINTS: [&str; 8] = [
    "deploy.tried",
    "deploy.recorded",
    "deploy.replacing",
    "deploy.between",
    "deploy.replaced",
    "image.provided",
    "rollout.recorded",
    "rollout.ending",
];

/// Ends the process here if a test has asked for it.
#[cfg(debug_assertions)]
pub(super) fn crash_point(name: &str) {
    debug_assert!(POINTS.contains(&name), "an unlisted point: {name}");
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
pub(super) fn crash_point(_name: &str) {}
