//! Standard output and standard error of a process, read in the order in which they became readable.
//!
//! Two pipes have no common order of their own; who asks each of them in turn tells a program's
//! `echo one; echo two >&2` as it happens to come. The kernel does keep the order in which descriptors
//! of one epoll instance became ready (epoll(7): the ready list is first in, first out), so both are
//! put into one. Invariant: a stream that was told readable is read until it is empty or ended before
//! it is forgotten, as edge-triggered events need; a stream that never is empty lets the other have its
//! turns.

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::event::{Timespec, epoll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use tokio::io::unix::AsyncFd;

/// One of a process's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a moment's look into both streams gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// So many bytes of this stream, more than none.
    Bytes(OutputStream, usize),
    /// Nothing now.
    Nothing,
    /// Both streams have ended.
    Ended,
}

/// Our ends of both pipes.
#[derive(Debug)]
pub struct Output {
    epoll: AsyncFd<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    ready: ReadyList,
}

impl Output {
    /// Makes the descriptors non-blocking. Needs a runtime.
    ///
    /// # Errors
    /// What the kernel said to `epoll_create1`, `epoll_ctl` or `fcntl`.
    pub fn new(stdout: OwnedFd, stderr: OwnedFd) -> io::Result<Self> {
        let ready = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let pipes = [
            (&stdout, OutputStream::Stdout),
            (&stderr, OutputStream::Stderr),
        ];
        for (pipe, stream) in pipes {
            fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&ready, pipe, epoll::EventData::new_u64(tag(stream)), flags)?;
        }
        #[expect(
            deprecated,
            reason = "the replacement is unsafe; an OwnedFd keeps its descriptor as that demands"
        )]
        let ready = AsyncFd::new(ready)?;
        Ok(Self {
            epoll: ready,
            stdout: Some(stdout),
            stderr: Some(stderr),
            ready: ReadyList::default(),
        })
    }

    /// Reads what is to be read next into `buffer`, which must not be empty; `None` when both streams
    /// have ended. Cancel-safe: nothing is read before the last await.
    ///
    /// # Errors
    /// What the kernel said to a read; that stream counts as ended then.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<(OutputStream, usize)>> {
        loop {
            match self.look(buffer)? {
                Look::Bytes(stream, count) => return Ok(Some((stream, count))),
                Look::Ended => return Ok(None),
                Look::Nothing => self.readable().await?,
            }
        }
    }

    /// Waits until a look may give something; for ever once both streams have ended.
    pub(crate) async fn readable(&mut self) -> io::Result<()> {
        while self.ready.0.is_empty() {
            let mut guard = self.epoll.readable().await?;
            self.ready.take_events(self.epoll.get_ref())?;
            if self.ready.0.is_empty() {
                guard.clear_ready();
                // What came between the two calls would otherwise be slept through.
                self.ready.take_events(self.epoll.get_ref())?;
            }
        }
        Ok(())
    }

    /// Reads what is there now, whatever the runtime knows of it. The same errors as [`Self::read`].
    pub(crate) fn look(&mut self, buffer: &mut [u8]) -> io::Result<Look> {
        self.ready.take_events(self.epoll.get_ref())?;
        while let Some(Readable { stream, ended }) = self.ready.0.pop_front() {
            let pipe = match stream {
                OutputStream::Stdout => &mut self.stdout,
                OutputStream::Stderr => &mut self.stderr,
            };
            let Some(open) = pipe.as_ref() else { continue };
            match rustix::io::retry_on_intr(|| rustix::io::read(open, &mut *buffer)) {
                Ok(0) => *pipe = None,
                Ok(count) => {
                    let more = ended || rustix::io::ioctl_fionread(open).is_ok_and(|left| left > 0);
                    if more {
                        // Behind what the other stream got meanwhile.
                        self.ready.take_events(self.epoll.get_ref())?;
                        self.ready.add(Readable { stream, ended });
                    }
                    return Ok(Look::Bytes(stream, count));
                }
                Err(rustix::io::Errno::AGAIN) => {}
                Err(error) => {
                    *pipe = None;
                    return Err(error.into());
                }
            }
        }
        Ok(match (&self.stdout, &self.stderr) {
            (None, None) => Look::Ended,
            _ => Look::Nothing,
        })
    }
}

/// A stream that was told readable and is not known to be empty.
#[derive(Clone, Copy, Debug)]
struct Readable {
    stream: OutputStream,
    /// Nobody has its other end any more: no event will come, the end must be read.
    ended: bool,
}

/// Oldest first, each stream once.
#[derive(Debug, Default)]
struct ReadyList(VecDeque<Readable>);

impl ReadyList {
    /// Moves the kernel's events behind those that are known.
    fn take_events(&mut self, epoll: &OwnedFd) -> io::Result<()> {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut room = [const { MaybeUninit::uninit() }; 2];
        let (events, _) = loop {
            match epoll::wait(epoll, &mut room, Some(&now)) {
                Err(rustix::io::Errno::INTR) => {}
                outcome => break outcome?,
            }
        };
        for event in events {
            let stream = match event.data.u64() {
                0 => OutputStream::Stdout,
                _ => OutputStream::Stderr,
            };
            let (flags, over) = (event.flags, epoll::EventFlags::HUP | epoll::EventFlags::ERR);
            let ended = flags.intersects(over);
            self.add(Readable { stream, ended });
        }
        Ok(())
    }

    fn add(&mut self, new: Readable) {
        match self.0.iter_mut().find(|known| known.stream == new.stream) {
            Some(known) => known.ended |= new.ended,
            None => self.0.push_back(new),
        }
    }
}

const fn tag(stream: OutputStream) -> u64 {
    match stream {
        OutputStream::Stdout => 0,
        OutputStream::Stderr => 1,
    }
}

#[cfg(test)]
#[path = "output/tests.rs"]
mod tests;
