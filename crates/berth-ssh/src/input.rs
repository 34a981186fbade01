//! What a client sends to a process, until the process reads it.
//!
//! The protocol's library must never wait for the process: it would not see that the client has read what
//! the process wrote, and a process that writes as it reads would stand still for ever. So everything is
//! taken, and how much that can be is bounded by what the client is told it may send: above [`FULL`] it may
//! send hardly anything ([`TRICKLE`] bytes at a time), and one that sends more all the same is cut off.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// Bytes that wait, above which the client is slowed down.
pub(crate) const FULL: usize = 1 << 20;
/// What it may send at a time then. More than one: half of it must be something.
pub(crate) const TRICKLE: u32 = 2;
/// Bytes that wait at most: those of a client that keeps to what it is told are well below.
const MOST: usize = 8 << 20;

/// Bytes on their way to a process.
#[derive(Debug, Default)]
pub(crate) struct Input {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    /// The client has sent everything.
    ended: bool,
    /// The process reads no more.
    closed: bool,
}

/// What is to be done with a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pressure {
    /// Nothing.
    None,
    /// It is to send slowly.
    Full,
    /// It has sent what it may not.
    Overrun,
}

impl Input {
    /// Takes what the client has sent.
    pub(crate) fn push(&self, bytes: Bytes) -> Pressure {
        let mut waiting = self.waiting();
        if waiting.closed || waiting.ended {
            return Pressure::None;
        }
        if waiting.bytes + bytes.len() > MOST {
            return Pressure::Overrun;
        }
        waiting.bytes += bytes.len();
        waiting.pieces.push_back(bytes);
        let pressure = waiting.pressure();
        drop(waiting);
        self.changed.notify_one();
        pressure
    }

    /// The client will send no more.
    pub(crate) fn end(&self) {
        self.waiting().ended = true;
        self.changed.notify_one();
    }

    /// The process will read no more.
    pub(crate) fn close(&self) {
        *self.waiting() = Waiting {
            closed: true,
            ..Waiting::default()
        };
    }

    pub(crate) fn pressure(&self) -> Pressure {
        self.waiting().pressure()
    }

    /// What came next; `None` at the end. For one reader.
    pub(crate) async fn next(&self) -> Option<Bytes> {
        loop {
            {
                let mut waiting = self.waiting();
                if let Some(piece) = waiting.pieces.pop_front() {
                    waiting.bytes -= piece.len();
                    return Some(piece);
                }
                if waiting.ended {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Every change is complete before anything can panic.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn pressure(&self) -> Pressure {
        if self.bytes > FULL {
            Pressure::Full
        } else {
            Pressure::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_sent_comes_in_order_and_then_its_end() {
        let input = Input::default();
        assert_eq!(input.push(Bytes::from_static(b"one")), Pressure::None);
        assert_eq!(input.push(Bytes::from_static(b"two")), Pressure::None);
        input.end();
        assert_eq!(input.next().await.as_deref(), Some(&b"one"[..]));
        assert_eq!(input.next().await.as_deref(), Some(&b"two"[..]));
        assert_eq!(input.next().await, None);
        assert_eq!(input.next().await, None, "and stays ended");
    }

    #[tokio::test]
    async fn what_nobody_reads_is_bounded() {
        let input = Input::default();
        let piece = Bytes::from(vec![0; FULL]);
        assert_eq!(input.push(piece.clone()), Pressure::None);
        assert_eq!(input.push(Bytes::from_static(b"1")), Pressure::Full);
        let mut taken = 0;
        while input.push(piece.clone()) == Pressure::Full {
            taken += 1;
            assert!(taken < 100, "everything is taken");
        }
        assert_eq!(input.push(piece.clone()), Pressure::Overrun);
        while input.pressure() == Pressure::Full {
            assert!(input.next().await.is_some());
        }
        assert!(input.next().await.is_some());
        assert_eq!(input.push(Bytes::from_static(b"2")), Pressure::None);
        // Nobody will ever read: nothing is kept.
        input.close();
        for _ in 0..100 {
            assert_eq!(input.push(piece.clone()), Pressure::None);
        }
    }
}
