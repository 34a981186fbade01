//! One file or directory by its descriptor: making it, clearing its place, its times and extended
//! attributes.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use berth_image::Root;
use rustix::fs::{AtFlags, Mode, OFlags, Stat, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::Item;

/// Capabilities of programs and the like.
pub(super) fn copy_xattrs(source: &Root, item: &Item, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let Some(source) = source.open_any(&item.source, flags)? else {
        return Ok(());
    };
    for (name, value) in xattrs(&source)? {
        match rustix::fs::fsetxattr(target, &*name, &value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// The attributes that belong to a file rather than to where it is stored.
pub(super) fn xattrs(file: &OwnedFd) -> io::Result<Vec<(std::ffi::OsString, Vec<u8>)>> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let names = match xattr::list_deref(&path) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for name in names {
        let bytes = name.as_encoded_bytes();
        // Docker's images have no others.
        if bytes != b"security.capability" {
            continue;
        }
        if let Some(value) = xattr::get_deref(&path, &name)? {
            found.push((name, value));
        }
    }
    Ok(found)
}

pub(super) fn times(stat: &Stat) -> Timestamps {
    let time = Timespec {
        tv_sec: stat.st_mtime,
        tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

pub(super) fn create(parent: BorrowedFd<'_>, base: &[u8]) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, base, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Removes a file that is in the way; directories are not replaced by files.
pub(super) fn clear(parent: BorrowedFd<'_>, base: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, base, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            format!("a directory is in the way of `{}`", base.escape_ascii()),
        )),
        Err(errno) => Err(errno.into()),
    }
}
