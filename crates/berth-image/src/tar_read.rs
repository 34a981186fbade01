//! Reading tar archives that may be hostile.
//!
//! Our own loop around `tar::Header`, because that crate's entry iterator splits PAX records at
//! newlines (which binary xattrs such as `security.capability` contain, and which would let a record
//! hide the `size` after it), and reads extension records of any size into memory.
//!
//! Rules, the same as in Go's `archive/tar`, which writes most images: PAX `size` beats the header's;
//! links, directories, devices and fifos have no data whatever their size field says; a zero block
//! ends the archive; PAX global records are ignored.

use std::io::{self, Read};
use std::ops::Range;

use tar::{EntryType, Header};

mod pax;
mod sparse;

use pax::Pax;

const BLOCK: u64 = 512;
/// Most bytes of one extension record (long name, long link, PAX): xattr values have at most 64 KiB.
const MAX_EXTENSION: u64 = 1 << 20;

/// Where the numbers are in a header block.
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    HardLink,
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

/// A run of data in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// One entry; its data is read from the [`TarReader`] before the next entry is.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Size of the file when it is written, holes included.
    pub(crate) size: u64,
    /// Where the data goes; `None`: all of it from the start.
    pub(crate) runs: Option<Vec<Run>>,
}

/// A stream of tar entries.
pub(crate) struct TarReader<R> {
    inner: R,
    /// Data of the current entry not read yet.
    remaining: u64,
    /// Bytes after that data up to the next block.
    padding: u64,
    /// Headers seen, extensions included.
    headers: u64,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            remaining: 0,
            padding: 0,
            headers: 0,
        }
    }

    /// How many headers have been read, extension headers included.
    pub(crate) fn headers(&self) -> u64 {
        self.headers
    }

    /// The next entry, or `None` at the end of the archive.
    pub(crate) fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let mut long_name = None;
        let mut long_link = None;
        let mut pax = Pax::default();
        loop {
            self.skip_rest()?;
            let Some(header) = self.read_header()? else {
                return Ok(None);
            };
            match header.entry_type() {
                EntryType::GNULongName => long_name = Some(self.read_extension(&header, true)?),
                EntryType::GNULongLink => long_link = Some(self.read_extension(&header, true)?),
                EntryType::XHeader => pax.parse(&self.read_extension(&header, false)?)?,
                EntryType::XGlobalHeader => drop(self.read_extension(&header, false)?),
                _ => return self.entry(&header, long_name, long_link, pax).map(Some),
            }
        }
    }

    /// The stream, as far as it has been read.
    pub(crate) fn source(&self) -> &R {
        &self.inner
    }

    /// Passes over the current entry's data without reading it.
    pub(crate) fn skip_data(
        &mut self,
        skip: impl FnOnce(&mut R, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.remaining) + std::mem::take(&mut self.padding);
        skip(&mut self.inner, bytes)
    }

    /// Reads the rest of the stream, so that whoever hashes it sees every byte.
    pub(crate) fn drain(mut self) -> io::Result<()> {
        io::copy(&mut self.inner, &mut io::sink()).map(drop)
    }

    fn entry(
        &mut self,
        header: &Header,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
        mut pax: Pax,
    ) -> io::Result<Entry> {
        let path = pax
            .path
            .take()
            .or(long_name)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = pax
            .link
            .take()
            .or(long_link)
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .unwrap_or_default();
        let kind = kind_of(header, &path)?;
        let stored = if kind == Kind::File {
            match pax.size {
                Some(size) => size,
                None => number(header, &SIZE, Header::entry_size)?,
            }
        } else {
            0
        };
        self.expect_data(stored)?;
        let (size, runs) = if kind == Kind::File {
            self.sparse_runs(header, &pax, stored)?
        } else {
            (0, None)
        };
        Ok(Entry {
            path: pax.sparse.name.take().unwrap_or(path),
            link,
            kind,
            mode: number(header, &MODE, Header::mode)? & 0o7777,
            uid: pax
                .uid
                .map_or_else(|| number(header, &UID, Header::uid), Ok)?,
            gid: pax
                .gid
                .map_or_else(|| number(header, &GID, Header::gid), Ok)?,
            mtime: match pax.mtime {
                Some(mtime) => mtime,
                None => (signed_time(header), 0),
            },
            xattrs: pax.xattrs,
            size,
            runs,
        })
    }

    fn expect_data(&mut self, size: u64) -> io::Result<()> {
        if size > i64::MAX as u64 - BLOCK {
            return Err(bad("an entry's size is out of range"));
        }
        self.remaining = size;
        self.padding = size.next_multiple_of(BLOCK) - size;
        Ok(())
    }

    fn read_header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < block.len() {
            match self.inner.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(bad("the archive ends inside a header")),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        self.headers += 1;
        let sum = block[..148]
            .iter()
            .chain(&block[156..])
            .fold(8 * 32, |sum: u32, byte| sum + u32::from(*byte));
        if header.cksum()? != sum {
            return Err(bad(
                "a header's checksum is wrong: this is no tar archive, or it is damaged",
            ));
        }
        Ok(Some(header))
    }

    fn read_extension(&mut self, header: &Header, is_name: bool) -> io::Result<Vec<u8>> {
        let size = header.entry_size()?;
        if size > MAX_EXTENSION {
            return Err(bad("an extension record is too long"));
        }
        self.expect_data(size)?;
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        if is_name {
            let end = bytes
                .iter()
                .position(|byte| *byte == 0)
                .unwrap_or(bytes.len());
            bytes.truncate(end);
        }
        Ok(bytes)
    }

    fn skip_rest(&mut self) -> io::Result<()> {
        let skip = self.remaining + self.padding;
        if skip > 0 {
            let skipped = io::copy(&mut (&mut self.inner).take(skip), &mut io::sink())?;
            if skipped < skip {
                return Err(bad("the archive ends inside an entry"));
            }
        }
        self.remaining = 0;
        self.padding = 0;
        Ok(())
    }
}

/// Reads the current entry's data as stored (for sparse files: the runs one after the other).
impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want =
            usize::try_from(self.remaining).map_or(buffer.len(), |left| left.min(buffer.len()));
        if want == 0 {
            return Ok(0);
        }
        let read = self.inner.read(&mut buffer[..want])?;
        if read == 0 {
            return Err(bad("the archive ends inside an entry"));
        }
        self.remaining -= read as u64;
        Ok(read)
    }
}

/// A number of a header; a field that was left empty is zero.
fn number<T: Default>(
    header: &Header,
    field: &Range<usize>,
    read: impl Fn(&Header) -> io::Result<T>,
) -> io::Result<T> {
    let bytes = &header.as_bytes()[field.clone()];
    if bytes.iter().all(|byte| matches!(byte, 0 | b' ')) {
        Ok(T::default())
    } else {
        read(header)
    }
}

fn kind_of(header: &Header, path: &[u8]) -> io::Result<Kind> {
    let device = || -> io::Result<(u32, u32)> {
        Ok((
            header.device_major()?.unwrap_or(0),
            header.device_minor()?.unwrap_or(0),
        ))
    };
    Ok(match header.entry_type() {
        // Old archives mark directories by the name alone.
        EntryType::Regular if path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Link => Kind::HardLink,
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char => {
            let (major, minor) = device()?;
            Kind::CharDevice { major, minor }
        }
        EntryType::Block => {
            let (major, minor) = device()?;
            Kind::BlockDevice { major, minor }
        }
        other => {
            return Err(bad(format!(
                "entries of type `{}` are not supported",
                char::from(other.as_byte()).escape_default()
            )));
        }
    })
}

/// The header's time; base-256 fields may be negative (before 1970), which the crate reads unsigned.
fn signed_time(header: &Header) -> i64 {
    header.mtime().map_or(0, u64::cast_signed)
}

pub(super) fn bad(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

#[cfg(test)]
mod tests;
