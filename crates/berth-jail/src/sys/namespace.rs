//! `unshare`.
#![allow(unsafe_code)]

use std::io;

use rustix::thread::UnshareFlags;

/// Moves the calling process into new namespaces.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(
        !flags.contains(UnshareFlags::FILES),
        "would split the descriptor table"
    );
    // SAFETY: the precondition concerns UnshareFlags::FILES only, which no caller passes.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(Into::into)
}
