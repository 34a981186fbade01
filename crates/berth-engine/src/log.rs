//! What containers write: split into lines, kept in a bounded ring on disk, told to who listens.
//!
//! * [`lines`] cuts a byte stream into lines (pure);
//! * [`store`] keeps them in two files per container and lets readers follow;
//! * [`capture`] reads the pipes of a running container and feeds both.
//!
//! Invariants: memory is bounded by one chunk per stream, however fast a container writes; a
//! container that floods is slowed down by its own pipe and by nothing else; a reader that is slow
//! loses lines (and is told so), never the writer its pace.

pub(crate) mod capture;
pub(crate) mod lines;
pub(crate) mod store;

pub(crate) use capture::Capture;
pub(crate) use store::LogStore;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast;

use crate::{Event, LogLine};

/// Unix time in milliseconds.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

/// Where a container's lines go. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    pub(crate) store: Arc<LogStore>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) name: Arc<str>,
    pub(crate) display_name: Arc<str>,
    /// Lines that were not broadcast because listeners lag.
    pub(crate) untold: Arc<AtomicU64>,
}

impl Sink {
    /// Keeps the lines, then tells who listens. Waits for the disk: that is the back-pressure.
    pub(crate) async fn write(&self, lines: Vec<LogLine>) {
        if lines.is_empty() {
            return;
        }
        let store = Arc::clone(&self.store);
        let kept = tokio::task::spawn_blocking(move || {
            let result = store.append(&lines);
            (lines, result)
        });
        let Ok((lines, result)) = kept.await else {
            return;
        };
        if let Err(error) = result {
            tracing::warn!(container = %self.name, %error, "cannot keep a container's output");
        }
        for line in lines {
            self.tell(line);
        }
    }

    /// A line of Berth's own, marked as such.
    pub(crate) async fn note(&self, text: &str) {
        let bytes = format!("berth: {text}").into_bytes();
        self.write(vec![LogLine {
            time_ms: now_ms(),
            stderr: true,
            bytes,
        }])
        .await;
    }

    /// Broadcasts unless listeners lag so far that lines would push out the events of life and
    /// death, which share the channel.
    fn tell(&self, line: LogLine) {
        if self.events.receiver_count() == 0 {
            return;
        }
        if self.events.len() >= crate::engine::EVENTS_FOR_LINES {
            self.untold.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let untold = self.untold.swap(0, Ordering::Relaxed);
        if untold > 0 {
            self.send(LogLine {
                time_ms: line.time_ms,
                stderr: true,
                bytes: format!("berth: {untold} lines not shown here; the log has them")
                    .into_bytes(),
            });
        }
        self.send(line);
    }

    fn send(&self, line: LogLine) {
        // An error means that the last receiver has just gone.
        let _ = self.events.send(Event::Log {
            display_name: Arc::clone(&self.display_name),
            name: Arc::clone(&self.name),
            line,
        });
    }
}
