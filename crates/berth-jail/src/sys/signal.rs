//! Signals: sending through a pidfd, and the clean slate a new program gets.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

use rustix::process::Pid;

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

/// Blocks every signal; what comes waits for [`next`].
pub(crate) fn block_all() {
    let all = full_set();
    // SAFETY: the mask is a live, initialised set; nothing is written (null).
    unsafe {
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
}

/// Waits for a signal that is blocked, takes it, and returns its number.
pub(crate) fn next() -> i32 {
    let all = full_set();
    loop {
        // SAFETY: the mask is a live, initialised set; nothing is written (null).
        let signal = unsafe { libc::sigwaitinfo(&raw const all, std::ptr::null_mut()) };
        if signal > 0 {
            return signal;
        }
    }
}

/// Sends a signal to a process that the caller has not reaped, so that its number is still its own.
pub(crate) fn send_to(child: Pid, signal: i32) {
    // SAFETY: integers only.
    unsafe {
        libc::kill(child.as_raw_nonzero().get(), signal);
    }
}

fn full_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigfillset` initialises the set that it is given, and cannot fail for a valid pointer.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// A descriptor that is readable when a child has ended; the signal itself is blocked from then on, in
/// children, too, until [`reset_all`].
pub(crate) fn children_ended() -> io::Result<OwnedFd> {
    let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set, sigaddset and the calls that take it read or change a
    // live one; the old mask is not asked for.
    unsafe {
        libc::sigemptyset(mask.as_mut_ptr());
        libc::sigaddset(mask.as_mut_ptr(), libc::SIGCHLD);
        check(libc::c_long::from(libc::sigprocmask(
            libc::SIG_BLOCK,
            mask.as_ptr(),
            std::ptr::null_mut(),
        )))?;
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        let fd = check(libc::c_long::from(libc::signalfd(-1, mask.as_ptr(), flags)))?;
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        // A new descriptor that nobody else owns.
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Default actions for every signal and an empty mask. The Rust runtime ignores `SIGPIPE`, and an
/// ignored signal stays ignored across `execve`. The kernel is asked directly: libc's functions
/// leave out the two signals that libc keeps for itself.
pub(crate) fn reset_all() {
    /// The kernel's `sigaction` (handler, flags, restorer, mask), all zero: the default action.
    const DEFAULT: [u64; 4] = [0; 4];
    const SIGNALS: libc::c_int = 64;
    let empty_mask: u64 = 0;
    for signal in 1..=SIGNALS {
        // SAFETY: the kernel reads one of its sigactions, which is no larger than `DEFAULT`, writes
        // nothing (null), and is told the size of its mask. SIGKILL and SIGSTOP fail, rightly.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT.as_ptr(),
                std::ptr::null_mut::<u64>(),
                size_of::<u64>(),
            );
        }
    }
    // SAFETY: the kernel reads one mask of the size it is told and writes nothing.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const empty_mask,
            std::ptr::null_mut::<u64>(),
            size_of::<u64>(),
        );
    }
}
