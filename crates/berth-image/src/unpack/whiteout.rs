//! Deleted files in layers: the OCI form (names) becomes overlayfs's (devices and xattrs).

use std::io;
use std::os::fd::AsFd as _;

use rustix::fs::{self, FileType, Mode, Stat};

use super::root::Name;
use super::{Unpacker, attributes, is_directory, lstat, open_directory};

/// What names of deleted files begin with.
pub(super) const WHITEOUT_PREFIX: &[u8] = b".wh.";
const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";
/// Bookkeeping of an old Docker storage driver, found in some old layers.
const AUFS_PREFIX: &[u8] = b".wh..wh.";

impl Unpacker {
    /// Carries out an entry whose name begins with [`WHITEOUT_PREFIX`].
    pub(super) fn whiteout(&mut self, name: &Name) -> io::Result<()> {
        if name.base.as_ref() == OPAQUE_MARKER {
            let parent = self.root.parent(&name.parent)?;
            return attributes::set_opaque(parent.as_fd());
        }
        if name.base.starts_with(AUFS_PREFIX) {
            return Ok(());
        }
        let hidden = &name.base[WHITEOUT_PREFIX.len()..];
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the whiteout names no file",
            ));
        }
        let parent = self.root.parent(&name.parent)?;
        match lstat(parent.as_fd(), hidden)? {
            Some(stat) if is_directory(&stat) => {
                attributes::set_opaque(open_directory(parent.as_fd(), hidden)?.as_fd())
            }
            // Whatever this layer has there hides the lower layers' file already.
            Some(_) => Ok(()),
            None => Ok(fs::mknodat(
                &parent,
                hidden,
                FileType::CharacterDevice,
                Mode::empty(),
                0,
            )?),
        }
    }
}

/// Whether this is overlayfs's mark for "nothing here".
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}
