//! Blobs on their way out: large reads ahead of the network, off the asynchronous threads.
//!
//! A reader that is slow holds a buffer or two, never a thread.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::task::JoinHandle;

use super::{Result, failed, optional};
use crate::digest::{Digest, Hasher};
use crate::storage::BlobStream;

/// Bytes of one read.
const CHUNK: u64 = 512 * 1024;

/// Opens a blob and reads its beginning; a short one is read at once.
pub(super) fn open(path: &Path, range: Range<u64>) -> Result<Option<BlobStream>> {
    let opened = optional(File::open(path)).map_err(|error| failed("open", path, error))?;
    let Some(file) = opened else {
        return Ok(None);
    };
    let mut rest = range;
    let first = next(&mut rest);
    let bytes = read(&file, first).map_err(|error| failed("read", path, error))?;
    let head = stream::once(std::future::ready(Ok(bytes)));
    if rest.is_empty() {
        return Ok(Some(head.boxed()));
    }
    let rest = Rest {
        file: Arc::new(file),
        path: path.to_owned(),
        rest,
        ahead: None,
    };
    Ok(Some(head.chain(stream::unfold(rest, Rest::step)).boxed()))
}

/// Takes the next chunk's range off the front.
fn next(rest: &mut Range<u64>) -> Range<u64> {
    let end = rest.end.min(rest.start.saturating_add(CHUNK));
    let chunk = rest.start..end;
    rest.start = end;
    chunk
}

struct Rest {
    file: Arc<File>,
    path: PathBuf,
    rest: Range<u64>,
    /// The read that runs while the chunk before is sent.
    ahead: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Rest {
    async fn step(mut self) -> Option<(io::Result<Bytes>, Self)> {
        let current = match self.ahead.take() {
            Some(ahead) => ahead,
            None => self.read_ahead()?,
        };
        self.ahead = self.read_ahead();
        let bytes = current
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        if let Err(error) = &bytes {
            tracing::error!(path = %self.path.display(), %error, "reading a blob");
            self.rest = 0..0;
            self.ahead = None;
        }
        Some((bytes, self))
    }

    fn read_ahead(&mut self) -> Option<JoinHandle<io::Result<Bytes>>> {
        if self.rest.is_empty() {
            return None;
        }
        let (file, range) = (self.file.clone(), next(&mut self.rest));
        Some(tokio::task::spawn_blocking(move || read(&file, range)))
    }
}

/// Exactly this part of the file.
fn read(file: &File, range: Range<u64>) -> io::Result<Bytes> {
    let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    let mut buffer = Vec::with_capacity(length);
    while buffer.len() < length {
        let offset = range.start + buffer.len() as u64;
        let spare = rustix::buffer::spare_capacity(&mut buffer);
        match rustix::io::pread(file, spare, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocation may be larger than what was asked for.
    buffer.truncate(length);
    Ok(Bytes::from(buffer))
}

/// Hashes a whole file.
pub(super) fn hash(path: &Path, mut hasher: Hasher) -> io::Result<Digest> {
    let file = File::open(path)?;
    let mut rest = 0..file.metadata()?.len();
    while !rest.is_empty() {
        let chunk = next(&mut rest);
        hasher.update(&read(&file, chunk)?);
    }
    Ok(hasher.finish())
}
