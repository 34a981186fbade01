//! Uploads on their way in: one batch is written and hashed while the network brings the next.
//!
//! A client that is slow holds a batch, never a thread.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::task::JoinHandle;

use super::failed;
use crate::crash::crash_point;
use crate::digest::Hasher;
use crate::storage::{AppendError, Appended, BodyError, UploadStream};

/// Bytes of one batch, at least, unless the body ends.
const BATCH: usize = 512 * 1024;

/// A new file that only we read.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    options.open(path)
}

pub(super) async fn append(
    path: PathBuf,
    at: u64,
    mut body: UploadStream,
    hasher: Option<Hasher>,
) -> Appended {
    let mut writer = Writer {
        path,
        size: at,
        state: State::Closed(hasher),
        error: None,
    };
    let mut ended = None;
    while ended.is_none() && writer.error.is_none() {
        let (batch, end) = next_batch(&mut body).await;
        ended = end;
        writer.write(batch).await;
    }
    writer.wait().await;
    let outcome = match (writer.error, ended) {
        (Some(error), _) => Err(AppendError::Storage(failed("write", &writer.path, error))),
        (None, Some(Err(error))) => Err(AppendError::Body(error)),
        (None, _) => Ok(()),
    };
    Appended {
        size: writer.size,
        hasher: match writer.state {
            State::Open(opened) => opened.hasher,
            State::Closed(hasher) => hasher,
            State::Busy(_) | State::Lost => None,
        },
        outcome,
    }
}

/// What the body has next, and whether it has ended.
async fn next_batch(body: &mut UploadStream) -> (Vec<Bytes>, Option<Result<(), BodyError>>) {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while bytes < BATCH {
        match body.next().await {
            Some(Ok(piece)) => {
                bytes += piece.len();
                batch.push(piece);
            }
            Some(Err(error)) => return (batch, Some(Err(error))),
            None => return (batch, Some(Ok(()))),
        }
    }
    (batch, None)
}

/// The file, which is in a blocking thread while a batch is written.
struct Writer {
    path: PathBuf,
    size: u64,
    state: State,
    error: Option<io::Error>,
}

enum State {
    Closed(Option<Hasher>),
    Open(Open),
    Busy(JoinHandle<(Open, io::Result<()>)>),
    /// A write failed: what the bytes hash to is not known.
    Lost,
}

struct Open {
    file: File,
    size: u64,
    hasher: Option<Hasher>,
}

impl Writer {
    /// Begins to write a batch when the one before is written.
    async fn write(&mut self, batch: Vec<Bytes>) {
        self.wait().await;
        let opened = match std::mem::replace(&mut self.state, State::Lost) {
            State::Open(opened) => opened,
            State::Closed(hasher) => match open(&self.path, self.size) {
                Ok(file) => Open {
                    file,
                    size: self.size,
                    hasher,
                },
                Err(error) => {
                    self.error = Some(error);
                    return;
                }
            },
            State::Busy(_) | State::Lost => return,
        };
        self.state = State::Busy(tokio::task::spawn_blocking(move || opened.write(&batch)));
    }

    /// Until nothing is being written.
    async fn wait(&mut self) {
        let running = match std::mem::replace(&mut self.state, State::Lost) {
            State::Busy(running) => running,
            other => {
                self.state = other;
                return;
            }
        };
        match running.await {
            Ok((opened, Ok(()))) => {
                self.size = opened.size;
                self.state = State::Open(opened);
            }
            Ok((_, Err(error))) => {
                // How much of the batch is there only the file knows.
                self.size = std::fs::metadata(&self.path).map_or(self.size, |found| found.len());
                self.error = Some(error);
            }
            Err(error) => self.error = Some(io::Error::other(error)),
        }
    }
}

impl Open {
    fn write(mut self, batch: &[Bytes]) -> (Self, io::Result<()>) {
        let written = batch.iter().try_for_each(|piece| {
            self.file.write_all(piece)?;
            self.size += piece.len() as u64;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(piece);
            }
            Ok(())
        });
        if !batch.is_empty() {
            crash_point("registry.upload.written");
        }
        (self, written)
    }
}

fn open(path: &Path, at: u64) -> io::Result<File> {
    let mut file = File::options().write(true).open(path)?;
    // What is beyond the size that the client was told is not part of the upload.
    file.set_len(at)?;
    file.seek(SeekFrom::Start(at))?;
    Ok(file)
}
