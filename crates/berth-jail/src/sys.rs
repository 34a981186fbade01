//! The syscall edge: everything `unsafe` in this crate, one small module per kernel interface.
//!
//! Owner: the zygote and its children; the daemon uses only [`signal`]. Invariant: each function is
//! a safe wrapper whose preconditions hold for every argument its type admits, except where a
//! function says that the process must be single-threaded, which the zygote is by construction.

pub(crate) mod async_fd;
pub(crate) mod clock;
pub(crate) mod clone;
pub(crate) mod exec;
pub(crate) mod identity;
pub(crate) mod loop_device;
pub(crate) mod mount;
pub(crate) mod namespace;
pub(crate) mod seccomp;
pub(crate) mod signal;

/// Turns a raw syscall's result into a `Result`.
fn check(result: libc::c_long) -> std::io::Result<libc::c_long> {
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(result)
}
