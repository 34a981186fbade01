//! Learning that something listens: the sandbox's `listen` call waits while the zygote makes it in
//! its place, so that the daemon hears of the port when, and only when, it accepts connections.
//!
//! Invariant: the zygote acts on TCP sockets only; every other `listen` is the container's own.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};

use crate::sys::seccomp::{self, Answer, Notification};

/// Least queue of accepted connections. Programs ask for as few as 5 (Python's `http.server`), and
/// clients of a full queue do not wait in line: their connections back off for seconds, a minute in
/// the end, or break. Behind a gateway that sends a crowd at once that is one answer in ten lost.
const LEAST_BACKLOG: i32 = 1024;

/// `pidfd_open` takes a thread id with it, since Linux 6.9.
const PIDFD_THREAD: u32 = libc::O_EXCL.cast_unsigned();

/// Handles one notification; the TCP port that listens now, if that is what happened.
pub(super) fn handle(listener: BorrowedFd<'_>) -> Option<u16> {
    let notification = match seccomp::receive(listener) {
        Ok(notification) => notification,
        // The caller was killed meanwhile, or a signal came first.
        Err(_) => return None,
    };
    let Ok(socket) = take_socket(listener, &notification) else {
        // Not a descriptor, or gone: the kernel's own answer is the right one.
        let _ = seccomp::answer(listener, notification.id, Answer::Continue);
        return None;
    };
    if !is_tcp(&socket) {
        // The kernel remembers who made a Unix socket listen and tells its clients.
        let _ = seccomp::answer(listener, notification.id, Answer::Continue);
        return None;
    }
    // The kernel takes an int from the low half.
    let backlog = i32::from_ne_bytes(low_half(notification.arguments[1]).to_ne_bytes());
    let result = rustix::net::listen(&socket, roomy(backlog));
    let answer = match result {
        Ok(()) => Answer::Success,
        Err(error) => Answer::Failure(error.raw_os_error()),
    };
    let _ = seccomp::answer(listener, notification.id, answer);
    result.ok()?;
    let address = rustix::net::getsockname(&socket).ok()?;
    Some(SocketAddr::try_from(address).ok()?.port())
}

/// At least [`LEAST_BACKLOG`]. A negative one means as many as the kernel allows.
fn roomy(backlog: i32) -> i32 {
    if backlog < 0 {
        backlog
    } else {
        backlog.max(LEAST_BACKLOG)
    }
}

fn low_half(argument: u64) -> u32 {
    u32::try_from(argument & 0xffff_ffff).unwrap_or_default()
}

/// A second descriptor of the socket that the caller names in its first argument.
fn take_socket(listener: BorrowedFd<'_>, notification: &Notification) -> io::Result<OwnedFd> {
    let process = open_process(notification.thread)?;
    // The thread id could have been reused; if the caller still waits now, the pidfd is its own.
    if !seccomp::still_waits(listener, notification.id) {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    let number = i32::from_ne_bytes(low_half(notification.arguments[0]).to_ne_bytes());
    Ok(rustix::process::pidfd_getfd(
        process.as_fd(),
        number,
        PidfdGetfdFlags::empty(),
    )?)
}

fn open_process(thread: u32) -> io::Result<OwnedFd> {
    let pid = |id: u32| {
        let id = i32::try_from(id).ok().and_then(Pid::from_raw);
        id.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))
    };
    let flags = PidfdFlags::from_bits_retain(PIDFD_THREAD);
    if let Ok(found) = rustix::process::pidfd_open(pid(thread)?, flags) {
        return Ok(found);
    }
    let status = std::fs::read_to_string(format!("/proc/{thread}/status"))?;
    let group = status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:"))
        .and_then(|value| value.trim().parse().ok())
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
    Ok(rustix::process::pidfd_open(
        pid(group)?,
        PidfdFlags::empty(),
    )?)
}

fn is_tcp(socket: &OwnedFd) -> bool {
    let protocol = rustix::net::sockopt::socket_protocol(socket);
    protocol.is_ok_and(|protocol| protocol == Some(rustix::net::ipproto::TCP))
}
