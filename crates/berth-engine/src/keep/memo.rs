//! One value in memory that outlives this process as long as somebody has its descriptor.
//!
//! ```text
//! offset, length (u64 each, little-endian)   where the value is; 0, 0: there is none
//! …                                          values
//! ```
//!
//! Invariant: a process that is killed at any moment leaves the former value or the new one. A value is
//! written where the present one is not; then the sixteen bytes that say where it is are replaced at once: the
//! kernel looks for a signal between two pages at the earliest.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use rustix::fs::MemfdFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes before the first value.
const HEAD: u64 = 16;

/// A larger value is none of ours.
const MOST: u64 = 64 << 20;

/// The memory, open for writing.
#[derive(Debug)]
pub(crate) struct Memo {
    file: File,
    offset: u64,
    length: u64,
}

impl Memo {
    /// Without a value.
    pub(crate) fn new() -> io::Result<Self> {
        let file = File::from(rustix::fs::memfd_create("berth-memo", MemfdFlags::CLOEXEC)?);
        file.write_all_at(&head(0, 0), 0)?;
        Ok(Self {
            file,
            offset: 0,
            length: 0,
        })
    }

    /// What another process has left, with its value.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub(crate) fn open<T: DeserializeOwned>(descriptor: OwnedFd) -> io::Result<(Self, T)> {
        let file = File::from(descriptor);
        let mut bytes = [0; 16];
        file.read_exact_at(&mut bytes, 0)?;
        let (offset, length) = bytes.split_at(8);
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
        let (offset, length) = (number(offset), number(length));
        if offset < HEAD || length > MOST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty"));
        }
        let mut value = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        file.read_exact_at(&mut value, offset)?;
        let value = serde_json::from_slice(&value)?;
        let memo = Self {
            file,
            offset,
            length,
        };
        Ok((memo, value))
    }

    /// A second descriptor.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    /// Replaces the value. If that cannot be done there is none: an old one would be taken for true.
    pub(crate) fn write(&mut self, value: &impl Serialize) {
        if let Err(error) = self.try_write(value) {
            tracing::error!(%error, "a container cannot be handed on to the next server");
            (self.offset, self.length) = (0, 0);
            // It takes no memory.
            let _ = self.file.write_all_at(&head(0, 0), 0);
        }
    }

    fn try_write(&mut self, value: &impl Serialize) -> io::Result<()> {
        let bytes = serde_json::to_vec(value)?;
        let length = bytes.len() as u64;
        let before = self.offset.saturating_sub(HEAD);
        let offset = if self.offset == 0 || length <= before {
            HEAD
        } else {
            self.offset + self.length
        };
        self.file.write_all_at(&bytes, offset)?;
        self.file.write_all_at(&head(offset, length), 0)?;
        (self.offset, self.length) = (offset, length);
        Ok(())
    }
}

fn head(offset: u64, length: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&offset.to_le_bytes());
    bytes[8..].copy_from_slice(&length.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_is_read_and_the_memory_does_not_grow() {
        let mut memo = Memo::new().unwrap();
        let descriptor = || memo.descriptor().unwrap();
        assert!(Memo::open::<String>(descriptor()).is_err());
        let other = memo.descriptor().unwrap();
        for length in [3, 1000, 10, 1000, 1000, 5, 2000] {
            let text = "x".repeat(length);
            memo.write(&text);
            let (_, read) = Memo::open::<String>(other.try_clone().unwrap()).unwrap();
            assert_eq!(read, text);
        }
        for round in 0..1000 {
            memo.write(&format!("{round:01000}"));
        }
        assert!(memo.file.metadata().unwrap().len() < 10_000);
        let (mut next, read) = Memo::open::<String>(other.try_clone().unwrap()).unwrap();
        assert!(read.ends_with("999"));
        next.write(&"next");
        let (_, read) = Memo::open::<String>(other).unwrap();
        assert_eq!(read, "next");
    }

    #[test]
    fn what_is_not_whole_is_no_value() {
        let mut memo = Memo::new().unwrap();
        memo.write(&"something");
        let opened = || Memo::open::<String>(memo.descriptor().unwrap());
        memo.file.write_all_at(b"?", HEAD).unwrap();
        assert!(opened().is_err());
        memo.file.write_all_at(&head(HEAD, 1 << 40), 0).unwrap();
        assert!(opened().is_err());
        memo.file.write_all_at(&head(1 << 40, 3), 0).unwrap();
        assert!(opened().is_err());
        memo.file.set_len(0).unwrap();
        assert!(opened().is_err());
    }
}
