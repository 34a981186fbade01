//! Files that the same `COPY` made before. One whose source has not been touched since becomes
//! another name of the file in the former layer instead of a copy of it.
//!
//! Invariants:
//! - The layer is the one that copying would have made: the file that gets another name has the
//!   content, mode, owner and time that the copy would get, and no file of a layer gets two names in
//!   one layer, which a tar would show.
//! - Nobody writes to a file of a layer. Containers and steps see layers through a read-only overlay
//!   (what they change is copied up first), and what sets back times looks at newer files only.
//! - Names are given when the overlay is gone, in the directory that becomes the layer: no file
//!   system has two layers of which one could be another's name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use berth_image::{ImageStore, Root};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::file::{create, times, xattrs};
use super::select::{join, resolved};
use crate::cache::Former;
use crate::cache::stat::{Identity, now};
use crate::epoch::Epoch;

/// What a copied file will be like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) mode: Mode,
}

/// What is known while the files of one directory of the context are copied.
#[derive(Debug)]
pub(crate) struct Reuse {
    former: Option<(Former, Root)>,
    epoch: Option<Epoch>,
    /// When copying began.
    began: i128,
    /// The image's directory looked at last: its path, without links.
    last: Option<Directory>,
    /// Files to give another name, by their directory's path in image and layer.
    links: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
    /// Times of directories, by their path.
    times: HashMap<Vec<u8>, Timestamps>,
    /// Path in the layer → the source it was made of, where that is certain.
    made: HashMap<Vec<u8>, Identity>,
}

/// A directory of the image.
#[derive(Debug)]
struct Directory {
    /// As it was asked for.
    asked: Vec<u8>,
    /// Without links.
    path: Vec<u8>,
    /// The same directory of the former layer.
    former: Option<OwnedFd>,
}

impl Reuse {
    /// `former` is what the step made last time.
    pub(crate) fn new(
        store: &ImageStore,
        former: Option<Former>,
        epoch: Option<Epoch>,
    ) -> io::Result<Self> {
        let former = former.map(|former| {
            let tree = Root::open(&store.layer_path(&former.layer))?;
            io::Result::Ok((former, tree))
        });
        Ok(Self {
            former: former.transpose()?,
            epoch,
            began: now(),
            last: None,
            links: BTreeMap::new(),
            times: HashMap::new(),
            made: HashMap::new(),
        })
    }

    /// Takes the former layer's file instead of a copy, if it is the same. What is in the way of it in
    /// the image is left to [`Links::place`], but for directories.
    pub(super) fn take(
        &mut self,
        target: &Root,
        (asked, parent): (&[u8], BorrowedFd<'_>),
        base: &[u8],
        source: &Stat,
        attributes: Attributes,
    ) -> io::Result<bool> {
        let epoch = self.epoch;
        let Some((former, tree)) = &self.former else {
            return Ok(false);
        };
        let Some(directory) = enter(&mut self.last, target, asked, parent, Some(tree))? else {
            return Ok(false);
        };
        let path = join(&directory.path, base);
        let identity = Identity::of(source);
        let is_known = former.files.get(&path) == Some(&identity);
        let same = |found: &Stat| is_same(found, source, attributes, epoch);
        let found = directory.former.as_ref().filter(|_| is_known);
        let found = found.and_then(|former| stat(former.as_fd(), base));
        if !found.as_ref().is_some_and(same) {
            return Ok(false);
        }
        if stat(parent, base).is_some_and(|found| is_directory(&found)) {
            return Ok(false);
        }
        let names = match self.links.get_mut(&directory.path) {
            Some(names) => names,
            None => {
                // So that the directory is in the layer.
                rustix::fs::fchown(parent, None, None)?;
                self.links.entry(directory.path.clone()).or_default()
            }
        };
        names.insert(base.to_vec());
        self.made.insert(path, identity);
        Ok(true)
    }

    /// Something else has been written where a file may have been taken.
    pub(super) fn written(
        &mut self,
        target: &Root,
        (asked, parent): (&[u8], BorrowedFd<'_>),
        base: &[u8],
    ) -> io::Result<()> {
        let tree = self.former.as_ref().map(|(_, tree)| tree);
        if let Some(directory) = enter(&mut self.last, target, asked, parent, tree)? {
            if let Some(names) = self.links.get_mut(&directory.path) {
                names.remove(base);
            }
            self.made.remove(&join(&directory.path, base));
        }
        Ok(())
    }

    /// Notes that a file was copied, after [`Reuse::written`]: `from` is open, `before` what it was
    /// like before.
    pub(super) fn copied(&mut self, base: &[u8], before: &Stat, from: &File) -> io::Result<()> {
        let identity = Identity::of(before);
        let is_certain = before.st_nlink == 1
            && identity.has_settled(self.began)
            && identity == Identity::of(&rustix::fs::fstat(from)?);
        if let Some(directory) = self.last.as_ref().filter(|_| is_certain) {
            self.made.insert(join(&directory.path, base), identity);
        }
        Ok(())
    }

    /// Notes that a directory got its times, which it must get again when names have come into it.
    pub(super) fn timed(
        &mut self,
        target: &Root,
        directory: BorrowedFd<'_>,
        times: Timestamps,
    ) -> io::Result<()> {
        if let Some(path) = resolved(target.as_fd(), directory)? {
            self.times.insert(path, times);
        }
        Ok(())
    }

    /// What is left to do when the image is no longer mounted.
    pub(super) fn finish(self) -> Links {
        Links(self)
    }
}

/// Names to give.
#[derive(Debug)]
pub(crate) struct Links(Reuse);

impl Links {
    /// Gives the files their names in `upper`, which is mounted nowhere. Returns what the layer has of
    /// the context: path → source.
    pub(crate) fn place(self, upper: &Path) -> io::Result<HashMap<Vec<u8>, Identity>> {
        let Self(reuse) = self;
        let Some((_, tree)) = &reuse.former else {
            return Ok(reuse.made);
        };
        let upper = Root::open(upper)?;
        for (path, names) in &reuse.links {
            let open = |root: &Root| root.open_exact(path)?.ok_or(io::ErrorKind::NotFound.into());
            let (from, to): (io::Result<OwnedFd>, _) = (open(tree), open(&upper)?);
            let from = from?;
            for base in names {
                link(from.as_fd(), to.as_fd(), base)?;
            }
            if let Some(times) = reuse.times.get(path).filter(|_| !names.is_empty()) {
                rustix::fs::futimens(&to, times)?;
            }
        }
        Ok(reuse.made)
    }
}

/// Finds out where a directory is.
fn enter<'a>(
    last: &'a mut Option<Directory>,
    target: &Root,
    asked: &[u8],
    parent: BorrowedFd<'_>,
    tree: Option<&Root>,
) -> io::Result<Option<&'a Directory>> {
    if last.as_ref().is_none_or(|last| last.asked != asked) {
        *last = None;
        if let Some(path) = resolved(target.as_fd(), parent)? {
            let former = tree.map(|tree| tree.open_exact(&path)).transpose()?;
            *last = Some(Directory {
                asked: asked.to_vec(),
                path,
                former: former.flatten(),
            });
        }
    }
    Ok(last.as_ref())
}

/// Whether a file is what a copy would be.
fn is_same(found: &Stat, source: &Stat, attributes: Attributes, epoch: Option<Epoch>) -> bool {
    let nanos = |nanos: u64| i64::try_from(nanos).unwrap_or(0);
    let time = (source.st_mtime, nanos(source.st_mtime_nsec));
    let time = epoch.map_or(time, |epoch| epoch.clamp(time));
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
        && found.st_mode & 0o7777 == attributes.mode.as_raw_mode()
        && (found.st_uid, found.st_gid) == (attributes.uid.as_raw(), attributes.gid.as_raw())
        && found.st_size == source.st_size
        && (found.st_mtime, nanos(found.st_mtime_nsec)) == time
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn stat(directory: BorrowedFd<'_>, base: &[u8]) -> Option<Stat> {
    rustix::fs::statat(directory, base, AtFlags::SYMLINK_NOFOLLOW).ok()
}

/// Another name for a file, or a copy of it where it has all the names it can have.
fn link(from: BorrowedFd<'_>, to: BorrowedFd<'_>, base: &[u8]) -> io::Result<()> {
    let another = || rustix::fs::linkat(from, base, to, base, AtFlags::empty());
    match another() {
        Err(Errno::EXIST) => {
            // The deletion of the image's file, or what came by another path before.
            rustix::fs::unlinkat(to, base, AtFlags::empty())?;
            Ok(another()?)
        }
        Err(Errno::MLINK | Errno::XDEV | Errno::PERM) => copy(from, to, base),
        result => Ok(result?),
    }
}

fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, base: &[u8]) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let from = rustix::fs::openat(from, base, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&from)?;
    let mut file = create(to, base)?;
    io::copy(&mut File::from(from.try_clone()?), &mut file)?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(&file, Some(uid), Some(gid))?;
    for (name, value) in xattrs(&from)? {
        rustix::fs::fsetxattr(&file, &*name, &value, XattrFlags::empty())?;
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    Ok(rustix::fs::futimens(&file, &times(&stat))?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    /// The file systems of servers allow 65,000 names or more; a copy of the file begins anew.
    #[test]
    fn a_file_with_all_the_names_it_can_have_is_copied() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        for name in ["from", "to", "names"] {
            std::fs::create_dir(place(name)).unwrap();
        }
        std::fs::write(place("from/file"), "text").unwrap();
        let first = std::fs::metadata(place("from/file")).unwrap();
        let mut count = 1;
        while std::fs::hard_link(place("from/file"), place(&format!("names/{count}"))).is_ok() {
            count += 1;
            if count > 200_000 {
                // This one has no limit that a test could reach.
                return;
            }
        }
        let open = |name: &str| std::fs::File::open(place(name)).unwrap();
        link(open("from").as_fd(), open("to").as_fd(), b"file").unwrap();
        let copied = std::fs::metadata(place("to/file")).unwrap();
        assert_ne!(copied.ino(), first.ino());
        assert_eq!(copied.nlink(), 1);
        assert_eq!(copied.mode(), first.mode());
        assert_eq!(copied.modified().unwrap(), first.modified().unwrap());
        assert_eq!(std::fs::read(place("to/file")).unwrap(), b"text");
    }
}
