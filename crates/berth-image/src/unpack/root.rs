//! Resolving names inside a tree by descriptor, so that no symbolic link leads out of it.

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

/// Most symbolic links followed while missing parents are made, as in the kernel.
const MAX_LINKS: u32 = 40;
/// The kernel gives up with `EAGAIN` when something is renamed meanwhile; nothing is here, but the
/// whole system shares one counter.
const MAX_RETRIES: u32 = 128;
/// Of directories that are made because they are missing.
const DEFAULT_MODE: u32 = 0o755;

/// A name split into the directory it is in and its last component. Relative to the root, without
/// empty, `.` and `..` components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) parent: Vec<u8>,
    pub(super) base: Cow<'static, [u8]>,
}

impl Name {
    /// Parent and base together.
    pub(super) fn path(&self) -> Vec<u8> {
        if self.parent.is_empty() {
            self.base.to_vec()
        } else {
            [&self.parent, b"/".as_slice(), &self.base].concat()
        }
    }
}

/// Cleans a name as in an archive; `..` goes up at most to the root. `None` is the root itself.
pub(super) fn normalize(path: &[u8]) -> io::Result<Option<Name>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            _ if part.contains(&0) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the name holds a NUL byte",
                ));
            }
            _ => parts.push(part),
        }
    }
    Ok(parts.pop().map(|base| Name {
        parent: parts.join(&b'/'),
        base: Cow::Owned(base.to_vec()),
    }))
}

/// The root of a tree whose symbolic links are not trusted: all of them are followed as if the tree
/// were the whole file system, as a process in it would see them.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    /// The parent resolved last: archives list a directory's files one after the other.
    last: Option<(Vec<u8>, OwnedFd)>,
    /// Owner of directories that are made because they are missing.
    owner: Option<(u32, u32)>,
    /// Their mode.
    mode: u32,
    /// Where an archive is unpacked, if not at the root: its path, and itself.
    below: Option<(Vec<u8>, OwnedFd)>,
}

impl From<OwnedFd> for Root {
    fn from(fd: OwnedFd) -> Self {
        Self {
            fd,
            last: None,
            owner: None,
            mode: DEFAULT_MODE,
            below: None,
        }
    }
}

impl Root {
    /// Opens a directory of ours; the path itself is trusted.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(fs::open(directory, flags, Mode::empty())?.into())
    }

    /// The root directory.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Gives the directories that [`Root::parent`] makes from now on to a user and a group.
    pub fn set_owner(&mut self, owner: Option<(u32, u32)>) {
        self.owner = owner;
    }

    /// The mode of the directories that [`Root::parent`] makes from now on; `None` is 0755.
    pub fn set_mode(&mut self, mode: Option<u32>) {
        self.mode = mode.unwrap_or(DEFAULT_MODE);
    }

    /// Unpacks below a directory of the tree from now on. It must exist.
    pub(super) fn descend(&mut self, path: &[u8]) -> io::Result<()> {
        let fd = self.open_directory(path)?;
        self.below = Some((path.to_vec(), fd));
        Ok(())
    }

    /// Where an archive is unpacked.
    pub(super) fn base(&self) -> BorrowedFd<'_> {
        let below = self.below.as_ref().map(|(_, fd)| fd);
        below.unwrap_or(&self.fd).as_fd()
    }

    /// [`Root::parent`] of a name in the archive.
    pub(super) fn parent_below(&mut self, path: &[u8]) -> io::Result<OwnedFd> {
        let full = self.full(path).into_owned();
        self.parent(&full)
    }

    /// [`Root::existing_parent`] of a name in the archive.
    pub(super) fn existing_parent_below(&self, path: &[u8]) -> io::Result<Option<OwnedFd>> {
        self.existing_parent(&self.full(path))
    }

    fn full<'a>(&self, path: &'a [u8]) -> Cow<'a, [u8]> {
        match &self.below {
            None => Cow::Borrowed(path),
            Some((below, _)) if path.is_empty() => Cow::Owned(below.clone()),
            Some((below, _)) => Cow::Owned([below, b"/".as_slice(), path].concat()),
        }
    }

    /// The directory of this name; missing parts are made ([`Root::set_owner`],
    /// [`Root::set_mode`]).
    pub fn parent(&mut self, path: &[u8]) -> io::Result<OwnedFd> {
        if let Some((known, fd)) = &self.last
            && known == path
        {
            return fd.try_clone();
        }
        let fd = match self.open_directory(path) {
            Err(Errno::NOENT) => self.make(path, 0)?,
            result => result?,
        };
        self.last = Some((path.to_vec(), fd.try_clone()?));
        Ok(fd)
    }

    /// The directory of this name, if it exists.
    pub fn existing_parent(&self, path: &[u8]) -> io::Result<Option<OwnedFd>> {
        match self.open_directory(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            result => Ok(Some(result?)),
        }
    }

    /// The directory of exactly this name in the archive: no link is followed.
    pub fn open_exact(&self, path: &[u8]) -> io::Result<Option<OwnedFd>> {
        match open_at(
            self.base(),
            path,
            OFlags::RDONLY | OFlags::DIRECTORY,
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        ) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            result => Ok(Some(result?)),
        }
    }

    /// Opens anything below the root, links followed inside it; `None` if there is nothing.
    pub fn open_any(&self, path: &[u8], flags: OFlags) -> io::Result<Option<OwnedFd>> {
        match self.open_with(
            path,
            flags,
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        ) {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            result => Ok(Some(result?)),
        }
    }

    /// Opens a regular file below the root for reading; links are followed inside the root.
    pub fn open_file(&self, path: &str) -> io::Result<Option<std::fs::File>> {
        match self.open_with(
            path.as_bytes(),
            OFlags::RDONLY | OFlags::NONBLOCK,
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        ) {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            result => {
                let file = std::fs::File::from(result?);
                if file.metadata()?.is_file() {
                    Ok(Some(file))
                } else {
                    Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "not a regular file",
                    ))
                }
            }
        }
    }

    /// Must be called when a name was removed: the parent remembered may have been reached by it.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    fn open_directory(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open_with(
            path,
            OFlags::RDONLY | OFlags::DIRECTORY,
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    }

    fn open_with(
        &self,
        path: &[u8],
        flags: OFlags,
        resolve: ResolveFlags,
    ) -> Result<OwnedFd, Errno> {
        open_at(self.fd.as_fd(), path, flags, resolve)
    }

    /// Makes the missing directories of a path. A dangling link on the way gets the directory it
    /// points to (inside the root), as the archive's author would have seen it.
    fn make(&self, path: &[u8], links: u32) -> io::Result<OwnedFd> {
        if links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        let mut current = self.fd.try_clone()?;
        let mut prefix: Vec<u8> = Vec::new();
        for part in path
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
        {
            let above = prefix.clone();
            if !prefix.is_empty() {
                prefix.push(b'/');
            }
            prefix.extend_from_slice(part);
            current = match self.open_directory(&prefix) {
                Err(Errno::NOENT) => {
                    self.make_one(current, part, &above, links)?;
                    self.open_directory(&prefix)?
                }
                result => result?,
            };
        }
        Ok(current)
    }

    fn make_one(&self, parent: OwnedFd, part: &[u8], above: &[u8], links: u32) -> io::Result<()> {
        match fs::mkdirat(&parent, part, Mode::RWXU) {
            Ok(()) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = fs::openat(&parent, part, flags, Mode::empty())?;
                if let Some((uid, gid)) = self.owner {
                    fs::fchown(&made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
                }
                Ok(fs::fchmod(&made, Mode::from_raw_mode(self.mode))?)
            }
            Err(Errno::EXIST) => {
                let target = fs::readlinkat(&parent, part, Vec::new())?.into_bytes();
                let path = if target.starts_with(b"/") {
                    target
                } else {
                    [above, b"/".as_slice(), &target].concat()
                };
                self.make(&path, links + 1).map(drop)
            }
            Err(errno) => Err(errno.into()),
        }
    }
}

fn open_at(
    directory: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = flags | OFlags::CLOEXEC;
    let mut retries = 0;
    loop {
        match fs::openat2(directory, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if retries < MAX_RETRIES => retries += 1,
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_the_root() {
        let path = |text: &[u8]| normalize(text).unwrap().map(|name| name.path());
        assert_eq!(path(b"./a//b/"), Some(b"a/b".to_vec()));
        assert_eq!(path(b"/etc/passwd"), Some(b"etc/passwd".to_vec()));
        assert_eq!(path(b"../../a/../../b"), Some(b"b".to_vec()));
        assert_eq!(path(b"a/.."), None);
        assert_eq!(path(b"/"), None);
        assert!(normalize(b"a\0b").is_err());
    }
}
