//! A writable overlay directory becomes a layer: the directory itself is moved into the store as the
//! unpacked tree, under the digest of its tar, which is the same for the same tree.
//!
//! Nobody may write to the directory any more when it is handed over.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::fs::OFlags;

use crate::copy::{OverlayRecords, copy_tree};
use crate::store::{ImageStore, LayerRecord};
use crate::stream::{Compression, HashWriter};
use crate::tar_read::Kind;
use crate::tar_write::{NewEntry, TarWriter};
use crate::unpack::{OPAQUE_XATTR, OVERLAY_PREFIX};
use crate::{Digest, ImageError, Layer};

/// Records by which overlayfs says that a directory's or file's content is elsewhere. The jail mounts
/// with both features off; a tar cannot express them.
const FOREIGN_CONTENT: [&[u8]; 2] = [b"trusted.overlay.redirect", b"trusted.overlay.metacopy"];

impl ImageStore {
    /// Makes a layer of an overlay upper directory (ids as inside the container, overlay whiteouts).
    /// `upper` must be on the store's file system and is consumed: it is moved into the store, or
    /// removed if the store has the same layer. `None` when it is empty.
    ///
    /// Nothing is compressed ([`ImageStore::packed`] does that when the image goes somewhere else),
    /// and nothing waits for the disk: see [`ImageStore::settle`].
    pub fn add_layer(&self, upper: &Path) -> Result<Option<Layer>, ImageError> {
        if is_empty(upper)? {
            return Ok(None);
        }
        let tar = Walk::tar(upper, io::sink())?;
        let media_type = Compression::None.media_type().to_owned();
        let layer = Layer::new(tar.diff_id.clone(), tar.diff_id, tar.size, media_type);
        let layer = self.hold_layer(layer)?;
        let _lock = self.lock_layer(&layer.diff_id)?;
        if let Some(known) = self.layer(&layer.diff_id)?
            && self.has_layer(&known)
        {
            fs::remove_dir_all(upper).map_err(ImageError::io("remove", upper))?;
            return Ok(Some(known));
        }
        let scratch = self.scratch("layer-")?;
        let tree = scratch.path().join("fs");
        fs::rename(upper, &tree).map_err(ImageError::io("move into the store", upper))?;
        self.mark_unflushed(scratch.path())?;
        let record = LayerRecord {
            layer: layer.clone(),
            bytes: tar.bytes,
            derived: true,
        };
        self.keep_layer(scratch.path(), &record)?;
        Ok(Some(layer))
    }
}

/// A copy of a container's writable directory, on its way to be a layer. Removed when dropped.
#[derive(Debug)]
pub struct LayerCopy {
    store: ImageStore,
    scratch: tempfile::TempDir,
}

impl LayerCopy {
    /// The copy; it may still be changed.
    pub fn path(&self) -> PathBuf {
        self.scratch.path().join("upper")
    }

    /// Makes a layer of it; `None` when it is empty.
    pub fn into_layer(self) -> Result<Option<Layer>, ImageError> {
        self.store.add_layer(&self.path())
    }
}

impl ImageStore {
    /// Copies a writable overlay directory that stays in use. Nobody may write to it meanwhile.
    pub fn copy_layer(&self, upper: &Path) -> Result<LayerCopy, ImageError> {
        let copy = LayerCopy {
            store: self.clone(),
            scratch: self.scratch("commit-")?,
        };
        let target = copy.path();
        fs::create_dir(&target).map_err(ImageError::io("create", &target))?;
        let open = |path: &Path| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, rustix::fs::Mode::empty())
                .map_err(ImageError::errno("open", path))
        };
        let (from, to) = (open(upper)?, open(&target)?);
        copy_tree(from.as_fd(), to.as_fd(), OverlayRecords::Keep)
            .map_err(ImageError::io("copy", upper))?;
        Ok(copy)
    }
}

fn is_empty(directory: &Path) -> Result<bool, ImageError> {
    let mut entries = fs::read_dir(directory).map_err(ImageError::io("read", directory))?;
    Ok(entries.next().is_none())
}

/// A tree as a tar.
pub(crate) struct Tar<W> {
    /// Digest of the tar.
    pub(crate) diff_id: Digest,
    /// Bytes of the tar.
    pub(crate) size: u64,
    /// Bytes of its regular files.
    pub(crate) bytes: u64,
    /// What it was written to.
    pub(crate) writer: W,
}

pub(crate) struct Walk<W: Write> {
    tar: TarWriter<W>,
    /// First name of each file that has several: (device, inode) → path in the layer.
    links: HashMap<(u64, u64), Vec<u8>>,
    bytes: u64,
}

impl<W: Write> Walk<HashWriter<W>> {
    /// Writes a layer's tree as a tar: always the same for the same tree.
    pub(crate) fn tar(tree: &Path, writer: W) -> Result<Tar<W>, ImageError> {
        let mut walk = Self::new(HashWriter::new(writer));
        walk.directory(tree, &[])?;
        let bytes = walk.bytes;
        let finished = walk.tar.finish();
        let hashed = finished.map_err(ImageError::io("archive", tree))?;
        let (diff_id, size, writer) = hashed.finish();
        Ok(Tar {
            diff_id,
            size,
            bytes,
            writer,
        })
    }
}

impl<W: Write> Walk<W> {
    fn new(writer: W) -> Self {
        Self {
            tar: TarWriter::new(writer),
            links: HashMap::new(),
            bytes: 0,
        }
    }

    /// Writes what is in a directory, sorted by name.
    fn directory(&mut self, directory: &Path, name: &[u8]) -> Result<(), ImageError> {
        let read = ImageError::io("read", directory);
        let mut names: Vec<Vec<u8>> = fs::read_dir(directory)
            .and_then(|entries| {
                entries
                    .map(|entry| entry.map(|entry| entry.file_name().into_vec()))
                    .collect()
            })
            .map_err(read)?;
        names.sort_unstable();
        for base in names {
            let path = directory.join(OsStr::from_bytes(&base));
            let mut full = name.to_vec();
            if !full.is_empty() {
                full.push(b'/');
            }
            full.extend_from_slice(&base);
            self.entry(&path, &full, name, &base)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        path: &Path,
        name: &[u8],
        parent: &[u8],
        base: &[u8],
    ) -> Result<(), ImageError> {
        let metadata = fs::symlink_metadata(path).map_err(ImageError::io("inspect", path))?;
        if base.starts_with(b".wh.") {
            return Err(ImageError::NotALayer {
                path: path.to_owned(),
                reason: "names that begin with `.wh.` mark deleted files in layers".to_owned(),
            });
        }
        let Some(kind) = kind(&metadata) else {
            // Sockets have no meaning without their process, and tar has no type for them.
            return Ok(());
        };
        if let Kind::CharDevice { major: 0, minor: 0 } = kind {
            return self.marker(path, parent, &[b".wh.", base].concat());
        }
        let (xattrs, opaque) = take_xattrs(path)?;
        let mut entry = NewEntry {
            path: name,
            link: b"",
            kind,
            mode: metadata.mode(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: (
                metadata.mtime(),
                u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
            ),
            xattrs: &xattrs,
            size: 0,
        };
        if kind == Kind::Directory {
            self.append(path, &entry)?;
            if opaque {
                self.marker(path, name, b".wh..wh..opq")?;
            }
            return self.directory(path, name);
        }
        let first = match metadata.nlink() {
            0 | 1 => None,
            _ => self.first_name(&metadata, name),
        };
        if let Some(first) = first {
            entry.kind = Kind::HardLink;
            entry.link = &first;
            entry.xattrs = &[];
            return self.append(path, &entry);
        }
        match kind {
            Kind::File => self.file(path, &metadata, entry),
            Kind::Symlink => {
                let target = fs::read_link(path).map_err(ImageError::io("read the link", path))?;
                entry.link = target.as_os_str().as_bytes();
                self.append(path, &entry)
            }
            _ => self.append(path, &entry),
        }
    }

    /// The name under which this file is in the archive already.
    fn first_name(&mut self, metadata: &std::fs::Metadata, name: &[u8]) -> Option<Vec<u8>> {
        match self.links.entry((metadata.dev(), metadata.ino())) {
            std::collections::hash_map::Entry::Occupied(first) => Some(first.get().clone()),
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(name.to_vec());
                None
            }
        }
    }

    fn file(
        &mut self,
        path: &Path,
        metadata: &std::fs::Metadata,
        mut entry: NewEntry<'_>,
    ) -> Result<(), ImageError> {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
            .map_err(ImageError::io("open", path))?;
        entry.size = metadata.len();
        self.bytes += entry.size;
        self.tar
            .append(&entry, file)
            .map_err(ImageError::io("archive", path))
    }

    fn append(&mut self, path: &Path, entry: &NewEntry<'_>) -> Result<(), ImageError> {
        self.tar
            .append(entry, io::empty())
            .map_err(ImageError::io("archive", path))
    }

    /// An empty file that means something by its name.
    fn marker(&mut self, path: &Path, parent: &[u8], base: &[u8]) -> Result<(), ImageError> {
        let mut name = parent.to_vec();
        if !name.is_empty() {
            name.push(b'/');
        }
        name.extend_from_slice(base);
        let entry = NewEntry {
            path: &name,
            link: b"",
            kind: Kind::File,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            xattrs: &[],
            size: 0,
        };
        self.append(path, &entry)
    }
}

fn kind(metadata: &std::fs::Metadata) -> Option<Kind> {
    let major = rustix::fs::major(metadata.rdev());
    let minor = rustix::fs::minor(metadata.rdev());
    let kind = metadata.file_type();
    Some(if kind.is_file() {
        Kind::File
    } else if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        Kind::Symlink
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_char_device() {
        Kind::CharDevice { major, minor }
    } else if kind.is_block_device() {
        Kind::BlockDevice { major, minor }
    } else {
        return None;
    })
}

type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// The xattrs that belong into the archive, and whether the directory is opaque. overlayfs's other
/// notes (where a file was copied up from) are removed: they are about the mount that is gone.
fn take_xattrs(path: &Path) -> Result<(Xattrs, bool), ImageError> {
    let names = match xattr::list(path) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok((Vec::new(), false)),
        Err(error) => return Err(ImageError::io("list the xattrs of", path)(error)),
    };
    let mut xattrs = Vec::new();
    let mut opaque = false;
    for name in names {
        let bytes = name.as_bytes();
        if FOREIGN_CONTENT.contains(&bytes) {
            return Err(ImageError::NotALayer {
                path: PathBuf::from(path),
                reason: format!("it has the overlay attribute `{}`", bytes.escape_ascii()),
            });
        }
        if bytes == OPAQUE_XATTR.as_bytes() {
            opaque = true;
        } else if bytes.starts_with(OVERLAY_PREFIX) {
            xattr::remove(path, &name).map_err(ImageError::io("clean", path))?;
        } else if let Some(value) =
            xattr::get(path, &name).map_err(ImageError::io("read the xattrs of", path))?
        {
            xattrs.push((bytes.to_vec(), value));
        }
    }
    xattrs.sort_unstable();
    Ok((xattrs, opaque))
}
