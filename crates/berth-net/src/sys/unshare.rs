//! `unshare(2)` of the network namespace of the calling thread.
#![allow(unsafe_code)]

use rustix::thread::UnshareFlags;

/// Moves the calling thread, and no other one, into a new, empty network namespace.
pub(crate) fn new_network_namespace() -> std::io::Result<()> {
    // SAFETY: `unshare` is unsafe only for flags that detach memory or the descriptor table from
    // what other code of this process relies on. `NEWNET` changes nothing but the namespace in
    // which this thread makes sockets from now on.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET)? };
    Ok(())
}
