//! A tree becomes another, with everything that a tree has: owners, modes, times, extended
//! attributes, hard links, holes, devices. By descriptor throughout.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{
    self, AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::entries::{self, MAX_DEPTH};
use crate::unpack::{OPAQUE_XATTR, OVERLAY_PREFIX};

/// Which of overlayfs's own records are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverlayRecords {
    /// None: the tree is seen through its mount, or never was part of an overlay.
    Drop,
    /// Those that say what the layer hides or redirects: the tree is a layer.
    Keep,
}

/// Copies what is in `from` into `to`, which should be empty, and the directory's own attributes.
/// Sockets are left out.
///
/// # Errors
/// What cannot be read or written; a part of the tree is copied then.
pub fn copy_tree(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    records: OverlayRecords,
) -> io::Result<()> {
    let mut copier = Copier {
        links: HashMap::new(),
        records,
        root: to.try_clone_to_owned()?,
    };
    let stat = fs::fstat(from)?;
    copier.content(from, to, &[], 0)?;
    copier.attributes(from, b".", to, b".", &stat)?;
    set_mode_and_times(to, &stat)
}

struct Copier {
    /// First copy of each file that has several names, relative to the root.
    links: HashMap<(u64, u64), Vec<u8>>,
    records: OverlayRecords,
    root: OwnedFd,
}

impl Copier {
    fn content(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &[u8],
        depth: usize,
    ) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(io::Error::other(format!(
                "directories are nested more than {MAX_DEPTH} levels deep"
            )));
        }
        for base in entries::names(from)? {
            let mut name = path.to_vec();
            if !name.is_empty() {
                name.push(b'/');
            }
            name.extend_from_slice(&base);
            self.entry(from, to, &base, &name, depth)
                .map_err(|error| at(&name, &error))?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        base: &[u8],
        name: &[u8],
        depth: usize,
    ) -> io::Result<()> {
        let Some(stat) = entries::stat(from, base)? else {
            return Ok(());
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return self.directory(from, to, base, name, &stat, depth);
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                let none = AtFlags::empty();
                return Ok(fs::linkat(&self.root, first.as_slice(), to, base, none)?);
            }
            self.links.insert((stat.st_dev, stat.st_ino), name.to_vec());
        }
        match kind {
            FileType::RegularFile => {
                let Some(source) = entries::file(from, base)? else {
                    return Ok(());
                };
                let flags = OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::WRONLY
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let target = File::from(fs::openat(to, base, flags, Mode::RUSR | Mode::WUSR)?);
                copy_data(source, &target)?;
                self.attributes(from, base, to, base, &stat)?;
                return set_mode_and_times(target.as_fd(), &stat);
            }
            FileType::Symlink => {
                let Some(target) = entries::link(from, base)? else {
                    return Ok(());
                };
                fs::symlinkat(target.as_slice(), to, base)?;
            }
            FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice => {
                fs::mknodat(to, base, kind, Mode::RUSR, stat.st_rdev)?;
            }
            _ => return Ok(()),
        }
        self.attributes(from, base, to, base, &stat)?;
        if kind != FileType::Symlink {
            // Nobody else writes to the copy: this is the node just made.
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
            fs::chmodat(to, base, mode, AtFlags::empty())?;
        }
        Ok(fs::utimensat(
            to,
            base,
            &times(&stat),
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    fn directory(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        base: &[u8],
        name: &[u8],
        stat: &Stat,
        depth: usize,
    ) -> io::Result<()> {
        let Some(source) = entries::directory(from, base)? else {
            return Ok(());
        };
        fs::mkdirat(to, base, Mode::RWXU)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = fs::openat(to, base, flags, Mode::empty())?;
        self.content(source.as_fd(), target.as_fd(), name, depth + 1)?;
        self.attributes(from, base, to, base, stat)?;
        set_mode_and_times(target.as_fd(), stat)
    }

    /// Owner and extended attributes; the mode comes after them, as both may take bits of it away.
    fn attributes(
        &self,
        from: BorrowedFd<'_>,
        base: &[u8],
        to: BorrowedFd<'_>,
        name: &[u8],
        stat: &Stat,
    ) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        let xattrs = entries::xattrs(from, base, |name| self.wants(name))?;
        if xattrs.is_empty() {
            return Ok(());
        }
        use std::os::unix::ffi::OsStrExt as _;
        let path = PathBuf::from(format!("/proc/self/fd/{}", to.as_raw_fd()))
            .join(std::ffi::OsStr::from_bytes(name));
        for (name, value) in &xattrs {
            match fs::lsetxattr(&path, name.as_slice(), value, XattrFlags::empty()) {
                Err(Errno::OPNOTSUPP) if name != b"security.capability" => {}
                result => result?,
            }
        }
        Ok(())
    }

    fn wants(&self, xattr: &[u8]) -> bool {
        if !xattr.starts_with(OVERLAY_PREFIX) {
            return true;
        }
        self.records == OverlayRecords::Keep
            && (xattr == OPAQUE_XATTR.as_bytes()
                || xattr.ends_with(b".redirect")
                || xattr.ends_with(b".metacopy"))
    }
}

/// Copies the data and leaves the holes. The kernel copies without a detour where it can.
fn copy_data(mut source: File, mut target: &File) -> io::Result<()> {
    let size = source.metadata()?.len();
    let mut offset = 0;
    while offset < size {
        let begin = match fs::seek(&source, fs::SeekFrom::Data(offset)) {
            Ok(begin) => begin,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            // A file system that does not know holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => offset,
            Err(errno) => return Err(errno.into()),
        };
        let end = fs::seek(&source, fs::SeekFrom::Hole(begin)).unwrap_or(size);
        let end = end.clamp(begin, size);
        source.seek(SeekFrom::Start(begin))?;
        target.seek(SeekFrom::Start(begin))?;
        let copied = io::copy(&mut (&source).take(end - begin), &mut target)?;
        if copied == 0 {
            // It became shorter meanwhile.
            break;
        }
        offset = begin + copied;
    }
    Ok(fs::ftruncate(target, size)?)
}

fn set_mode_and_times(target: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    fs::fchmod(target, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    Ok(fs::futimens(target, &times(stat))?)
}

fn times(stat: &Stat) -> Timestamps {
    let time = Timespec {
        tv_sec: stat.st_mtime,
        tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn at(name: &[u8], error: &io::Error) -> io::Error {
    if error.get_ref().is_some() {
        // Named already, further down.
        return io::Error::new(error.kind(), error.to_string());
    }
    let name = String::from_utf8_lossy(name);
    io::Error::new(error.kind(), format!("`{name}`: {error}"))
}

#[cfg(test)]
mod tests;
