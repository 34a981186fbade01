//! Handing a descriptor to tokio's reactor.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Registers a non-blocking descriptor. Must be called on a tokio runtime.
pub(crate) fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open for as long as it lives, always reports the same number, and is
    // owned by the AsyncFd from here on.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::from)
}
