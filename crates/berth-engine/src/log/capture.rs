//! Reads a container's stdout and stderr until its process has ended and the pipes are drained.
//!
//! One task per running container, owned by the actor through [`Capture`]. It sleeps while the
//! container is silent and then holds no buffer.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::lines::Splitter;
use super::{Sink, now_ms};
use crate::LogLine;

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
    pub(crate) fn start(sink: Sink) -> io::Result<(Self, WriteEnds)> {
        let (stdout_read, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr_read, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        let streams = Streams {
            sink,
            stdout: Stream::new(stdout_read, false)?,
            stderr: Stream::new(stderr_read, true)?,
        };
        let (ended, end) = oneshot::channel();
        let task = tokio::spawn(streams.run(end));
        Ok((Self { ended, task }, WriteEnds { stdout, stderr }))
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
    stdout: Stream,
    stderr: Stream,
}

impl Streams {
    async fn run(mut self, mut ended: oneshot::Receiver<()>) {
        loop {
            let lines = tokio::select! {
                _ = &mut ended => break,
                lines = self.stdout.next() => lines,
                lines = self.stderr.next() => lines,
            };
            self.sink.write(lines).await;
        }
        for stream in [&mut self.stdout, &mut self.stderr] {
            let mut left = DRAIN_LIMIT;
            while left > 0 {
                let (lines, read) = stream.take_rest(left.min(CHUNK));
                self.sink.write(lines).await;
                left = if read == 0 {
                    0
                } else {
                    left.saturating_sub(read)
                };
            }
            let last = stream.finish();
            self.sink.write(last).await;
        }
    }
}

#[derive(Debug)]
struct Stream {
    pipe: Receiver,
    stderr: bool,
    open: bool,
    splitter: Splitter,
}

impl Stream {
    fn new(pipe: OwnedFd, stderr: bool) -> io::Result<Self> {
        Ok(Self {
            pipe: Receiver::from_owned_fd(pipe)?,
            stderr,
            open: true,
            splitter: Splitter::default(),
        })
    }

    /// The lines of the next chunk; pending for ever once the stream has ended. Cancel-safe:
    /// nothing is read before the last await.
    async fn next(&mut self) -> Vec<LogLine> {
        loop {
            if !self.open || self.pipe.readable().await.is_err() {
                std::future::pending::<()>().await;
            }
            let mut chunk = vec![0; CHUNK];
            match self.pipe.try_read(&mut chunk) {
                Ok(0) => self.open = false,
                Ok(read) => return self.split(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot read a container's output");
                    self.open = false;
                }
            }
        }
    }

    /// What the pipe holds now, whatever the reactor knows of it: an event may not have come yet.
    /// The count is 0 at the end or when nothing is there.
    fn take_rest(&mut self, limit: usize) -> (Vec<LogLine>, usize) {
        let mut chunk = vec![0; limit];
        match rustix::io::retry_on_intr(|| rustix::io::read(self.pipe.as_fd(), &mut chunk[..])) {
            Ok(read) => (self.split(&chunk[..read]), read),
            Err(_) => (Vec::new(), 0),
        }
    }

    fn finish(&mut self) -> Vec<LogLine> {
        let last = self.splitter.finish();
        let stderr = self.stderr;
        last.map(|bytes| LogLine {
            time_ms: now_ms(),
            stderr,
            bytes,
        })
        .into_iter()
        .collect()
    }

    fn split(&mut self, bytes: &[u8]) -> Vec<LogLine> {
        let (time_ms, stderr) = (now_ms(), self.stderr);
        let mut lines = Vec::new();
        self.splitter.push(bytes, |bytes| {
            lines.push(LogLine {
                time_ms,
                stderr,
                bytes,
            });
        });
        lines
    }
}

#[cfg(test)]
#[path = "capture/tests.rs"]
mod tests;
