//! `mount_setattr`, which rustix does not wrap.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use super::check;

/// Maps a detached, never attached mount's ids through a user namespace.
pub(crate) fn idmap(mount: impl AsFd, user_namespace: BorrowedFd<'_>) -> io::Result<()> {
    set_attributes(
        mount,
        libc::MOUNT_ATTR_IDMAP,
        0,
        u64::try_from(user_namespace.as_raw_fd()).unwrap_or_default(),
    )
}

/// Sets `MOUNT_ATTR_*` bits on one mount.
pub(crate) fn add_attributes(mount: impl AsFd, attributes: u64) -> io::Result<()> {
    set_attributes(mount, attributes, 0, 0)
}

/// Lets what is in a mount be executed after all.
pub(crate) fn allow_execution(mount: impl AsFd) -> io::Result<()> {
    set_attributes(mount, 0, libc::MOUNT_ATTR_NOEXEC, 0)
}

fn set_attributes(
    mount: impl AsFd,
    attributes: u64,
    cleared: u64,
    userns_fd: u64,
) -> io::Result<()> {
    let request = libc::mount_attr {
        attr_set: attributes,
        attr_clr: cleared,
        propagation: 0,
        userns_fd,
    };
    // SAFETY: the path is a NUL-terminated empty string (AT_EMPTY_PATH) and `request` is a live
    // mount_attr of the size passed; the kernel only reads it.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const request,
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}
