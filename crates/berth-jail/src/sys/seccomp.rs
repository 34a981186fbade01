//! Installing seccomp filters and answering their notifications.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

use super::check;

/// A system call that waits for the zygote's answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notification {
    /// The kernel's cookie.
    pub(crate) id: u64,
    /// Thread id in the zygote's pid namespace.
    pub(crate) thread: u32,
    /// System call arguments.
    pub(crate) arguments: [u64; 6],
}

/// How a notified system call ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// It returns 0.
    Success,
    /// It fails with this error number.
    Failure(i32),
    /// The kernel runs it as if there were no filter.
    Continue,
}

/// Adds a filter to the calling thread; its `USER_NOTIF` verdicts arrive at the returned
/// descriptor.
pub(crate) fn install(filter: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    // Since Linux 5.19: once the zygote has taken a notification, only a fatal signal interrupts
    // the caller, so that a runtime's preemption signals do not restart `listen` for ever.
    const WAIT_KILLABLE_RECV: libc::c_ulong = 1 << 5;
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    let fd = match install_with(filter, flags | WAIT_KILLABLE_RECV) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => install_with(filter, flags),
        other => other,
    }?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: NEW_LISTENER returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn install_with(filter: &[libc::sock_filter], flags: libc::c_ulong) -> io::Result<libc::c_long> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: `program` describes `filter.len()` live instructions; the kernel copies and checks
    // them and never writes through the pointer.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    })
}

/// Takes one pending notification. `ENOENT`: its caller has gone meanwhile.
pub(crate) fn receive(listener: impl AsFd) -> io::Result<Notification> {
    // SAFETY: the struct is plain data for which all zeroes is valid, and the kernel wants zeroes.
    let mut raw: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: `raw` is a live, writable seccomp_notif, which this ioctl fills.
    check(libc::c_long::from(unsafe {
        libc::ioctl(
            listener.as_fd().as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_RECV,
            &raw mut raw,
        )
    }))?;
    Ok(Notification {
        id: raw.id,
        thread: raw.pid,
        arguments: raw.data.args,
    })
}

/// Whether the notified thread still waits, so that what was read about it is about it.
pub(crate) fn still_waits(listener: impl AsFd, id: u64) -> bool {
    // SAFETY: the ioctl reads one u64.
    unsafe {
        libc::ioctl(
            listener.as_fd().as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
            &raw const id,
        ) == 0
    }
}

/// Ends the notified system call. `ENOENT`: its caller has gone meanwhile.
pub(crate) fn answer(listener: impl AsFd, id: u64, answer: Answer) -> io::Result<()> {
    // Since Linux 5.5.
    const CONTINUE: u32 = 1;
    let (error, flags) = match answer {
        Answer::Success => (0, 0),
        Answer::Failure(errno) => (-errno, 0),
        Answer::Continue => (0, CONTINUE),
    };
    let mut raw = libc::seccomp_notif_resp {
        id,
        val: 0,
        error,
        flags,
    };
    // SAFETY: `raw` is a live seccomp_notif_resp, which the ioctl reads.
    check(libc::c_long::from(unsafe {
        libc::ioctl(
            listener.as_fd().as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SEND,
            &raw mut raw,
        )
    }))?;
    Ok(())
}
