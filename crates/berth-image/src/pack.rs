//! A living directory becomes a tar stream, as the archive calls of the Docker API want it.
//!
//! By descriptor throughout, so that nobody who changes the tree meanwhile can lead the reader out
//! of it. A file that shrinks while it is read is filled up with zeros; what vanishes is left out.

use std::collections::HashMap;
use std::io::{self, Read as _, Write};
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::Stat;

use crate::entries::{self, MAX_DEPTH};
use crate::tar_read::Kind;
use crate::tar_write::{NewEntry, TarWriter};
use crate::unpack::OVERLAY_PREFIX;

/// Ids above a container's are nobody's.
const OVERFLOW_ID: u32 = 65_534;
/// Ids that a container has.
const MAPPED_IDS: u32 = 65_536;

/// How a tree is packed.
#[derive(Clone, Debug, Default)]
pub struct PackOptions {
    /// Ids in the tree are this much higher than in the archive.
    pub id_base: u32,
    /// Directories on these devices appear, what is in them does not.
    pub skip_devices: Vec<u64>,
}

/// Writes `base` in the directory `parent`, and what is in it, as an archive whose entries begin
/// with `name` (`.` for an archive of the directory's content). The writer is flushed.
///
/// # Errors
/// The writer's, and what cannot be read.
pub fn pack(
    parent: BorrowedFd<'_>,
    base: &[u8],
    name: &[u8],
    options: &PackOptions,
    writer: impl Write,
) -> io::Result<()> {
    let mut packer = Packer {
        tar: TarWriter::new(writer),
        links: HashMap::new(),
        options,
    };
    packer.entry(parent, base, name, 0)?;
    packer.tar.finish()?.flush()
}

struct Packer<'a, W: Write> {
    tar: TarWriter<W>,
    /// First name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    options: &'a PackOptions,
}

impl<W: Write> Packer<'_, W> {
    fn entry(
        &mut self,
        parent: BorrowedFd<'_>,
        base: &[u8],
        name: &[u8],
        depth: usize,
    ) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(io::Error::other(format!(
                "directories are nested more than {MAX_DEPTH} levels deep"
            )));
        }
        let Some(stat) = entries::stat(parent, base)? else {
            return Ok(());
        };
        let Some(kind) = entries::kind(&stat) else {
            return Ok(());
        };
        let not_overlays = |name: &[u8]| !name.starts_with(OVERLAY_PREFIX);
        let xattrs = entries::xattrs(parent, base, not_overlays)?;
        let mut entry = NewEntry {
            path: name,
            link: b"",
            kind,
            mode: stat.st_mode,
            uid: self.id(stat.st_uid),
            gid: self.id(stat.st_gid),
            mtime: mtime(&stat),
            xattrs: &xattrs,
            size: 0,
        };
        let first = match kind {
            Kind::Directory => return self.directory(parent, base, &entry, depth),
            _ if stat.st_nlink > 1 => self.first_name(&stat, name),
            _ => None,
        };
        if let Some(first) = first {
            entry.kind = Kind::HardLink;
            entry.link = &first;
            entry.xattrs = &[];
            return self.tar.append(&entry, io::empty());
        }
        match kind {
            Kind::File => {
                let Some(file) = entries::file(parent, base)? else {
                    return Ok(());
                };
                entry.size = file.metadata()?.len();
                self.tar.append(&entry, file.chain(io::repeat(0)))
            }
            Kind::Symlink => {
                let Some(target) = entries::link(parent, base)? else {
                    return Ok(());
                };
                entry.link = &target;
                self.tar.append(&entry, io::empty())
            }
            _ => self.tar.append(&entry, io::empty()),
        }
    }

    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        base: &[u8],
        entry: &NewEntry<'_>,
        depth: usize,
    ) -> io::Result<()> {
        let Some(directory) = entries::directory(parent, base)? else {
            return Ok(());
        };
        self.tar.append(entry, io::empty())?;
        let device = rustix::fs::fstat(&directory)?.st_dev;
        if self.options.skip_devices.contains(&device) {
            return Ok(());
        }
        for base in entries::names(directory.as_fd())? {
            let name = [entry.path, b"/".as_slice(), &base].concat();
            self.entry(directory.as_fd(), &base, &name, depth + 1)?;
        }
        Ok(())
    }

    /// The name under which this file is in the archive already.
    fn first_name(&mut self, stat: &Stat, name: &[u8]) -> Option<Vec<u8>> {
        match self.links.entry((stat.st_dev, stat.st_ino)) {
            std::collections::hash_map::Entry::Occupied(first) => Some(first.get().clone()),
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(name.to_vec());
                None
            }
        }
    }

    fn id(&self, id: u32) -> u32 {
        match id.checked_sub(self.options.id_base) {
            Some(inside) if self.options.id_base == 0 || inside < MAPPED_IDS => inside,
            _ => OVERFLOW_ID,
        }
    }
}

fn mtime(stat: &Stat) -> (i64, u32) {
    (
        stat.st_mtime,
        u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
    )
}
