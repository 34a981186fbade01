//! Owner, mode, xattrs and times of what was just created.
//!
//! Order matters: `chown` clears set-user-id bits and capabilities, so the mode and the xattrs come
//! after it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::tar_read::{Entry, Kind};

/// Marks a directory that hides everything below it.
pub(crate) const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
/// overlayfs's own records. An archive must not bring any: they redirect lookups.
pub(crate) const OVERLAY_PREFIX: &[u8] = b"trusted.overlay.";

/// Sets owner, xattrs and mode (not the times) of an open file or directory.
pub(super) fn apply(file: BorrowedFd<'_>, entry: &Entry) -> io::Result<()> {
    let (uid, gid) = owner(entry)?;
    fs::fchown(file, Some(uid), Some(gid))?;
    for (name, value) in wanted(entry) {
        supported(name, fs::fsetxattr(file, name, value, XattrFlags::empty()))?;
    }
    Ok(fs::fchmod(file, Mode::from_raw_mode(entry.mode))?)
}

/// Sets owner, xattrs, mode and times of a link, device or fifo, which cannot be opened.
pub(super) fn apply_at(parent: BorrowedFd<'_>, base: &[u8], entry: &Entry) -> io::Result<()> {
    let (uid, gid) = owner(entry)?;
    fs::chownat(
        parent,
        base,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    if !entry.xattrs.is_empty() {
        // There is no `lsetxattrat` before Linux 6.13; the descriptor's procfs link is the way to
        // name a file relative to it.
        let path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd()))
            .join(OsStr::from_bytes(base));
        for (name, value) in wanted(entry) {
            supported(name, fs::lsetxattr(&path, name, value, XattrFlags::empty()))?;
        }
    }
    if entry.kind != Kind::Symlink {
        // A container that runs may have put a link in the node's place: the descriptor is of
        // whatever is there, and its procfs link leads nowhere else.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = fs::openat(parent, base, flags, Mode::empty())?;
        let path = format!("/proc/self/fd/{}", node.as_raw_fd());
        match fs::chmod(path, Mode::from_raw_mode(entry.mode)) {
            // It is a link now; links have no modes.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(fs::utimensat(
        parent,
        base,
        &times(entry.mtime),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// Sets both times to the modification time: access times are not part of an image.
pub(super) fn set_times(file: BorrowedFd<'_>, mtime: (i64, u32)) -> io::Result<()> {
    Ok(fs::futimens(file, &times(mtime))?)
}

/// Makes a directory hide the lower layers' one.
pub(super) fn set_opaque(directory: BorrowedFd<'_>) -> io::Result<()> {
    Ok(fs::fsetxattr(
        directory,
        OPAQUE_XATTR,
        b"y",
        XattrFlags::empty(),
    )?)
}

fn times((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanos.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn owner(entry: &Entry) -> io::Result<(Uid, Gid)> {
    // The largest value means "leave as it is" to the kernel.
    let id = |id: u64| {
        u32::try_from(id)
            .ok()
            .filter(|id| *id != u32::MAX)
            .ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "an owner id is out of range")
            })
    };
    Ok((Uid::from_raw(id(entry.uid)?), Gid::from_raw(id(entry.gid)?)))
}

fn wanted(entry: &Entry) -> impl Iterator<Item = (&[u8], &[u8])> {
    entry
        .xattrs
        .iter()
        .filter(|(name, _)| !name.starts_with(OVERLAY_PREFIX))
        .map(|(name, value)| (name.as_slice(), value.as_slice()))
}

/// A file system that does not know an xattr's kind (SELinux labels, ACLs) does not fail the image,
/// but file capabilities are needed for programs to work.
fn supported(name: &[u8], result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Err(Errno::OPNOTSUPP) if name != b"security.capability" => {
            tracing::debug!(xattr = %name.escape_ascii(), "not supported by the file system");
            Ok(())
        }
        result => Ok(result?),
    }
}
