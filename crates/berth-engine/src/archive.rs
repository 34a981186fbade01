//! Files in and out of a container's root as tar streams, for the archive calls of the Docker API.
//!
//! Everything works on an open root directory (of a container, or of a volume) and resolves paths in
//! it by descriptor, so that no symbolic link leads out of it. Blocking; bodies pass through in
//! pieces and are never whole in memory.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};

use berth_image::{ExtractOptions, PackOptions, Root, UnpackError};
use bytes::{Buf as _, Bytes};
use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use rustix::io::Errno;
use tokio::sync::mpsc;

use crate::EngineError;

/// A body on its way: pieces, or why it ends early.
pub type Pieces = mpsc::Receiver<io::Result<Bytes>>;

/// Bytes of one piece of an outgoing body.
const PIECE: usize = 256 << 10;

/// Pieces that wait for a slow reader.
pub(crate) const PIECES: usize = 4;

/// Directories that are not files of the container's when something else is mounted there.
const NOT_ARCHIVED: [&str; 3] = ["dev", "proc", "sys"];

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStat {
    /// The path's last name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Kind and permissions, as `stat` has them.
    pub mode: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// Of a symbolic link; empty otherwise.
    pub link_target: String,
}

/// How an archive is unpacked.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions {
    /// Neither a directory nor anything else may take the other's place.
    pub keep_kinds: bool,
}

/// A root and the number by which ids in it are higher than inside.
pub(crate) struct Place {
    root: Root,
    id_base: u32,
}

/// A path that exists: `base` in the directory `parent`.
pub(crate) struct Found {
    parent: OwnedFd,
    base: Vec<u8>,
    /// How entries of an archive begin.
    name: Vec<u8>,
    pub(crate) stat: PathStat,
}

impl Place {
    pub(crate) fn new(root: OwnedFd, id_base: u32) -> Self {
        Self {
            root: Root::from(root),
            id_base,
        }
    }

    /// Looks a path up. With `/.` or `/` at its end it must be a directory, and a link is followed.
    ///
    /// # Errors
    /// [`EngineError::NoSuchPath`], [`EngineError::NotADirectory`], [`EngineError::Archive`].
    pub(crate) fn find(&self, path: &str) -> Result<Found, EngineError> {
        let missing = || EngineError::NoSuchPath(path.to_owned());
        let failed = |error: io::Error| archive_error("look at", path)(error);
        let (trimmed, content) = trim(path);
        let (above, base) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
        let name = if base.is_empty() { "/" } else { base };
        let (parent, base) = if content || matches!(base, "" | "..") {
            (self.directory(trimmed, path)?, ".")
        } else {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let found = self.root.open_any(above.as_bytes(), flags);
            (found.map_err(failed)?.ok_or_else(missing)?, base)
        };
        let stat = rustix::fs::statat(&parent, base, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(|errno| match errno {
            Errno::NOENT => missing(),
            errno => failed(errno.into()),
        })?;
        let link = if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            let target = rustix::fs::readlinkat(&parent, base, Vec::new());
            target.map_err(|errno| failed(errno.into()))?.into_bytes()
        } else {
            Vec::new()
        };
        let entries = if path.ends_with("/.") || name == "/" {
            "."
        } else {
            name
        };
        Ok(Found {
            parent,
            base: base.as_bytes().to_vec(),
            name: entries.as_bytes().to_vec(),
            stat: path_stat(name, &stat, &link),
        })
    }

    /// A directory that must exist.
    fn directory(&self, trimmed: &str, path: &str) -> Result<OwnedFd, EngineError> {
        let open = |flags| {
            let found = self.root.open_any(trimmed.as_bytes(), flags);
            found.map_err(archive_error("open", path))
        };
        if let Some(found) = open(OFlags::RDONLY | OFlags::DIRECTORY)? {
            return Ok(found);
        }
        match open(OFlags::PATH)? {
            Some(_) => Err(EngineError::NotADirectory(path.to_owned())),
            None => Err(EngineError::NoSuchPath(path.to_owned())),
        }
    }

    /// A directory of this path.
    pub(crate) fn directory_at(&self, path: &str) -> Result<OwnedFd, EngineError> {
        self.directory(trim(path).0, path)
    }

    /// Writes what was found as an archive.
    pub(crate) fn read(&self, found: &Found, writer: impl Write) -> io::Result<()> {
        let device = rustix::fs::fstat(self.root.as_fd())?.st_dev;
        let mounted = |name: &&str| {
            let stat = rustix::fs::statat(self.root.as_fd(), *name, AtFlags::SYMLINK_NOFOLLOW);
            stat.ok()
                .map(|stat| stat.st_dev)
                .filter(|dev| *dev != device)
        };
        let options = PackOptions {
            id_base: self.id_base,
            skip_devices: NOT_ARCHIVED.iter().filter_map(mounted).collect(),
        };
        berth_image::pack(
            found.parent.as_fd(),
            &found.base,
            &found.name,
            &options,
            writer,
        )
    }

    /// Unpacks an archive below a directory that exists; missing parents of its entries are made.
    ///
    /// # Errors
    /// As [`Place::find`]; [`EngineError::ReadOnly`]; [`EngineError::Unpack`].
    pub(crate) fn write(
        &self,
        path: &str,
        archive: impl Read + Send,
        options: WriteOptions,
    ) -> Result<(), EngineError> {
        let (trimmed, _) = trim(path);
        self.directory(trimmed, path)?;
        let root = self.root.as_fd().try_clone_to_owned();
        let root = root.map_err(archive_error("open", path))?;
        let options = ExtractOptions {
            id_base: self.id_base,
            keep_kinds: options.keep_kinds,
            ..ExtractOptions::default()
        };
        let done = berth_image::extract_into(root, trimmed.as_bytes(), archive, options);
        done.map_err(|source| match &source {
            UnpackError::Entry { source, .. }
                if source.kind() == io::ErrorKind::ReadOnlyFilesystem =>
            {
                EngineError::ReadOnly(path.to_owned())
            }
            _ => EngineError::Unpack {
                path: path.to_owned(),
                source,
            },
        })
    }

    pub(crate) fn into_root(self) -> Root {
        self.root
    }
}

/// A path without what stands for "its content", and whether there was any.
fn trim(path: &str) -> (&str, bool) {
    let mut trimmed = path;
    loop {
        let next = trimmed.strip_suffix("/.").unwrap_or(trimmed);
        let next = next.trim_end_matches('/');
        if next.len() == trimmed.len() {
            break;
        }
        trimmed = next;
    }
    let trimmed = if trimmed == "." { "" } else { trimmed };
    (trimmed, trimmed.len() < path.len() || path.is_empty())
}

fn path_stat(name: &str, stat: &Stat, link: &[u8]) -> PathStat {
    PathStat {
        name: name.to_owned(),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mode: stat.st_mode,
        mtime: (
            stat.st_mtime,
            u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        ),
        link_target: String::from_utf8_lossy(link).into_owned(),
    }
}

pub(crate) fn archive_error(
    step: &'static str,
    path: &str,
) -> impl FnOnce(io::Error) -> EngineError + use<> {
    let path = path.to_owned();
    move |source| EngineError::Archive { step, path, source }
}

/// Sends what is written to it in pieces. Blocks while the reader is slow.
pub(crate) struct PieceWriter {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl PieceWriter {
    pub(crate) fn new(pieces: mpsc::Sender<io::Result<Bytes>>) -> Self {
        Self {
            pieces,
            buffer: Vec::with_capacity(PIECE),
        }
    }
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == PIECE {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE));
        self.pieces
            .blocking_send(Ok(full.into()))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Reads pieces one after the other. Blocks while there are none.
pub(crate) struct PieceReader {
    pieces: Pieces,
    current: Bytes,
    /// A piece has come.
    begun: bool,
}

impl PieceReader {
    pub(crate) fn new(pieces: Pieces) -> Self {
        Self {
            pieces,
            current: Bytes::new(),
            begun: false,
        }
    }
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => {
                    if self.begun {
                        berth_jail::crash_point("archive.half");
                    }
                    self.begun = true;
                    self.current = piece?;
                }
                None => return Ok(0),
            }
        }
        let taken = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;
