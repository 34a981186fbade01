//! Services to the daemon that need no zygote: sweeping dead sessions, adopting helpers.
#![allow(unsafe_code)]

use std::path::{Path, PathBuf};

use crate::cgroup::{Session, sweep};
use crate::error::JailError;

/// Removes what a dead session left: kills every process in the cgroups below `cgroup` (as in
/// [`crate::ZygoteConfig::cgroup`]), frozen or not, and removes them. Harmless when there is
/// nothing. Blocks; takes some milliseconds when there is something.
pub fn sweep_session(cgroup: &str) -> Result<(), JailError> {
    sweep(cgroup).map_err(|error| JailError::setup(format!("sweep the session `{cgroup}`"), error))
}

/// Moves a process of ours (workerd) into the session's cgroup so that [`sweep_session`] finds it.
pub fn adopt_into_session(cgroup: &str, pid: u32) -> Result<(), JailError> {
    Session::open(cgroup)
        .and_then(|session| session.adopt(pid))
        .map_err(|error| {
            JailError::setup(
                format!("move process {pid} into the session `{cgroup}`"),
                error,
            )
        })
}

/// Makes the kernel kill the child when this process dies (strictly: when the thread that spawns it
/// ends; spawn from a runtime's worker or main thread, not from a short-lived one).
pub fn die_with_parent(command: &mut tokio::process::Command) {
    let parent = rustix::process::getpid();
    // SAFETY: the closure makes two system calls and allocates nothing, so that it may run between
    // fork and exec of a multi-threaded process.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            // Too late if the parent died before the call.
            if rustix::process::getppid() != Some(parent) {
                return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
}

/// The `berth-zygote` binary, for tests of this workspace: built if it is missing or old, in the
/// directory that the test itself was built into. Set [`crate::ZygoteConfig::executable`] to it.
#[doc(hidden)]
pub fn test_zygote() -> std::io::Result<PathBuf> {
    static BUILT: std::sync::OnceLock<Result<PathBuf, String>> = std::sync::OnceLock::new();
    let build = || -> std::io::Result<PathBuf> {
        let test = std::env::current_exe()?;
        let missing = || std::io::Error::other("this is not a test built by cargo");
        // <target>/debug/deps/<test>
        let directory = test.parent().and_then(Path::parent).ok_or_else(missing)?;
        let target = directory.parent().ok_or_else(missing)?;
        let mut cargo = std::process::Command::new(option_env!("CARGO").unwrap_or("cargo"));
        cargo.args([
            "build",
            "--quiet",
            "-p",
            "berth-jail",
            "--bin",
            "berth-zygote",
        ]);
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.arg("--target-dir").arg(target);
        if directory.ends_with("release") {
            cargo.arg("--release");
        }
        if !cargo.status()?.success() {
            return Err(std::io::Error::other("could not build berth-zygote"));
        }
        Ok(directory.join("berth-zygote"))
    };
    BUILT
        .get_or_init(|| build().map_err(|error| error.to_string()))
        .clone()
        .map_err(std::io::Error::other)
}
