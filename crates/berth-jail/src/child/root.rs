//! Paths of a container, resolved by descriptor and never beyond its root.
//!
//! Invariant: every look-up of a path that an image or a user chose goes through
//! `openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)`.

use std::io::Read as _;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

use crate::error::{Failure, Step as _};

/// Symbolic links followed while creating a path.
const LINKS_LIMIT: usize = 40;
/// `openat2` answers `EAGAIN` when a rename or mount anywhere on the machine raced with its check of
/// a `..`; a machine that starts many containers mounts all the time.
const RACE_RETRIES: usize = 8192;
/// Type of procfs, as `fstatfs` reports it.
const PROC: i64 = 0x9fa0;
/// Types of the kernel's own file systems: procfs, sysfs, cgroup versions 1 and 2.
const KERNEL: [i64; 4] = [PROC, 0x6265_6572, 0x0027_e0eb, 0x6367_7270];
/// Bytes read of a file such as /etc/passwd.
const SMALL_FILE: u64 = 4 * 1024 * 1024;

/// The root directory of a container.
pub(crate) struct Root {
    fd: OwnedFd,
}

/// What a mount target must be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
}

/// Host ids that created directories are given.
pub(super) type Owner = Option<(u32, u32)>;

impl Root {
    /// The calling process's root.
    pub(super) fn current() -> Result<Self, Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, "/", flags, Mode::empty())
            .step(|| "open the container's root".to_owned())?;
        Ok(Self { fd })
    }

    /// An open root directory.
    pub(crate) fn of(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Opens a path, following symbolic links inside the root only, and no magic ones: those fail
    /// with `ELOOP`.
    pub(super) fn open(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let relative = path.trim_start_matches('/');
        let relative = if relative.is_empty() { "." } else { relative };
        for _ in 0..RACE_RETRIES {
            let opened = rustix::fs::openat2(
                &self.fd,
                relative,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
            );
            if opened.as_ref().err() != Some(&Errno::AGAIN) {
                return opened;
            }
            std::thread::yield_now();
        }
        Err(Errno::AGAIN)
    }

    /// A directory right below the root that must not be a symbolic link; made if missing.
    pub(super) fn plain_directory(&self, name: &str) -> Result<OwnedFd, Failure> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::from(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).step(|| format!("create `/{name}` in the image")),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOTDIR | Errno::LOOP => Failure::UnsafePath {
                path: format!("/{name}"),
                what: "not a directory".to_owned(),
            },
            error => Failure::Setup {
                step: format!("open `/{name}` in the image"),
                errno: error.raw_os_error(),
            },
        })
    }

    /// Finds or creates something to mount on; nothing of the kernel's own file systems, to which a
    /// link of the image may lead (CVE-2023-27561).
    pub(crate) fn target(&self, path: &str, kind: Kind) -> Result<OwnedFd, Failure> {
        let found = self.find_or_create(path, kind, None, 0)?;
        if is_kernel_s(&found) {
            return Err(unsafe_path(path, "in a file system of the kernel"));
        }
        Ok(found)
    }

    /// Finds or creates a directory; what had to be created belongs to `owner`.
    pub(super) fn directory(&self, path: &str, owner: Owner) -> Result<OwnedFd, Failure> {
        self.find_or_create(path, Kind::Directory, owner, 0)
    }

    fn find_or_create(
        &self,
        path: &str,
        kind: Kind,
        owner: Owner,
        links: usize,
    ) -> Result<OwnedFd, Failure> {
        match self.open(path, OFlags::PATH) {
            Ok(found) => return check_kind(found, path, kind),
            Err(Errno::NOENT) if links < LINKS_LIMIT => {}
            Err(Errno::LOOP) => return Err(unsafe_path(path, "a link that leads out of it")),
            Err(error) => return Err(error).step(|| format!("open `{path}` in the image")),
        }
        let trimmed = path.trim_end_matches('/');
        let (parent, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
        if name.is_empty() || name == "." || name == ".." {
            return Err(unsafe_path(path, "missing"));
        }
        let directory = self.find_or_create(
            if parent.is_empty() { "/" } else { parent },
            Kind::Directory,
            owner,
            links + 1,
        )?;
        if rustix::fs::fstatfs(&directory).is_ok_and(|stat| stat.f_type == PROC) {
            // Nothing can be created there, and what looks like a missing link may be magic.
            return Err(unsafe_path(path, "missing"));
        }
        if let Ok(link) = rustix::fs::readlinkat(&directory, name, Vec::new()) {
            // A dangling link: what it names is created inside the root.
            let link = link.to_string_lossy().into_owned();
            let next = if link.starts_with('/') {
                link
            } else {
                format!("{parent}/{link}")
            };
            return self.find_or_create(&next, kind, owner, links + 1);
        }
        create(&directory, name, kind, owner).step(|| format!("create `{path}` in the image"))?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let created = rustix::fs::openat(&directory, name, flags, Mode::empty())
            .step(|| format!("open `{path}` in the image"))?;
        check_kind(created, path, kind)
    }

    /// Reads a small regular file as text; `None` if it is missing, too large or something else.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        // Not blocking: the image may have a fifo there.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = self.open(path, flags).ok()?;
        let stat = rustix::fs::fstat(&fd).ok()?;
        // What procfs shows to us is not the container's to know, and /proc/kmsg forgets what is read.
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || is_kernel_s(&fd) {
            return None;
        }
        let mut bytes = Vec::new();
        let mut file = std::fs::File::from(fd).take(SMALL_FILE + 1);
        file.read_to_end(&mut bytes).ok()?;
        if u64::try_from(bytes.len()).ok()? > SMALL_FILE {
            return None;
        }
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn is_kernel_s(fd: &OwnedFd) -> bool {
    rustix::fs::fstatfs(fd).is_ok_and(|stat| KERNEL.contains(&stat.f_type))
}

fn create(directory: &OwnedFd, name: &str, kind: Kind, owner: Owner) -> rustix::io::Result<()> {
    match kind {
        Kind::Directory => rustix::fs::mkdirat(directory, name, Mode::from(0o755))?,
        Kind::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(directory, name, flags | OFlags::WRONLY, Mode::from(0o644))?;
        }
    }
    if let Some((uid, gid)) = owner {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(directory, name, Some(uid), Some(gid), flags)?;
    }
    Ok(())
}

fn check_kind(found: OwnedFd, path: &str, kind: Kind) -> Result<OwnedFd, Failure> {
    let stat = rustix::fs::fstat(&found).step(|| format!("look at `{path}` in the image"))?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    match (kind, is_directory) {
        (Kind::Directory, false) => Err(unsafe_path(path, "not a directory")),
        (Kind::File, true) => Err(unsafe_path(path, "a directory")),
        _ => Ok(found),
    }
}

fn unsafe_path(path: &str, what: &str) -> Failure {
    Failure::UnsafePath {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}
