//! The threads of one layer on its way in: reading (and hashing and storing the blob), decompressing
//! (and hashing the tar), unpacking. Chunks go from one to the next; a few are in between, so memory
//! is bounded whatever the layer's size.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use sha2::{Digest as _, Sha256};

use super::Plain;
use crate::stream::{Compression, Encoder, compression_of, decompress};
use crate::{Digest, UnpackError};

/// Bytes of a chunk.
const CHUNK: usize = 256 * 1024;
/// Chunks between two threads.
const CHUNKS_AHEAD: usize = 8;

type Message = io::Result<Arc<Vec<u8>>>;

/// Where the blob goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sink<'a> {
    /// It is stored already.
    Nowhere,
    /// To the end of a file that has the first bytes of it.
    File { file: &'a File, skip: u64 },
}

/// What was found out on the way.
pub(super) struct Stored {
    pub(super) diff_id: Digest,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) compression: Compression,
    /// It came as a plain tar.
    pub(super) compressed_here: bool,
}

/// Reads a blob to its end; `unpack` gets the plain tar and must read all of it.
pub(super) fn run<T>(
    source: impl Read + Send,
    sink: Sink<'_>,
    plain: Plain,
    unpack: impl FnOnce(&mut Chunks) -> Result<T, UnpackError>,
) -> Result<(Stored, T), UnpackError> {
    let mut source = source;
    let first = ReadChunk::from(&mut source);
    let compression = compression_of(&first.bytes).map_err(UnpackError::Archive)?;
    let compress = compression == Compression::None && plain == Plain::Compress;
    let (stored, unpacked) = std::thread::scope(|scope| {
        let (raw_sender, raw) = sync_channel::<Message>(CHUNKS_AHEAD);
        let (tar_sender, tar) = sync_channel::<Message>(CHUNKS_AHEAD);
        let threads = if compress {
            let reader = scope.spawn(move || {
                let both = [&tar_sender, &raw_sender];
                forward(source, first, Sink::Nowhere, &both)
            });
            let writer = scope.spawn(move || encode(Chunks::new(raw), sink));
            (reader, Some(writer))
        } else if compression == Compression::None {
            let reader = scope.spawn(move || forward(source, first, sink, &[&tar_sender]));
            (reader, None)
        } else {
            let reader = scope.spawn(move || forward(source, first, sink, &[&raw_sender]));
            let decoder = scope.spawn(move || decode(compression, Chunks::new(raw), &tar_sender));
            (reader, Some(decoder))
        };
        let mut tar = Chunks::new(tar);
        let unpacked = unpack(&mut tar);
        drop(tar);
        let (reader, second) = threads;
        (stored(compression, compress, reader, second), unpacked)
    });
    // The last thread's error comes first: those before it fail with it when nobody reads on, and
    // what went wrong before it was passed on to it.
    let unpacked = unpacked?;
    Ok((stored.map_err(UnpackError::Archive)?, unpacked))
}

type Thread<'scope> = std::thread::ScopedJoinHandle<'scope, io::Result<(Digest, u64)>>;

fn stored(
    compression: Compression,
    compress: bool,
    reader: Thread<'_>,
    second: Option<Thread<'_>>,
) -> io::Result<Stored> {
    let join = |thread: Thread<'_>| {
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("a thread of the store panicked")))
    };
    let first = join(reader);
    let second = second.map(join).transpose()?;
    let (digest, size) = first?;
    Ok(match second {
        None => Stored {
            diff_id: digest.clone(),
            digest,
            size,
            compression,
            compressed_here: false,
        },
        Some((packed, packed_size)) if compress => Stored {
            diff_id: digest,
            digest: packed,
            size: packed_size,
            compression: Compression::Zstd,
            compressed_here: true,
        },
        Some((diff_id, _)) => Stored {
            diff_id,
            digest,
            size,
            compression,
            compressed_here: false,
        },
    })
}

/// A chunk as full as the source allows, and why it is not fuller.
struct ReadChunk {
    bytes: Vec<u8>,
    error: Option<io::Error>,
}

impl ReadChunk {
    fn from(source: &mut impl Read) -> Self {
        let mut bytes = Vec::with_capacity(CHUNK);
        let result = source.by_ref().take(CHUNK as u64).read_to_end(&mut bytes);
        Self {
            bytes,
            error: result.err(),
        }
    }
}

/// The first thread: hashes and stores the source and sends it on.
fn forward(
    source: impl Read,
    first: ReadChunk,
    sink: Sink<'_>,
    receivers: &[&SyncSender<Message>],
) -> io::Result<(Digest, u64)> {
    let result = forward_all(source, first, sink, receivers);
    if let Err(error) = &result {
        for receiver in receivers {
            // Nobody listens if a later thread failed first.
            let _ = receiver.send(Err(copy_of(error)));
        }
    }
    result
}

fn forward_all(
    mut source: impl Read,
    first: ReadChunk,
    sink: Sink<'_>,
    receivers: &[&SyncSender<Message>],
) -> io::Result<(Digest, u64)> {
    let mut hasher = Sha256::new();
    let mut size = 0;
    let mut chunk = first;
    loop {
        // What came before an error is stored too: the next try goes on behind it.
        let ReadChunk { bytes, error } = chunk;
        if !bytes.is_empty() {
            hasher.update(&bytes);
            sink.write(&bytes, size)?;
            size += bytes.len() as u64;
            let shared = Arc::new(bytes);
            for receiver in receivers {
                send(receiver, Arc::clone(&shared))?;
            }
        } else if error.is_none() {
            return Ok((Digest::from_hasher(hasher), size));
        }
        if let Some(error) = error {
            return Err(error);
        }
        chunk = ReadChunk::from(&mut source);
    }
}

/// The second thread for compressed blobs.
fn decode(
    compression: Compression,
    mut raw: Chunks,
    sender: &SyncSender<Message>,
) -> io::Result<(Digest, u64)> {
    let mut decode = || -> io::Result<(Digest, u64)> {
        let mut hasher = Sha256::new();
        let mut size = 0;
        {
            let mut tar = decompress(compression, &mut raw)?;
            loop {
                let ReadChunk { bytes, error } = ReadChunk::from(&mut tar);
                if let Some(error) = error {
                    return Err(error);
                }
                if bytes.is_empty() {
                    break;
                }
                hasher.update(&bytes);
                size += bytes.len() as u64;
                send(sender, Arc::new(bytes))?;
            }
        }
        // So that the first thread hashes all of it.
        io::copy(&mut raw, &mut io::sink())?;
        Ok((Digest::from_hasher(hasher), size))
    };
    let result = decode();
    if let Err(error) = &result {
        let _ = sender.send(Err(copy_of(error)));
    }
    result
}

/// The second thread for tars that the store compresses.
fn encode(mut tar: Chunks, sink: Sink<'_>) -> io::Result<(Digest, u64)> {
    let mut encoder = Encoder::new(Compression::Zstd, Blob::new(sink))?;
    io::copy(&mut tar, &mut encoder)?;
    let blob = encoder.finish()?;
    Ok((Digest::from_hasher(blob.hasher), blob.size))
}

/// Hashes and stores what is written.
struct Blob<'a> {
    sink: Sink<'a>,
    hasher: Sha256,
    size: u64,
}

impl<'a> Blob<'a> {
    fn new(sink: Sink<'a>) -> Self {
        Self {
            sink,
            hasher: Sha256::new(),
            size: 0,
        }
    }
}

impl Write for Blob<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.write(bytes, self.size)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink<'_> {
    /// Stores bytes that are at `offset` of the blob.
    fn write(self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let Sink::File { file, skip } = self else {
            return Ok(());
        };
        let there = usize::try_from(skip.saturating_sub(offset))
            .map_or(bytes.len(), |there| there.min(bytes.len()));
        file.write_all_at(&bytes[there..], offset + there as u64)
    }
}

fn send(receiver: &SyncSender<Message>, chunk: Arc<Vec<u8>>) -> io::Result<()> {
    receiver
        .send(Ok(chunk))
        .map_err(|_| io::ErrorKind::BrokenPipe.into())
}

fn copy_of(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

/// The receiving end of a thread: a stream of chunks.
pub(super) struct Chunks {
    receiver: Receiver<Message>,
    chunk: Arc<Vec<u8>>,
    read: usize,
}

impl Chunks {
    fn new(receiver: Receiver<Message>) -> Self {
        Self {
            receiver,
            chunk: Arc::default(),
            read: 0,
        }
    }
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.read == self.chunk.len() {
            match self.receiver.recv() {
                Ok(chunk) => self.chunk = chunk?,
                Err(_) => break,
            }
            self.read = 0;
        }
        Ok(&self.chunk[self.read..])
    }

    fn consume(&mut self, bytes: usize) {
        self.read = (self.read + bytes).min(self.chunk.len());
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let read = available.len().min(buffer.len());
        buffer[..read].copy_from_slice(&available[..read]);
        self.consume(read);
        Ok(read)
    }
}
