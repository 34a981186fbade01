//! Reads a container's stdout and stderr until its process has ended and the pipes are drained.
//!
//! One task per running container, owned by the actor through [`Capture`]. It sleeps while the
//! container is silent and then holds no buffer.

use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::lines::Splitter;
use super::{Sink, now_ms};
use crate::LogLine;
use crate::output::{Look, Output, OutputStream};

/// Bytes read at once from one stream, before they are written and told.
const CHUNK: usize = 64 * 1024;

/// Most bytes read from one stream after the process has ended: the largest pipe an unprivileged
/// process can make. More would mean that somebody still writes.
const DRAIN_LIMIT: usize = 1024 * 1024;

/// The read ends of a container's output, being read.
#[derive(Debug)]
pub(crate) struct Capture {
    ended: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Second descriptors of the reading ends: standard output, standard error.
pub(crate) type ReadEnds = [OwnedFd; 2];

/// Write ends for the process: blocking, closed on exec.
#[derive(Debug)]
pub(crate) struct WriteEnds {
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

impl Capture {
    /// Makes the pipes and starts reading.
    ///
    /// # Errors
    /// What the kernel said to `pipe2` or to registering the read end.
    pub(crate) fn start(sink: Sink) -> io::Result<(Self, WriteEnds, ReadEnds)> {
        let (stdout_read, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr_read, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        let copies = [stdout_read.try_clone()?, stderr_read.try_clone()?];
        let capture = Self::resume(sink, [stdout_read, stderr_read])?;
        Ok((capture, WriteEnds { stdout, stderr }, copies))
    }

    /// Starts reading from the pipes of a process that runs already.
    ///
    /// # Errors
    /// As [`Capture::start`].
    pub(crate) fn resume(sink: Sink, [stdout, stderr]: ReadEnds) -> io::Result<Self> {
        let streams = Streams {
            sink,
            output: Output::new(stdout, stderr)?,
            stdout: Splitter::default(),
            stderr: Splitter::default(),
        };
        let (ended, end) = oneshot::channel();
        let task = tokio::spawn(streams.run(end));
        Ok(Self { ended, task })
    }

    /// The process has ended: takes what is still in the pipes, and returns when all of it is in
    /// the log. Bounded, also if a process that escaped holds the pipe.
    pub(crate) async fn finish(self) {
        drop(self.ended);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the reader of a container's output failed");
        }
    }
}

#[derive(Debug)]
struct Streams {
    sink: Sink,
    output: Output,
    stdout: Splitter,
    stderr: Splitter,
}

impl Streams {
    async fn run(mut self, mut ended: oneshot::Receiver<()>) {
        loop {
            tokio::select! {
                _ = &mut ended => break,
                readable = self.output.readable() => if let Err(error) = readable {
                    tracing::warn!(%error, "cannot wait for a container's output");
                    let _ = (&mut ended).await;
                    break;
                }
            }
            self.take().await;
        }
        let mut left = 2 * DRAIN_LIMIT;
        while left > 0 {
            let taken = self.take().await;
            left = if taken == 0 {
                0
            } else {
                left.saturating_sub(taken)
            };
        }
        let stdout = self.stdout.finish();
        let stderr = self.stderr.finish();
        let last = [
            (stdout, OutputStream::Stdout),
            (stderr, OutputStream::Stderr),
        ];
        let last = last
            .into_iter()
            .filter_map(|(rest, stream)| Some(line(stream, rest?)));
        self.sink.write(last.collect()).await;
    }

    /// Writes the next chunk, if one is there; its length.
    async fn take(&mut self) -> usize {
        let mut chunk = vec![0; CHUNK];
        let (stream, count) = match self.output.look(&mut chunk) {
            Ok(Look::Bytes(stream, count)) => (stream, count),
            Ok(Look::Nothing | Look::Ended) => return 0,
            Err(error) => {
                tracing::warn!(%error, "cannot read a container's output");
                return 0;
            }
        };
        let splitter = match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        };
        let mut lines = Vec::new();
        splitter.push(&chunk[..count], |bytes| lines.push(line(stream, bytes)));
        drop(chunk);
        self.sink.write(lines).await;
        count
    }
}

fn line(stream: OutputStream, bytes: Vec<u8>) -> LogLine {
    LogLine {
        time_ms: now_ms(),
        stderr: stream == OutputStream::Stderr,
        bytes,
    }
}

#[cfg(test)]
#[path = "capture/tests.rs"]
mod tests;
