//! Writing layer tars that are the same for the same tree: ustar headers, and PAX records in a fixed
//! order only for what a ustar header cannot hold.

use std::io::{self, Read, Write};

use tar::{EntryType, Header};

use crate::tar_read::Kind;

const BLOCK: usize = 512;
/// Files are read in pieces of so many bytes.
const PIECE: usize = 256 << 10;
/// Largest number in a ustar octal field of 8 bytes (ids, devices).
const MAX_OCTAL_8: u64 = 0o7_777_777;
/// Largest number in a ustar octal field of 12 bytes (size, time).
const MAX_OCTAL_12: u64 = 0o77_777_777_777;

/// One entry to write.
#[derive(Clone, Debug)]
pub(crate) struct NewEntry<'a> {
    /// Relative, without `./`; directories without the final slash.
    pub(crate) path: &'a [u8],
    pub(crate) link: &'a [u8],
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: (i64, u32),
    /// Sorted by name.
    pub(crate) xattrs: &'a [(Vec<u8>, Vec<u8>)],
    /// Bytes of data that follow; zero for all but files.
    pub(crate) size: u64,
}

/// Writes entries one after the other.
pub(crate) struct TarWriter<W: Write> {
    inner: W,
    buffer: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self {
            inner,
            buffer: vec![0; PIECE],
        }
    }

    /// Writes a header and exactly `entry.size` bytes of `data`.
    pub(crate) fn append(&mut self, entry: &NewEntry<'_>, data: impl Read) -> io::Result<()> {
        let mut records = Vec::new();
        let mut header = Header::new_ustar();
        header.set_entry_type(entry_type(entry.kind));
        header.set_mode(entry.mode & 0o7777);
        set_path(&mut header, entry, &mut records);
        set_numbers(&mut header, entry, &mut records);
        if let Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } = entry.kind {
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
        }
        for (name, value) in entry.xattrs {
            let key = [b"SCHILY.xattr.", name.as_slice()].concat();
            records.extend(pax_record(&key, value));
        }
        self.write_records(&records)?;
        header.set_cksum();
        self.inner.write_all(header.as_bytes())?;
        self.copy(entry.size, data)?;
        self.pad(entry.size)
    }

    /// Writes exactly so many bytes.
    fn copy(&mut self, size: u64, mut data: impl Read) -> io::Result<()> {
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            match data.read(&mut self.buffer[..most]) {
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the file became shorter while it was read",
                    ));
                }
                Ok(read) => {
                    self.inner.write_all(&self.buffer[..read])?;
                    left -= read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes the end of the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&[0; 2 * BLOCK])?;
        Ok(self.inner)
    }

    fn write_records(&mut self, records: &[u8]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.as_mut_bytes()[..9].copy_from_slice(b"PaxHeader");
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(records.len() as u64);
        header.set_cksum();
        self.inner.write_all(header.as_bytes())?;
        self.inner.write_all(records)?;
        self.pad(records.len() as u64)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        if over > 0 {
            self.inner.write_all(&[0; BLOCK][over..])?;
        }
        Ok(())
    }
}

/// `<length> <key>=<value>\n`, where the length counts its own digits.
pub(crate) fn pax_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut record = format!("{length} ").into_bytes();
    record.extend_from_slice(key);
    record.push(b'=');
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

fn entry_type(kind: Kind) -> EntryType {
    match kind {
        Kind::File => EntryType::Regular,
        Kind::Directory => EntryType::Directory,
        Kind::Symlink => EntryType::Symlink,
        Kind::HardLink => EntryType::Link,
        Kind::CharDevice { .. } => EntryType::Char,
        Kind::BlockDevice { .. } => EntryType::Block,
        Kind::Fifo => EntryType::Fifo,
    }
}

/// Names of up to 100 ASCII bytes go into the header, all others into PAX records.
fn set_path(header: &mut Header, entry: &NewEntry<'_>, records: &mut Vec<u8>) {
    let mut path = entry.path.to_vec();
    if entry.kind == Kind::Directory {
        path.push(b'/');
    }
    if path.len() > 100 || !path.is_ascii() {
        records.extend(pax_record(b"path", &path));
        path.truncate(100);
    }
    if entry.link.len() > 100 || !entry.link.is_ascii() {
        records.extend(pax_record(b"linkpath", entry.link));
    }
    let link = &entry.link[..entry.link.len().min(100)];
    let bytes = header.as_mut_bytes();
    bytes[..path.len()].copy_from_slice(&path);
    bytes[157..157 + link.len()].copy_from_slice(link);
}

fn set_numbers(header: &mut Header, entry: &NewEntry<'_>, records: &mut Vec<u8>) {
    let mut fit = |key: &str, value: u64, max: u64| {
        if value > max {
            records.extend(pax_record(key.as_bytes(), value.to_string().as_bytes()));
            0
        } else {
            value
        }
    };
    let uid = fit("uid", entry.uid.into(), MAX_OCTAL_8);
    let gid = fit("gid", entry.gid.into(), MAX_OCTAL_8);
    let size = fit("size", entry.size, MAX_OCTAL_12);
    header.set_uid(uid);
    header.set_gid(gid);
    header.set_size(size);
    let (seconds, nanos) = entry.mtime;
    let whole = u64::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds <= MAX_OCTAL_12);
    if nanos > 0 || whole.is_none() {
        records.extend(pax_record(b"mtime", pax_time(seconds, nanos).as_bytes()));
    }
    header.set_mtime(whole.unwrap_or(0));
}

/// Seconds with as many digits of the fraction as it has; `-1.25` is (-2, 750 000 000).
fn pax_time(seconds: i64, nanos: u32) -> String {
    let (sign, whole, fraction) = match (seconds < 0, nanos) {
        (true, 1..) => ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanos),
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (false, _) => ("", seconds.unsigned_abs(), nanos),
    };
    if fraction == 0 {
        format!("{sign}{whole}")
    } else {
        let digits = format!("{fraction:09}");
        format!("{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}
