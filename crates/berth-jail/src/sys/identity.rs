//! File-system ids of the calling thread.
#![allow(unsafe_code)]

use std::io;

/// Makes files created from now on belong to `uid`/`gid`. Keeps capabilities only when the
/// `NO_SETUID_FIXUP` secure bit is set.
pub(crate) fn set_fs_ids(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: both take one integer and change only the calling thread's credentials.
    let now = unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
        // An invalid id changes nothing and reports the current one.
        (libc::setfsuid(u32::MAX), libc::setfsgid(u32::MAX))
    };
    if now == (uid.cast_signed(), gid.cast_signed()) {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EPERM))
    }
}
