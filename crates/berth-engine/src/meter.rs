//! What a container has used: CPU time, the time it ran and slept, memory over time, bytes.
//!
//! Owner: the actor starts, stops and switches the clocks; anybody reads at any time. A container
//! that is started again goes on where it was. Invariant: `running`, `frozen` and `stored`
//! are disjoint, and their sum is the time since its process was started, over all its starts.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_jail::Usage;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// What a container uses and has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metered {
    /// CPU time.
    pub cpu: Duration,
    /// Time awake.
    pub running: Duration,
    /// Time frozen, by idleness or by hand. Costs no CPU.
    pub frozen: Duration,
    /// Time on disk. Costs neither CPU nor memory.
    pub stored: Duration,
    /// Bytes of memory it may use, times the milliseconds that it had them (awake or frozen).
    pub memory_byte_ms: u128,
    /// Bytes of memory now.
    pub memory_bytes: u64,
    /// Processes and threads now.
    pub pids: u64,
    /// Payload into it: over connections to it, and replies to its own connections.
    pub ingress_bytes: u64,
    /// Payload out of it.
    pub egress_bytes: u64,
}

/// What had been used before the process that runs now was started, for the next daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Past {
    cpu_ns: u64,
    running_ms: u64,
    frozen_ms: u64,
    stored_ms: u64,
    memory_byte_ms: u128,
}

/// Reads the accounting of a living (or the last of an ended) process.
pub(crate) type Read = Arc<dyn Fn() -> Option<Usage> + Send + Sync>;

/// Which clock runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    Running,
    Frozen,
    Stored,
}

/// The meter of one container.
#[derive(Default)]
pub(crate) struct Meter(Mutex<State>);

#[derive(Default)]
struct State {
    past: Metered,
    current: Option<Current>,
}

struct Current {
    clock: Clock,
    since: Instant,
    memory_limit: u64,
    read: Option<Read>,
}

impl Meter {
    /// A process runs. `memory_limit` in bytes; 0: none, and its memory is not metered over time.
    pub(crate) fn start(&self, memory_limit: u64, read: Read) {
        let mut state = self.state();
        state.end();
        state.current = Some(Current {
            clock: Clock::Running,
            since: Instant::now(),
            memory_limit,
            read: Some(read),
        });
    }

    /// What was used until now, if nothing runs.
    pub(crate) fn past(&self) -> Past {
        let state = self.state();
        let whole = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Past {
            cpu_ns: u64::try_from(state.past.cpu.as_nanos()).unwrap_or(u64::MAX),
            running_ms: whole(state.past.running),
            frozen_ms: whole(state.past.frozen),
            stored_ms: whole(state.past.stored),
            memory_byte_ms: state.past.memory_byte_ms,
        }
    }

    /// Goes on where a daemon before was, whose process has run for so long.
    pub(crate) fn resume(&self, past: Past, ran: Duration, memory_limit: u64, read: Read) {
        let mut state = self.state();
        state.past = Metered {
            cpu: Duration::from_nanos(past.cpu_ns),
            running: Duration::from_millis(past.running_ms) + ran,
            frozen: Duration::from_millis(past.frozen_ms),
            stored: Duration::from_millis(past.stored_ms),
            memory_byte_ms: past.memory_byte_ms + u128::from(memory_limit) * ran.as_millis(),
            ..Metered::default()
        };
        drop(state);
        self.start(memory_limit, read);
    }

    /// Another clock runs from now on.
    pub(crate) fn switch(&self, clock: Clock) {
        let mut state = self.state();
        state.turn();
        if let Some(current) = &mut state.current {
            current.clock = clock;
        }
    }

    /// The process has ended.
    pub(crate) fn stop(&self) {
        self.state().end();
    }

    /// What has been used until now, bytes left out.
    pub(crate) fn read(&self) -> Metered {
        let mut state = self.state();
        state.turn();
        let mut total = state.past;
        if let Some(usage) = state.usage() {
            total.cpu += Duration::from_nanos(usage.cpu_ns);
            total.memory_bytes = usage.memory_bytes;
            total.pids = usage.pids;
        }
        total
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Additions only: a panic in between loses at most one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes the running clock's time down and starts it again.
    fn turn(&mut self) {
        let Some(current) = &mut self.current else {
            return;
        };
        let now = Instant::now();
        let time = now.saturating_duration_since(current.since);
        // Whole milliseconds are written down; the rest stays on the clock.
        let time = Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        current.since += time;
        match current.clock {
            Clock::Running => self.past.running += time,
            Clock::Frozen => self.past.frozen += time,
            Clock::Stored => {
                self.past.stored += time;
                return;
            }
        }
        self.past.memory_byte_ms += u128::from(current.memory_limit) * time.as_millis();
    }

    fn usage(&self) -> Option<Usage> {
        self.current.as_ref()?.read.as_ref()?()
    }

    fn end(&mut self) {
        self.turn();
        if let Some(usage) = self.usage() {
            self.past.cpu += Duration::from_nanos(usage.cpu_ns);
        }
        self.current = None;
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(cpu_ns: u64) -> Read {
        Arc::new(move || {
            Some(Usage {
                memory_bytes: 5,
                cpu_ns,
                pids: 2,
            })
        })
    }

    #[tokio::test(start_paused = true)]
    async fn clocks_are_disjoint_and_add_up_over_starts() {
        let pass = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        let meter = Meter::default();
        assert_eq!(meter.read(), Metered::default());
        meter.start(100, reading(7));
        pass(2).await;
        meter.switch(Clock::Frozen);
        pass(3).await;
        meter.switch(Clock::Stored);
        pass(4).await;
        meter.switch(Clock::Running);
        let now = meter.read();
        assert_eq!((now.cpu.as_nanos(), now.memory_bytes, now.pids), (7, 5, 2));
        meter.stop();
        pass(50).await;
        meter.start(100, reading(8));
        pass(1).await;
        meter.stop();
        let end = meter.read();
        assert_eq!(end.running, Duration::from_secs(3));
        assert_eq!(end.frozen, Duration::from_secs(3));
        assert_eq!(end.stored, Duration::from_secs(4));
        assert_eq!(end.memory_byte_ms, 100 * 6000);
        assert_eq!((end.cpu.as_nanos(), end.memory_bytes), (15, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn another_daemon_goes_on_where_one_was() {
        let pass = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        let before = Meter::default();
        before.start(100, reading(7));
        pass(2).await;
        before.stop();
        let past = before.past();
        let after = Meter::default();
        after.resume(past, Duration::from_secs(5), 100, reading(9));
        pass(1).await;
        let now = after.read();
        assert_eq!(now.running, Duration::from_secs(8));
        assert_eq!(now.memory_byte_ms, 100 * 8000);
        assert_eq!(now.cpu.as_nanos(), 16);
    }
}
