//! Signals: sending through a pidfd, and the clean slate a new program gets.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use super::check;

/// Sends any signal number (0 probes). `Ok(false)`: the process has ended.
pub(crate) fn send(pidfd: impl AsFd, signal: i32) -> io::Result<bool> {
    // SAFETY: a null siginfo is allowed; everything else is an integer.
    let result = check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    });
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Default actions for every signal and an empty mask. The Rust runtime ignores `SIGPIPE`, and an
/// ignored signal stays ignored across `execve`.
pub(crate) fn reset_all() {
    // SAFETY: `action` and `set` are plain data fully initialised by zeroing and `sigemptyset`;
    // SIG_DFL installs no handler. Failures (SIGKILL, SIGSTOP, libc's reserved ones) do not matter.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        for signal in 1..=libc::SIGRTMAX() {
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}
