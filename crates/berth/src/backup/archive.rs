//! The archive of a backup: a tar. Its first member says what it is, its last that it is whole.

use std::io::{Read as _, Write};
use std::path::Path;

use berth_error::{Report, ResultExt as _};
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;

/// Version of the layout.
pub(super) const FORMAT: u64 = 1;
/// The first member.
pub(super) const ABOUT: &str = "berth-backup.json";
/// The last one.
pub(super) const WHOLE: &str = "berth-backup.whole";
/// Bytes of a piece.
const PIECE: usize = 256 << 10;

type Pieces = mpsc::Sender<std::io::Result<Bytes>>;

/// An archive that is written into a channel. Calls block.
pub(super) struct Archive {
    tar: tar::Builder<Writer>,
}

impl Archive {
    pub(super) fn new(pieces: Pieces) -> Self {
        let writer = Writer {
            pieces,
            buffer: Vec::with_capacity(PIECE),
        };
        let mut tar = tar::Builder::new(writer);
        tar.follow_symlinks(false);
        Self { tar }
    }

    /// Says what it is.
    pub(super) fn begin(&mut self, about: &Value) -> Result<(), Report> {
        self.member(ABOUT, about.to_string().as_bytes())
    }

    fn member(&mut self, name: &str, content: &[u8]) -> Result<(), Report> {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        let added = self.tar.append_data(&mut header, name, content);
        added.context("could not write the backup")
    }

    /// Adds a directory with everything in it; one that is not there is none.
    pub(super) fn tree(&mut self, directory: &Path, name: &str) -> Result<(), Report> {
        if !directory.is_dir() {
            return Ok(());
        }
        let added = self.add_tree(directory, Path::new(name));
        added.context(format!("could not back up `{}`", directory.display()))
    }

    fn add_tree(&mut self, directory: &Path, name: &Path) -> std::io::Result<()> {
        self.tar.append_dir(name, directory)?;
        let entries = fs_err::read_dir(directory)?.collect::<std::io::Result<Vec<_>>>();
        let mut entries = entries?;
        entries.sort_by_key(fs_err::DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), name.join(entry.file_name()));
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.add_tree(&path, &name)?;
            } else if kind.is_file() {
                self.add_file(&path, &name)?;
            } else if kind.is_symlink() {
                self.tar.append_path_with_name(&path, &name)?;
            }
        }
        Ok(())
    }

    /// As many bytes as the file has now, also if somebody writes at its end meanwhile.
    fn add_file(&mut self, path: &Path, name: &Path) -> std::io::Result<()> {
        let file = fs_err::File::open(path)?;
        let metadata = file.metadata()?;
        let mut header = tar::Header::new_gnu();
        header.set_metadata(&metadata);
        let size = metadata.len();
        header.set_size(size);
        let content = file.chain(std::io::repeat(0)).take(size);
        self.tar.append_data(&mut header, name, content)
    }

    /// Adds a file under its own name, if it is there.
    pub(super) fn file(&mut self, path: &Path) -> Result<(), Report> {
        let (true, Some(name)) = (path.is_file(), path.file_name()) else {
            return Ok(());
        };
        let added = self.add_file(path, Path::new(name));
        added.context(format!("could not back up `{}`", path.display()))
    }

    /// Says that it is whole.
    pub(super) fn end(mut self) -> Result<(), Report> {
        self.member(WHOLE, b"")?;
        let flushed = self.tar.into_inner().and_then(|mut writer| writer.flush());
        flushed.context("could not write the backup")
    }
}

struct Writer {
    pieces: Pieces,
    buffer: Vec<u8>,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::replace(
            &mut self.buffer,
            Vec::with_capacity(PIECE),
        ));
        let sent = self.pieces.blocking_send(Ok(piece));
        sent.map_err(|_| std::io::Error::other("nobody takes the backup any more"))
    }
}
