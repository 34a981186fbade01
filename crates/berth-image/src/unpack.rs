//! Unpacking a layer tar into a directory, as the tree overlayfs expects.
//!
//! Owner of everything that is written below a layer's root. Invariants:
//!
//! - Nothing outside the root is touched, whatever the archive says: parents are resolved by
//!   [`Root`] with `openat2(RESOLVE_IN_ROOT)`, the last component is never followed, and every
//!   change is an `*at` call on the parent's descriptor.
//! - Ids, modes, xattrs, times, devices and hard links come out as in the archive.
//! - OCI whiteouts become overlayfs's own: a 0/0 character device, or `trusted.overlay.opaque=y` on
//!   the directory. They hide lower layers only, whatever the order of entries (OCI image
//!   specification, layer.md).
//!
//! The directory must be private to the caller while it is filled.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::stream::{decompress, sniff_any};
use crate::tar_read::{Entry, Kind, TarReader};

mod attributes;
mod error;
mod limits;
mod root;
mod whiteout;

pub(crate) use attributes::{OPAQUE_XATTR, OVERLAY_PREFIX};
pub use error::UnpackError;
pub(crate) use limits::UnpackLimits;
pub use root::Root;
use root::{Name, normalize};
use whiteout::{WHITEOUT_PREFIX, is_whiteout};

/// What came out of an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// Bytes of all regular files.
    pub(crate) bytes: u64,
}

/// Ids that a container has.
const MAPPED_IDS: u64 = 65_536;

/// What names like `.wh.x` mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whiteouts {
    /// Something deleted, as in layers.
    Convert,
    /// Files like others.
    Ordinary,
}

/// Unpacks a layer's tar stream into `directory`, which must exist, and reads it to its end.
pub(crate) fn unpack(
    directory: &Path,
    stream: impl Read,
    limits: UnpackLimits,
) -> Result<Unpacked, UnpackError> {
    let root = Root::open(directory).map_err(|source| UnpackError::Entry {
        entry: "/".to_owned(),
        source,
    })?;
    let options = ExtractOptions::default();
    unpack_below(root, stream, limits, Whiteouts::Convert, options)
}

/// How a tar is unpacked into a container's tree.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExtractOptions {
    /// Ids in the tree are this much higher than in the archive; then the archive may only hold the
    /// ids that a container has.
    pub id_base: u32,
    /// Neither a directory nor anything else may take the other's place.
    pub keep_kinds: bool,
    /// Everything belongs to these ids, whatever the archive says.
    pub owner: Option<(u32, u32)>,
    /// Most bytes of the files, if fewer than a layer may have.
    pub max_bytes: Option<u64>,
}

/// Unpacks any tar (plain, gzip, zstd, bzip2 or xz) below an open directory, as safely as a layer. Names like
/// `.wh.x` have no special meaning.
pub fn extract(directory: OwnedFd, source: impl Read + Send) -> Result<(), UnpackError> {
    extract_into(directory, b"", source, ExtractOptions::default())
}

/// [`extract`] below the directory `below` (which must exist) of a tree that others may be changing
/// meanwhile. Symbolic links mean what they mean in the whole tree.
pub fn extract_into(
    tree: OwnedFd,
    below: &[u8],
    source: impl Read + Send,
    options: ExtractOptions,
) -> Result<(), UnpackError> {
    let mut reader = BufReader::with_capacity(256 * 1024, source);
    let stream = sniff_any(&mut reader)
        .and_then(|compression| decompress(compression, reader))
        .map_err(UnpackError::Archive)?;
    let mut root = Root::from(tree);
    root.set_owner(options.owner);
    let failed = |source| UnpackError::Entry {
        entry: String::from_utf8_lossy(below).into_owned(),
        source,
    };
    root.descend(below).map_err(failed)?;
    let mut limits = UnpackLimits::default();
    if let Some(bytes) = options.max_bytes {
        limits.bytes = limits.bytes.min(bytes);
    }
    unpack_below(root, stream, limits, Whiteouts::Ordinary, options).map(drop)
}

/// Whether this is the beginning of a tar (plain, gzip, zstd, bzip2 or xz) with at least one entry.
pub fn is_tar(source: impl Read + Send) -> bool {
    let mut reader = BufReader::new(source);
    sniff_any(&mut reader)
        .and_then(|compression| decompress(compression, reader))
        .and_then(|stream| TarReader::new(stream).next_entry())
        .is_ok_and(|entry| entry.is_some())
}

fn unpack_below(
    root: Root,
    stream: impl Read,
    limits: UnpackLimits,
    whiteouts: Whiteouts,
    options: ExtractOptions,
) -> Result<Unpacked, UnpackError> {
    let mut unpacker = Unpacker {
        root,
        whiteouts,
        options,
        directory_times: HashMap::new(),
        buffer: vec![0; 256 * 1024],
        unpacked: Unpacked::default(),
    };
    let mut reader = TarReader::new(Capped {
        inner: stream,
        left: limits.stream_bytes(),
    });
    while let Some(mut entry) = reader.next_entry().map_err(UnpackError::Archive)? {
        if reader.headers() > limits.entries {
            return Err(UnpackError::TooManyEntries(limits.entries));
        }
        unpacker.unpacked.bytes = unpacker.unpacked.bytes.saturating_add(entry.size);
        if unpacker.unpacked.bytes > limits.bytes {
            return Err(UnpackError::TooManyBytes(limits.bytes));
        }
        unpacker
            .shift_ids(&mut entry)
            .and_then(|()| unpacker.entry(&entry, &mut reader))
            .map_err(|source| UnpackError::Entry {
                entry: String::from_utf8_lossy(&entry.path).into_owned(),
                source,
            })?;
    }
    reader.drain().map_err(UnpackError::Archive)?;
    unpacker
        .set_directory_times()
        .map_err(UnpackError::Archive)?;
    Ok(unpacker.unpacked)
}

/// Ends endless streams (compression bombs made of padding).
struct Capped<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other("the stream is longer than any layer may be"))?;
        Ok(read)
    }
}

struct Unpacker {
    root: Root,
    whiteouts: Whiteouts,
    options: ExtractOptions,
    /// Times of directories, set at the end because every entry inside changes them.
    directory_times: HashMap<Vec<u8>, (i64, u32)>,
    buffer: Vec<u8>,
    unpacked: Unpacked,
}

impl Unpacker {
    fn shift_ids(&self, entry: &mut Entry) -> io::Result<()> {
        let base = self.options.id_base;
        if let Some((uid, gid)) = self.options.owner {
            (entry.uid, entry.gid) = (uid.into(), gid.into());
        }
        for id in [&mut entry.uid, &mut entry.gid] {
            if base > 0 && *id >= MAPPED_IDS {
                let message = format!("the owner id {id} does not exist in a container");
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            *id = id.saturating_add(base.into());
        }
        Ok(())
    }

    /// With [`ExtractOptions::keep_kinds`], directories stay directories.
    fn check_kind(&self, entry: &Entry, existing: Option<&Stat>) -> io::Result<()> {
        let Some(existing) = existing.filter(|_| self.options.keep_kinds) else {
            return Ok(());
        };
        let message = match (is_directory(existing), entry.kind == Kind::Directory) {
            (true, false) => "cannot overwrite a directory with something else",
            (false, true) => "cannot overwrite something else with a directory",
            _ => return Ok(()),
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, message))
    }

    fn entry(&mut self, entry: &Entry, data: &mut impl Read) -> io::Result<()> {
        let Some(name) = normalize(&entry.path)? else {
            return self.root_entry(entry);
        };
        if self.whiteouts == Whiteouts::Convert && name.base.starts_with(WHITEOUT_PREFIX) {
            return self.whiteout(&name);
        }
        let parent = self.root.parent_below(&name.parent)?;
        let existing = lstat(parent.as_fd(), &name.base)?;
        self.check_kind(entry, existing.as_ref())?;
        match entry.kind {
            Kind::Directory => self.directory(entry, &name, parent.as_fd(), existing.as_ref()),
            Kind::HardLink => self.hard_link(entry, &name, parent.as_fd(), existing.as_ref()),
            _ => {
                self.clear(parent.as_fd(), &name, existing.as_ref())?;
                self.create(entry, &name, parent.as_fd(), data)
            }
        }
    }

    /// `./` or `/`: attributes of the root directory itself. Where any tar is unpacked, into a directory
    /// that is there already, such an entry means nothing, as in Docker.
    fn root_entry(&mut self, entry: &Entry) -> io::Result<()> {
        if self.whiteouts == Whiteouts::Ordinary {
            return Ok(());
        }
        if entry.kind != Kind::Directory {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the root of the tree can only be a directory",
            ));
        }
        let root = self.root.base().try_clone_to_owned()?;
        attributes::apply(root.as_fd(), entry)?;
        self.directory_times.insert(Vec::new(), entry.mtime);
        Ok(())
    }

    fn directory(
        &mut self,
        entry: &Entry,
        name: &Name,
        parent: BorrowedFd<'_>,
        existing: Option<&Stat>,
    ) -> io::Result<()> {
        if !existing.is_some_and(is_directory) {
            self.clear(parent, name, existing)?;
            fs::mkdirat(parent, &*name.base, Mode::RWXU)?;
        }
        let directory = open_directory(parent, &name.base)?;
        if existing.is_some_and(is_whiteout) {
            attributes::set_opaque(directory.as_fd())?;
        }
        attributes::apply(directory.as_fd(), entry)?;
        self.directory_times.insert(name.path(), entry.mtime);
        Ok(())
    }

    fn create(
        &mut self,
        entry: &Entry,
        name: &Name,
        parent: BorrowedFd<'_>,
        data: &mut impl Read,
    ) -> io::Result<()> {
        let node = |kind, device| {
            fs::mknodat(parent, &*name.base, kind, Mode::RUSR, device)?;
            attributes::apply_at(parent, &name.base, entry)
        };
        match entry.kind {
            Kind::File => {
                let flags = OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::WRONLY
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let file = fs::openat(parent, &*name.base, flags, Mode::RUSR | Mode::WUSR)?;
                self.write(entry, file.as_fd(), data)?;
                attributes::apply(file.as_fd(), entry)?;
                attributes::set_times(file.as_fd(), entry.mtime)
            }
            Kind::Symlink => {
                fs::symlinkat(&*entry.link, parent, &*name.base)?;
                attributes::apply_at(parent, &name.base, entry)
            }
            Kind::Fifo => node(FileType::Fifo, 0),
            Kind::CharDevice { major, minor } => {
                node(FileType::CharacterDevice, fs::makedev(major, minor))
            }
            Kind::BlockDevice { major, minor } => {
                node(FileType::BlockDevice, fs::makedev(major, minor))
            }
            Kind::Directory | Kind::HardLink => Err(io::Error::from(io::ErrorKind::InvalidInput)),
        }
    }

    fn write(
        &mut self,
        entry: &Entry,
        file: BorrowedFd<'_>,
        data: &mut impl Read,
    ) -> io::Result<()> {
        let Some(runs) = &entry.runs else {
            return copy(data, file, 0, entry.size, &mut self.buffer);
        };
        for run in runs {
            copy(data, file, run.offset, run.len, &mut self.buffer)?;
        }
        Ok(fs::ftruncate(file, entry.size)?)
    }

    /// The target's parents are resolved inside the root; the target itself is not followed, so a
    /// link to a symbolic link is another name of that symbolic link.
    fn hard_link(
        &mut self,
        entry: &Entry,
        name: &Name,
        parent: BorrowedFd<'_>,
        existing: Option<&Stat>,
    ) -> io::Result<()> {
        let missing = || {
            io::Error::new(
                io::ErrorKind::NotFound,
                "the hard link's target is not in the layer",
            )
        };
        let target = normalize(&entry.link)?.ok_or_else(missing)?;
        let target_parent = self
            .root
            .existing_parent_below(&target.parent)?
            .ok_or_else(missing)?;
        let stat = lstat(target_parent.as_fd(), &target.base)?.ok_or_else(missing)?;
        if is_directory(&stat) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the hard link's target is a directory",
            ));
        }
        if existing.is_some_and(|old| old.st_ino == stat.st_ino && old.st_dev == stat.st_dev) {
            return Ok(());
        }
        self.clear(parent, name, existing)?;
        fs::linkat(
            &target_parent,
            &*target.base,
            parent,
            &*name.base,
            AtFlags::empty(),
        )?;
        Ok(())
    }

    /// Removes what is in the way of an entry.
    fn clear(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &Name,
        existing: Option<&Stat>,
    ) -> io::Result<()> {
        match existing {
            None => Ok(()),
            Some(stat) if is_directory(stat) => {
                // Times noted for directories in it are skipped at the end, when they are gone.
                self.root.forget();
                remove_tree(parent, &name.base)
            }
            Some(_) => {
                self.root.forget();
                Ok(fs::unlinkat(parent, &*name.base, AtFlags::empty())?)
            }
        }
    }

    fn set_directory_times(&mut self) -> io::Result<()> {
        for (path, mtime) in std::mem::take(&mut self.directory_times) {
            if let Some(directory) = self.root.open_exact(&path)? {
                attributes::set_times(directory.as_fd(), mtime)?;
            }
        }
        Ok(())
    }
}

fn copy(
    data: &mut impl Read,
    file: BorrowedFd<'_>,
    mut offset: u64,
    len: u64,
    buffer: &mut [u8],
) -> io::Result<()> {
    let mut left = len;
    while left > 0 {
        let want = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = data.read(&mut buffer[..want])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut chunk = &buffer[..read];
        while !chunk.is_empty() {
            let written = rustix::io::pwrite(file, chunk, offset)?;
            chunk = &chunk[written..];
            offset += written as u64;
        }
        left -= read as u64;
    }
    Ok(())
}

fn lstat(parent: BorrowedFd<'_>, base: &[u8]) -> io::Result<Option<Stat>> {
    match fs::statat(parent, base, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn open_directory(parent: BorrowedFd<'_>, base: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(fs::openat(parent, base, flags, Mode::empty())?)
}

/// Removes a directory and everything in it without following links.
fn remove_tree(parent: BorrowedFd<'_>, base: &[u8]) -> io::Result<()> {
    let directory = open_directory(parent, base)?;
    for entry in fs::Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match fs::unlinkat(&directory, name, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::ISDIR) => remove_tree(directory.as_fd(), name.to_bytes())?,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(fs::unlinkat(parent, base, AtFlags::REMOVEDIR)?)
}

#[cfg(test)]
mod tests;
