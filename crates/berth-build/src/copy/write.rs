//! Writing the selected files into the image.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use berth_image::Root;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::select::{join, open_file};
use super::{CopyPlan, Item, ItemKind, Selection};
use crate::error::StepError;

/// Copies the selection and the here-documents to `target`, the image's merged file system.
/// `owner` is the resolved `--chown`.
pub(crate) fn write(
    plan: &CopyPlan,
    source: &Root,
    selection: &Selection,
    target: &mut Root,
    owner: Option<(u32, u32)>,
) -> Result<(), StepError> {
    target.set_owner(owner);
    let destination = plan.destination.trim_matches('/').as_bytes().to_vec();
    let mut writer = Writer {
        plan,
        source,
        is_directory: plan.destination.ends_with('/')
            || target.existing_parent(&destination)?.is_some(),
        destination,
        target,
        owner,
        times: Vec::new(),
    };
    for item in &selection.items {
        writer
            .item(item)
            .map_err(|error| name_source(error, &item.source))?;
    }
    for heredoc in &plan.heredocs {
        writer.heredoc(&heredoc.name, &heredoc.content)?;
    }
    writer.set_directory_times()?;
    Ok(())
}

/// Says which file it was, where the kernel does not.
fn name_source(error: StepError, source: &[u8]) -> StepError {
    match error {
        StepError::Io(error) => {
            let name = String::from_utf8_lossy(source);
            StepError::Io(io::Error::new(error.kind(), format!("`{name}`: {error}")))
        }
        other => other,
    }
}

struct Writer<'a> {
    plan: &'a CopyPlan,
    source: &'a Root,
    target: &'a mut Root,
    destination: Vec<u8>,
    is_directory: bool,
    owner: Option<(u32, u32)>,
    /// Directories that were made here: their times are set when nothing comes into them any more.
    times: Vec<(OwnedFd, Timestamps)>,
}

impl Writer<'_> {
    fn item(&mut self, item: &Item) -> Result<(), StepError> {
        if item.kind == ItemKind::Directory {
            return Ok(self.directory(item)?);
        }
        if item.kind == ItemKind::File && item.root && self.plan.unpack && self.unpacked(item)? {
            return Ok(());
        }
        let path = if item.root && !self.is_directory {
            self.destination.clone()
        } else {
            join(&self.destination, &item.target)
        };
        Ok(self.leaf(item, &path)?)
    }

    fn directory(&mut self, item: &Item) -> io::Result<()> {
        let path = join(&self.destination, &item.target);
        if path.is_empty() || self.target.existing_parent(&path)?.is_some() {
            return Ok(());
        }
        let made = match self.target.parent(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(io::Error::new(
                    error.kind(),
                    format!("`/{}` in the image is not a directory", path.escape_ascii()),
                ));
            }
            made => made?,
        };
        let (uid, gid) = self.ids(&item.stat);
        rustix::fs::fchown(&made, Some(uid), Some(gid))?;
        self.copy_xattrs(item, made.as_fd())?;
        rustix::fs::fchmod(&made, self.mode(&item.stat))?;
        self.times.push((made, times(&item.stat)));
        Ok(())
    }

    fn leaf(&mut self, item: &Item, path: &[u8]) -> io::Result<()> {
        let (parent, base) = split(path)?;
        let parent = self.target.parent(parent)?;
        clear(parent.as_fd(), base)?;
        match &item.kind {
            ItemKind::File => {
                let mut from = open_file(self.source, &item.source)?;
                let mut file = create(parent.as_fd(), base)?;
                io::copy(&mut from, &mut file)?;
                let (uid, gid) = self.ids(&item.stat);
                rustix::fs::fchown(&file, Some(uid), Some(gid))?;
                self.copy_xattrs(item, file.as_fd())?;
                rustix::fs::fchmod(&file, self.mode(&item.stat))?;
                rustix::fs::futimens(&file, &times(&item.stat))?;
            }
            ItemKind::Symlink(link) => {
                rustix::fs::symlinkat(link.as_slice(), &parent, base)?;
                self.own_at(parent.as_fd(), base, &item.stat)?;
            }
            ItemKind::Special => {
                let kind = FileType::from_raw_mode(item.stat.st_mode);
                rustix::fs::mknodat(&parent, base, kind, Mode::RUSR, item.stat.st_rdev)?;
                self.own_at(parent.as_fd(), base, &item.stat)?;
                rustix::fs::chmodat(&parent, base, self.mode(&item.stat), AtFlags::empty())?;
            }
            ItemKind::Directory => {}
        }
        Ok(())
    }

    fn heredoc(&mut self, name: &str, content: &str) -> io::Result<()> {
        let path = if self.is_directory {
            join(&self.destination, name.as_bytes())
        } else {
            self.destination.clone()
        };
        let (parent, base) = split(&path)?;
        let parent = self.target.parent(parent)?;
        clear(parent.as_fd(), base)?;
        let mut file = create(parent.as_fd(), base)?;
        file.write_all(content.as_bytes())?;
        let (uid, gid) = self.owner.unwrap_or((0, 0));
        rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        let mode = Mode::from_raw_mode(self.plan.chmod.unwrap_or(0o644));
        Ok(rustix::fs::fchmod(&file, mode)?)
    }

    /// `ADD` of a tar archive. Whether it was one.
    fn unpacked(&mut self, item: &Item) -> Result<bool, StepError> {
        if !berth_image::is_tar(open_file(self.source, &item.source)?) {
            return Ok(false);
        }
        let directory = self.target.parent(&self.destination)?;
        berth_image::extract(directory, open_file(self.source, &item.source)?)?;
        Ok(true)
    }

    fn ids(&self, stat: &Stat) -> (Uid, Gid) {
        let (uid, gid) = match self.owner {
            Some(owner) => owner,
            None if self.plan.keep_owner => (stat.st_uid, stat.st_gid),
            None => (0, 0),
        };
        (Uid::from_raw(uid), Gid::from_raw(gid))
    }

    fn mode(&self, stat: &Stat) -> Mode {
        Mode::from_raw_mode(self.plan.chmod.unwrap_or(stat.st_mode & 0o7777))
    }

    fn own_at(&self, parent: BorrowedFd<'_>, base: &[u8], stat: &Stat) -> io::Result<()> {
        let (uid, gid) = self.ids(stat);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(parent, base, Some(uid), Some(gid), flags)?;
        Ok(rustix::fs::utimensat(parent, base, &times(stat), flags)?)
    }

    /// Capabilities of programs and the like, when copying inside images.
    fn copy_xattrs(&self, item: &Item, target: BorrowedFd<'_>) -> io::Result<()> {
        if !self.plan.keep_owner {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let Some(source) = self.source.open_any(&item.source, flags)? else {
            return Ok(());
        };
        let path = format!("/proc/self/fd/{}", source.as_raw_fd());
        for name in xattr::list_deref(&path)? {
            let hidden = name.as_encoded_bytes().starts_with(b"trusted.overlay.");
            if hidden {
                continue;
            }
            if let Some(value) = xattr::get_deref(&path, &name)? {
                match rustix::fs::fsetxattr(target, &*name, &value, XattrFlags::empty()) {
                    Ok(()) | Err(Errno::OPNOTSUPP) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        Ok(())
    }

    fn set_directory_times(&mut self) -> io::Result<()> {
        for (directory, times) in self.times.drain(..).rev() {
            rustix::fs::futimens(&directory, &times)?;
        }
        Ok(())
    }
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

fn split(path: &[u8]) -> io::Result<(&[u8], &[u8])> {
    let (parent, base) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"".as_slice(), path),
    };
    if base.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "the destination is a directory",
        ));
    }
    Ok((parent, base))
}

fn create(parent: BorrowedFd<'_>, base: &[u8]) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, base, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Removes a file that is in the way; directories are not replaced by files.
fn clear(parent: BorrowedFd<'_>, base: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, base, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            format!("a directory is in the way of `{}`", base.escape_ascii()),
        )),
        Err(errno) => Err(errno.into()),
    }
}
