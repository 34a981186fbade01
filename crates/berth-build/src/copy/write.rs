//! Writing the selected files into the image, as BuildKit writes them.
//!
//! What exists keeps its place: a source directory is merged into one that exists; directories in it
//! get the source's attributes, the destination itself only its time. Missing parents, and a missing
//! destination, belong to `--chown` and have the mode of an octal `--chmod`, but for an archive. A file
//! replaces a file or link of its name; only a destination that is itself a link is followed.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use berth_image::{ExtractOptions, Root};
use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Timestamps, Uid};
use rustix::io::Errno;

use super::file::{clear, copy_xattrs, create, times};
use super::reuse::{Attributes, Links, Reuse};
use super::select::{Group, join, open_file, split};
use super::{Chmod, CopyPlan, Item, ItemKind};
use crate::bounds::Room;
use crate::error::StepError;

/// Most symbolic links followed at the destination, as in the kernel.
const MAX_LINKS: u32 = 40;

/// Writes to one destination.
pub(crate) struct Writer<'a> {
    plan: &'a CopyPlan,
    target: &'a mut Root,
    /// Below the target's root.
    destination: Vec<u8>,
    owner: Option<(u32, u32)>,
    /// What the disk has left.
    room: Room<'a>,
    /// A file was copied to the destination itself.
    occupied: bool,
    /// Directories of the source that is being copied, whose times are set at its end.
    times: Vec<(OwnedFd, Timestamps)>,
    /// What the step made last time, and what it makes now.
    reuse: Option<Reuse>,
}

impl<'a> Writer<'a> {
    /// `target` is the image's merged file system, `owner` the resolved `--chown`.
    pub(crate) fn new(
        plan: &'a CopyPlan,
        target: &'a mut Root,
        owner: Option<(u32, u32)>,
        room: Room<'a>,
    ) -> Self {
        target.set_owner(owner);
        target.set_mode(plan.chmod.as_ref().and_then(Chmod::of_parents));
        Self {
            plan,
            destination: plan.destination.trim_matches('/').as_bytes().to_vec(),
            target,
            owner,
            room,
            occupied: false,
            times: Vec::new(),
            reuse: None,
        }
    }

    /// Takes files of a former layer where they are the same. Only for one directory of the context,
    /// of which no two files come to the same place.
    pub(crate) fn reuse(&mut self, reuse: Reuse) {
        self.reuse = Some(reuse);
    }

    /// Copies what was selected in `source`; archives are unpacked if that is wanted.
    pub(crate) fn groups<'b>(
        &mut self,
        source: &Root,
        groups: impl IntoIterator<Item = &'b Group>,
        unpack: bool,
    ) -> Result<(), StepError> {
        for group in groups {
            self.group(source, group, unpack)?;
            self.set_times()?;
        }
        Ok(())
    }

    /// Writes the here-documents.
    pub(crate) fn heredocs(&mut self) -> Result<(), StepError> {
        for heredoc in &self.plan.heredocs {
            let path = self.place(heredoc.name.as_bytes())?;
            let (parent, base) = split(&path);
            let parent = self.target.parent(parent)?;
            clear(parent.as_fd(), base)?;
            let mut file = create(parent.as_fd(), base)?;
            file.write_all(heredoc.content.as_bytes())?;
            let (uid, gid) = self.owner.unwrap_or((0, 0));
            rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(io::Error::from)?;
            let mode = self.mode(0o644, false);
            rustix::fs::fchmod(&file, mode).map_err(io::Error::from)?;
        }
        Ok(())
    }

    /// To be called at the end. What was taken of a former layer is placed by what is returned.
    pub(crate) fn finish(self) -> Option<Links> {
        self.target.set_owner(None);
        self.target.set_mode(None);
        self.reuse.map(Reuse::finish)
    }

    /// When all of a source has been copied: what the next one puts into the same directories changes
    /// their times again.
    fn set_times(&mut self) -> Result<(), StepError> {
        for (directory, times) in self.times.drain(..).rev() {
            rustix::fs::futimens(&directory, &times).map_err(io::Error::from)?;
            if let Some(reuse) = &mut self.reuse {
                reuse.timed(self.target, directory.as_fd(), times)?;
            }
        }
        Ok(())
    }

    fn group(&mut self, source: &Root, group: &Group, unpack: bool) -> Result<(), StepError> {
        let Some(first) = group.items.first() else {
            return Ok(());
        };
        let named = |error: io::Error, item: &Item| {
            let name = String::from_utf8_lossy(&item.source);
            io::Error::new(error.kind(), format!("`{name}`: {error}"))
        };
        if first.kind != ItemKind::Directory {
            if first.kind == ItemKind::File && unpack && self.unpacked(source, first)? {
                return Ok(());
            }
            self.fits(first)?;
            let path = self.place(&group.name)?;
            let mut copied = HashMap::new();
            return Ok(self
                .leaf(source, first, &path, &mut copied)
                .map_err(|error| named(error, first))?);
        }
        // Names under which a file with several has been copied.
        let mut copied = HashMap::new();
        for item in &group.items {
            self.fits(item)?;
            let path = join(&self.destination, &item.target);
            let result = if item.kind == ItemKind::Directory {
                self.directory(source, item, &path)
            } else {
                self.leaf(source, item, &path, &mut copied)
            };
            result.map_err(|error| named(error, item))?;
        }
        Ok(())
    }

    fn fits(&self, item: &Item) -> Result<(), StepError> {
        match item.kind {
            ItemKind::File => self.room.for_file(item.stat.st_size.unsigned_abs()),
            _ => Ok(()),
        }
    }

    /// Where a file of this name goes.
    fn place(&mut self, name: &[u8]) -> io::Result<Vec<u8>> {
        let is_directory = self.destination.is_empty()
            || self.plan.destination.ends_with('/')
            || self.target.existing_parent(&self.destination)?.is_some();
        if is_directory {
            return Ok(join(&self.destination, name));
        }
        if self.occupied {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "several files cannot be copied to one name; end the destination with `/`",
            ));
        }
        self.occupied = true;
        self.follow(self.destination.clone())
    }

    /// What a path means if its last part is a link.
    fn follow(&mut self, mut path: Vec<u8>) -> io::Result<Vec<u8>> {
        for _ in 0..MAX_LINKS {
            let (parent, base) = split(&path);
            let directory = self.target.parent(parent)?;
            let link = match rustix::fs::readlinkat(&directory, base, Vec::new()) {
                Ok(link) => link.into_bytes(),
                Err(Errno::INVAL | Errno::NOENT) => return Ok(path),
                Err(errno) => return Err(errno.into()),
            };
            let joined = match link.strip_prefix(b"/") {
                Some(_) => link,
                None => join(parent, &link),
            };
            let text = String::from_utf8_lossy(&joined).into_owned();
            let cleaned = crate::context::ignore::clean(&format!("/{text}"));
            path = cleaned.trim_matches('/').as_bytes().to_vec();
        }
        Err(Errno::LOOP.into())
    }

    fn directory(&mut self, source: &Root, item: &Item, path: &[u8]) -> io::Result<()> {
        let made = match self.target.parent(path) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(io::Error::new(
                    error.kind(),
                    format!("`/{}` in the image is not a directory", path.escape_ascii()),
                ));
            }
            made => made?,
        };
        if !item.target.is_empty() {
            let (uid, gid) = self.ids(&item.stat);
            rustix::fs::fchown(&made, Some(uid), Some(gid))?;
            copy_xattrs(source, item, made.as_fd())?;
            rustix::fs::fchmod(&made, self.mode(item.stat.st_mode, true))?;
        }
        // As in BuildKit, others get their time from what comes into them.
        if !item.on_the_way {
            self.times.push((made, times(&item.stat)));
        }
        Ok(())
    }

    fn leaf(
        &mut self,
        source: &Root,
        item: &Item,
        path: &[u8],
        copied: &mut HashMap<(u64, u64), Vec<u8>>,
    ) -> io::Result<()> {
        let (directory, base) = split(path);
        let parent = self.target.parent(directory)?;
        if self.taken(item, (directory, parent.as_fd()), base)? {
            return Ok(());
        }
        clear(parent.as_fd(), base)?;
        if let Some(reuse) = &mut self.reuse {
            reuse.written(self.target, (directory, parent.as_fd()), base)?;
        }
        match &item.kind {
            ItemKind::File => {
                let identity = (item.stat.st_dev, item.stat.st_ino);
                if item.stat.st_nlink > 1 {
                    if let Some(first) = copied.get(&identity) {
                        return self.hard_link(first, parent.as_fd(), base);
                    }
                    copied.insert(identity, path.to_vec());
                }
                let mut from = open_file(source, &item.source)?;
                let mut file = create(parent.as_fd(), base)?;
                io::copy(&mut from, &mut file)?;
                let (uid, gid) = self.ids(&item.stat);
                rustix::fs::fchown(&file, Some(uid), Some(gid))?;
                copy_xattrs(source, item, file.as_fd())?;
                rustix::fs::fchmod(&file, self.mode(item.stat.st_mode, false))?;
                rustix::fs::futimens(&file, &times(&item.stat))?;
                if let Some(reuse) = &mut self.reuse {
                    reuse.copied(base, &item.stat, &from)?;
                }
            }
            ItemKind::Symlink(link) => {
                rustix::fs::symlinkat(link.as_slice(), &parent, base)?;
                self.own_at(parent.as_fd(), base, &item.stat)?;
            }
            ItemKind::Special => {
                let kind = FileType::from_raw_mode(item.stat.st_mode);
                rustix::fs::mknodat(&parent, base, kind, Mode::RUSR, item.stat.st_rdev)?;
                self.own_at(parent.as_fd(), base, &item.stat)?;
                let mode = self.mode(item.stat.st_mode, false);
                rustix::fs::chmodat(&parent, base, mode, AtFlags::empty())?;
            }
            ItemKind::Directory => {}
        }
        Ok(())
    }

    /// Whether a former layer's file takes the place of a copy.
    fn taken(
        &mut self,
        item: &Item,
        directory: (&[u8], BorrowedFd<'_>),
        base: &[u8],
    ) -> io::Result<bool> {
        if item.kind != ItemKind::File || item.stat.st_nlink > 1 {
            return Ok(false);
        }
        let (uid, gid) = self.ids(&item.stat);
        let mode = self.mode(item.stat.st_mode, false);
        let attributes = Attributes { uid, gid, mode };
        match &mut self.reuse {
            Some(reuse) => reuse.take(self.target, directory, base, &item.stat, attributes),
            None => Ok(false),
        }
    }

    fn hard_link(&mut self, first: &[u8], parent: BorrowedFd<'_>, base: &[u8]) -> io::Result<()> {
        let (directory, name) = split(first);
        let directory = self.target.parent(directory)?;
        Ok(rustix::fs::linkat(
            &directory,
            name,
            parent,
            base,
            AtFlags::empty(),
        )?)
    }

    /// `ADD` of an archive. Whether it was one.
    fn unpacked(&mut self, source: &Root, item: &Item) -> Result<bool, StepError> {
        if !berth_image::is_tar(open_file(source, &item.source)?) {
            return Ok(false);
        }
        // Modes are the archive's own.
        self.target.set_mode(None);
        let directory = self.target.parent(&self.destination)?;
        let mode = self.plan.chmod.as_ref().and_then(Chmod::of_parents);
        self.target.set_mode(mode);
        let options = ExtractOptions {
            owner: self.owner,
            max_bytes: Some(self.room.left()?),
            ..ExtractOptions::default()
        };
        let archive = open_file(source, &item.source)?;
        berth_image::extract_into(directory, b"", archive, options)
            .map_err(|error| self.room.unpacked(error))?;
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

    fn mode(&self, mode: u32, is_directory: bool) -> Mode {
        let mode = mode & 0o7777;
        Mode::from_raw_mode(match &self.plan.chmod {
            Some(chmod) => chmod.apply(mode, is_directory),
            None => mode,
        })
    }

    fn own_at(&self, parent: BorrowedFd<'_>, base: &[u8], stat: &Stat) -> io::Result<()> {
        let (uid, gid) = self.ids(stat);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(parent, base, Some(uid), Some(gid), flags)?;
        Ok(rustix::fs::utimensat(parent, base, &times(stat), flags)?)
    }
}
