//! The kept log of one container: a ring of two files, and readers that follow it.
//!
//! A record is `time_ms: u64, stream: u8, length: u32` (little-endian) and the bytes. When the
//! newer file has reached half of the budget, the older one is dropped and a new one begun. Files
//! stay open (a reader keeps the ones it reads alive), so removal of the directory disturbs nobody.
//!
//! Owned by the container's actor; appended to by one writer at a time (any thread), read by many.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use super::lines::MAX_PIECE;
use super::now_ms;
use crate::LogLine;

/// Bytes before a record's text.
const HEADER: usize = 13;

/// Bytes that a reader takes at once; holds at least one whole record.
const READ_CHUNK: usize = 64 * 1024;

/// Least size of one file of the ring.
const MIN_SEGMENT: u64 = 32 * 1024;

/// Lines on their way to a reader.
const READER_QUEUE: usize = 64;

/// The log of one container.
#[derive(Debug)]
pub(crate) struct LogStore {
    dir: PathBuf,
    segment_limit: u64,
    ring: Mutex<Ring>,
    /// Counts appends; readers sleep on it. The flag: no more will come.
    changes: watch::Sender<(u64, bool)>,
}

#[derive(Debug, Default)]
struct Ring {
    next_generation: u64,
    segments: VecDeque<Segment>,
}

#[derive(Clone, Debug)]
struct Segment {
    generation: u64,
    file: Arc<File>,
    length: u64,
}

impl LogStore {
    /// A log that keeps about `budget` bytes in files of `dir`, which exists.
    pub(crate) fn new(dir: PathBuf, budget: u64) -> Self {
        Self {
            dir,
            segment_limit: (budget / 2).max(MIN_SEGMENT),
            ring: Mutex::default(),
            changes: watch::Sender::new((0, false)),
        }
    }

    /// Goes on with the log that a daemon before has kept in `dir`. A record that it had only begun is gone.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// What the file system said.
    pub(crate) fn open(dir: PathBuf, budget: u64) -> io::Result<Self> {
        let store = Self::new(dir, budget);
        let mut generations: Vec<u64> = fs_err::read_dir(&store.dir)?
            .filter_map(|entry| {
                let name = entry.ok()?.file_name();
                name.to_str()?.strip_prefix("log.")?.parse().ok()
            })
            .collect();
        generations.sort_unstable();
        let mut ring = store.lock();
        for generation in generations {
            let file = fs_err::OpenOptions::new()
                .read(true)
                .write(true)
                .open(store.path(generation))?
                .into_file();
            let length = whole_records(&file)?;
            file.set_len(length)?;
            ring.next_generation = generation + 1;
            ring.segments.push_back(Segment {
                generation,
                file: Arc::new(file),
                length,
            });
        }
        drop(ring);
        Ok(store)
    }

    /// Appends lines; blocks on the disk.
    ///
    /// # Errors
    /// What the file system said. The lines from the failing one on are not kept; the log stays whole.
    pub(crate) fn append(&self, lines: &[LogLine]) -> io::Result<()> {
        let mut ring = self.lock();
        let mut batch = Vec::new();
        let mut outcome = Ok(());
        for line in lines {
            let pending = batch.len() as u64;
            let full = ring
                .segments
                .back()
                .is_none_or(|last| last.length + pending >= self.segment_limit);
            if full {
                outcome = ring.write(&mut batch).and_then(|()| self.rotate(&mut ring));
                if outcome.is_err() {
                    break;
                }
            }
            encode(line, &mut batch);
        }
        let outcome = outcome.and_then(|()| ring.write(&mut batch));
        drop(ring);
        self.changes.send_modify(|(count, _)| *count += 1);
        outcome
    }

    fn rotate(&self, ring: &mut Ring) -> io::Result<()> {
        let generation = ring.next_generation;
        let file = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.path(generation))?
            .into_file();
        ring.next_generation += 1;
        ring.segments.push_back(Segment {
            generation,
            file: Arc::new(file),
            length: 0,
        });
        while ring.segments.len() > 2 {
            if let Some(oldest) = ring.segments.pop_front() {
                fs_err::remove_file(self.path(oldest.generation))?;
            }
        }
        Ok(())
    }

    fn path(&self, generation: u64) -> PathBuf {
        self.dir.join(format!("log.{generation}"))
    }

    /// Nothing more will be appended: followers end after the last line.
    pub(crate) fn close(&self) {
        self.changes.send_modify(|(_, closed)| *closed = true);
    }

    /// The kept lines, then (with `follow`) new ones until [`LogStore::close`].
    pub(crate) fn read(self: &Arc<Self>, follow: bool) -> mpsc::Receiver<LogLine> {
        let (sender, receiver) = mpsc::channel(READER_QUEUE);
        tokio::spawn(Reader::new(Arc::clone(self)).run(follow, sender));
        receiver
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    /// Writes the batch to the newest file and empties it.
    fn write(&mut self, batch: &mut Vec<u8>) -> io::Result<()> {
        let Some(last) = self.segments.back_mut() else {
            return Ok(());
        };
        let result = last.file.write_all_at(batch, last.length);
        if result.is_ok() {
            last.length += batch.len() as u64;
        }
        batch.clear();
        result
    }
}

fn encode(line: &LogLine, batch: &mut Vec<u8>) {
    let bytes = &line.bytes[..line.bytes.len().min(MAX_PIECE)];
    batch.extend_from_slice(&line.time_ms.to_le_bytes());
    batch.push(u8::from(line.stderr));
    // At most MAX_PIECE.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    batch.extend_from_slice(&length.to_le_bytes());
    batch.extend_from_slice(bytes);
}

/// The first record and how many bytes it took; `None`: not whole.
fn decode(bytes: &[u8]) -> Option<(LogLine, usize)> {
    let time_ms = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    let stderr = *bytes.get(8)? != 0;
    let length = u32::from_le_bytes(bytes.get(9..HEADER)?.try_into().ok()?);
    let end = HEADER.checked_add(usize::try_from(length).ok()?)?;
    let bytes = bytes.get(HEADER..end)?.to_vec();
    Some((
        LogLine {
            time_ms,
            stderr,
            bytes,
        },
        end,
    ))
}

/// One reader's place in the log.
#[derive(Debug)]
struct Reader {
    store: Arc<LogStore>,
    generation: u64,
    offset: u64,
}

impl Reader {
    fn new(store: Arc<LogStore>) -> Self {
        let generation = store.lock().segments.front().map_or(0, |s| s.generation);
        Self {
            store,
            generation,
            offset: 0,
        }
    }

    async fn run(mut self, follow: bool, sender: mpsc::Sender<LogLine>) {
        let mut changes = self.store.changes.subscribe();
        loop {
            let (_, closed) = *changes.borrow_and_update();
            let segments = self.store.lock().segments.clone();
            let Some(reader) = self.drain(segments, &sender).await else {
                return;
            };
            self = reader;
            if !follow || closed {
                return;
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    }

    /// Sends everything up to the lengths in `segments`. `None`: nobody reads any more.
    async fn drain(
        mut self,
        segments: VecDeque<Segment>,
        sender: &mpsc::Sender<LogLine>,
    ) -> Option<Self> {
        for segment in segments {
            if segment.generation < self.generation {
                continue;
            }
            if segment.generation > self.generation {
                if segment.generation > self.generation + 1 {
                    sender.send(lost()).await.ok()?;
                }
                self.generation = segment.generation;
                self.offset = 0;
            }
            while self.offset < segment.length {
                let (file, offset, length) =
                    (Arc::clone(&segment.file), self.offset, segment.length);
                let read =
                    tokio::task::spawn_blocking(move || read_records(&file, offset, length)).await;
                let (lines, taken) = match read {
                    Ok(Ok(read)) if read.1 > 0 => read,
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "cannot read a container's log");
                        return None;
                    }
                    _ => return None,
                };
                self.offset += taken;
                for line in lines {
                    sender.send(line).await.ok()?;
                }
            }
        }
        Some(self)
    }
}

/// Whole records from `offset` on, before `end`, about a chunk of them.
fn read_records(file: &File, offset: u64, end: u64) -> io::Result<(Vec<LogLine>, u64)> {
    let size = usize::try_from(end - offset).map_or(READ_CHUNK, |left| left.min(READ_CHUNK));
    let mut chunk = vec![0; size];
    file.read_exact_at(&mut chunk, offset)?;
    let mut lines = Vec::new();
    let mut taken = 0;
    while let Some((line, size)) = decode(&chunk[taken..]) {
        lines.push(line);
        taken += size;
    }
    Ok((lines, taken as u64))
}

/// Bytes of the whole records that a file begins with.
fn whole_records(file: &File) -> io::Result<u64> {
    let (mut length, end) = (0, file.metadata()?.len());
    while length < end {
        let (_, taken) = read_records(file, length, end)?;
        if taken == 0 {
            break;
        }
        length += taken;
    }
    Ok(length)
}

fn lost() -> LogLine {
    LogLine {
        time_ms: now_ms(),
        stderr: true,
        bytes: b"berth: lines are missing here: written faster than they were read".to_vec(),
    }
}

#[cfg(test)]
#[path = "store/tests.rs"]
mod tests;
