//! Looking at directory entries by descriptor, while others may be changing them.
//!
//! Invariants: no symbolic link is followed, nothing but regular files and directories is opened;
//! what vanishes between two looks is no error.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::tar_read::Kind;

/// Deepest nesting that is walked: each level takes a descriptor and some stack.
pub(crate) const MAX_DEPTH: usize = 512;

/// Extended attributes, sorted by name.
pub(crate) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Names in a directory, sorted, without `.` and `..`.
pub(crate) fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// What a name is; `None` if it is gone.
pub(crate) fn stat(parent: BorrowedFd<'_>, base: &[u8]) -> io::Result<Option<Stat>> {
    match fs::statat(parent, base, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// What a tar calls it; `None` for sockets, which mean nothing without their process.
pub(crate) fn kind(stat: &Stat) -> Option<Kind> {
    let (major, minor) = (fs::major(stat.st_rdev), fs::minor(stat.st_rdev));
    Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::CharacterDevice => Kind::CharDevice { major, minor },
        FileType::BlockDevice => Kind::BlockDevice { major, minor },
        FileType::Socket | FileType::Unknown => return None,
    })
}

/// Opens a directory of this name; `None` if there is none any more.
pub(crate) fn directory(parent: BorrowedFd<'_>, base: &[u8]) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match fs::openat(parent, base, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens a regular file of this name; `None` if there is none any more.
pub(crate) fn file(parent: BorrowedFd<'_>, base: &[u8]) -> io::Result<Option<File>> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match fs::openat(parent, base, flags, Mode::empty()) {
        Ok(fd) => {
            let file = File::from(fd);
            Ok(file.metadata()?.is_file().then_some(file))
        }
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Target of a symbolic link; `None` if it is none any more.
pub(crate) fn link(parent: BorrowedFd<'_>, base: &[u8]) -> io::Result<Option<Vec<u8>>> {
    match fs::readlinkat(parent, base, Vec::new()) {
        Ok(target) => Ok(Some(target.into_bytes())),
        Err(Errno::NOENT | Errno::INVAL) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The extended attributes that `wanted` says yes to.
pub(crate) fn xattrs(
    parent: BorrowedFd<'_>,
    base: &[u8],
    wanted: impl Fn(&[u8]) -> bool,
) -> io::Result<Xattrs> {
    // There is no `getxattrat` before Linux 6.13. The last component is not followed.
    let path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd()))
        .join(OsStr::from_bytes(base));
    let names = match xattr::list(&path) {
        Ok(names) => names,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for name in names {
        if !wanted(name.as_bytes()) {
            continue;
        }
        match xattr::get(&path, &name) {
            Ok(Some(value)) => found.push((name.as_bytes().to_vec(), value)),
            Ok(None) => {}
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Unsupported | io::ErrorKind::NotFound
    )
}

/// Whether nothing is in a directory.
pub fn is_empty_directory(directory: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(names(directory)?.is_empty())
}
