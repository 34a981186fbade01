//! `clone3`: the one way processes are made.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

use rustix::process::Pid;

use super::check;

/// Which side of the fork we are on.
pub(crate) enum Fork {
    /// The new process.
    Child,
    /// The parent: pid as seen from its own pid namespace, and a pidfd (close-on-exec).
    Parent { pid: Pid, pidfd: OwnedFd },
}

/// Forks with `flags` (`CLONE_NEW*`). The caller's process must be single-threaded: the child goes
/// on to allocate, which is only sound when no other thread can have held a lock.
pub(crate) fn fork(flags: libc::c_int) -> io::Result<Fork> {
    let mut pidfd: libc::c_int = -1;
    let mut arguments = libc::clone_args {
        flags: u64::from(flags.cast_unsigned()) | (libc::CLONE_PIDFD as u64),
        pidfd: (&raw mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    // SAFETY: `arguments` is a live, fully initialised clone_args of the size passed; without
    // CLONE_VM the child runs on its own copy of this stack, so nothing is shared.
    let result = check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut arguments,
            size_of::<libc::clone_args>(),
        )
    })?;
    let pid = i32::try_from(result).ok().and_then(Pid::from_raw);
    match pid {
        None => Ok(Fork::Child),
        Some(pid) => {
            // SAFETY: CLONE_PIDFD stored a new descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Fork::Parent { pid, pidfd })
        }
    }
}

/// Forks without any flag, for a process under a seccomp filter that knows no `clone3`. `None` in the
/// child. The caller's process must be single-threaded, as for [`fork`].
pub(crate) fn plain_fork() -> io::Result<Option<Pid>> {
    // SAFETY: without another thread, the child may go on to use everything that its copy holds.
    let pid = check(libc::c_long::from(unsafe { libc::fork() }))?;
    Ok(i32::try_from(pid).ok().and_then(Pid::from_raw))
}

/// Ends the process at once, without running destructors or exit handlers.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(code) }
}
