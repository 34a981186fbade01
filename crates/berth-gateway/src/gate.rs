//! Who may go on to the upstream now, and who is on the way.
//!
//! What is on the way is counted by epoch: a new one begins with every new upstream and every
//! [`Gate::mark`], so that one can wait for what was on the way at a moment while more arrives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::pool::Pool;
use crate::site::Site;

/// The state that every request passes twice: on entering and on leaving.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    /// Something that entering waits for has changed.
    opened: Notify,
    /// An epoch has nothing on the way any more, or no tunnel.
    idle: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: bool,
    upstream: Option<Arc<Pool>>,
    epoch: Epoch,
    /// Of epochs with something on the way.
    counts: BTreeMap<Epoch, Count>,
}

/// What was on the way before it, and what has come since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(u64);

/// What is on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Requests whose responses have not been passed on whole.
    pub requests: usize,
    /// The same of responses that are events without an end (`text/event-stream`).
    pub events: usize,
    /// WebSockets.
    pub tunnels: usize,
}

/// What something on the way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Events,
    Tunnel,
}

impl Count {
    fn of(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Request => &mut self.requests,
            Kind::Events => &mut self.events,
            Kind::Tunnel => &mut self.tunnels,
        }
    }
}

/// Which of what is on the way.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    All,
    Before(Epoch),
    Since(Epoch),
}

impl Which {
    fn includes(self, epoch: Epoch) -> bool {
        match self {
            Self::All => true,
            Self::Before(mark) => epoch < mark,
            Self::Since(mark) => epoch >= mark,
        }
    }
}

/// A request on the way, or what it has become. Dropping it is leaving.
#[derive(Debug)]
pub(crate) struct Pass {
    site: Arc<Site>,
    epoch: Epoch,
    kind: Kind,
}

impl State {
    fn count(&self, which: Which) -> Count {
        let chosen = self
            .counts
            .iter()
            .filter(|(epoch, _)| which.includes(**epoch));
        chosen.fold(Count::default(), |sum, (_, count)| Count {
            requests: sum.requests + count.requests,
            events: sum.events + count.events,
            tunnels: sum.tunnels + count.tunnels,
        })
    }

    fn next_epoch(&mut self) -> Epoch {
        self.epoch.0 += 1;
        self.epoch
    }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; if it did, the numbers would still be right.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is on the way before the epoch that begins now goes to the former upstream.
    pub(crate) fn set_upstream(&self, upstream: Arc<Pool>) -> Epoch {
        let epoch = {
            let mut state = self.lock();
            state.upstream = Some(upstream);
            state.next_epoch()
        };
        self.opened.notify_waiters();
        epoch
    }

    pub(crate) fn mark(&self) -> Epoch {
        self.lock().next_epoch()
    }

    pub(crate) fn hold(&self, held: bool) {
        self.lock().held = held;
        self.opened.notify_waiters();
    }

    /// Counts a request in and gives it the upstream, when there is one and nothing is held.
    fn try_enter(&self) -> Option<(Arc<Pool>, Epoch)> {
        let mut state = self.lock();
        if state.held {
            return None;
        }
        let upstream = state.upstream.clone()?;
        let epoch = state.epoch;
        state.counts.entry(epoch).or_default().requests += 1;
        Some((upstream, epoch))
    }

    /// [`Gate::try_enter`], waiting at most `limit`.
    pub(crate) async fn enter(site: &Arc<Site>, limit: Duration) -> Option<(Arc<Pool>, Pass)> {
        let gate = &site.gate;
        let (upstream, epoch) = match gate.try_enter() {
            Some(entered) => entered,
            None => tokio::time::timeout(limit, gate.wait()).await.ok()?,
        };
        let pass = Pass {
            site: Arc::clone(site),
            epoch,
            kind: Kind::Request,
        };
        Some((upstream, pass))
    }

    async fn wait(&self) -> (Arc<Pool>, Epoch) {
        loop {
            let opened = self.opened.notified();
            tokio::pin!(opened);
            // Registered before looking, so that no change is missed in between.
            opened.as_mut().enable();
            if let Some(entered) = self.try_enter() {
                return entered;
            }
            opened.await;
        }
    }

    /// Waits until requests are held or go elsewhere than to `former`, at most for `limit`. `false`:
    /// neither has happened.
    pub(crate) async fn turned_from(&self, former: &Arc<Pool>, limit: Duration) -> bool {
        let turned = || {
            let state = self.lock();
            let same = state
                .upstream
                .as_ref()
                .is_some_and(|now| Arc::ptr_eq(now, former));
            state.held || !same
        };
        let turning = async {
            loop {
                let opened = self.opened.notified();
                tokio::pin!(opened);
                opened.as_mut().enable();
                if turned() {
                    return;
                }
                opened.await;
            }
        };
        tokio::time::timeout(limit, turning).await.is_ok()
    }

    /// Waits until `done` says so of what is on the way, at most for `limit`. What still is.
    pub(crate) async fn until(
        &self,
        which: Which,
        done: impl Fn(Count) -> bool,
        limit: Duration,
    ) -> Count {
        let waiting = async {
            loop {
                let idle = self.idle.notified();
                tokio::pin!(idle);
                idle.as_mut().enable();
                if done(self.lock().count(which)) {
                    return;
                }
                idle.await;
            }
        };
        let _ = tokio::time::timeout(limit, waiting).await;
        self.lock().count(which)
    }
}

impl Pass {
    /// The request has become something else.
    pub(crate) fn becomes(mut self, kind: Kind) -> Self {
        let gate = &self.site.gate;
        let emptied = {
            let mut state = gate.lock();
            let count = state.counts.entry(self.epoch).or_default();
            *count.of(kind) += 1;
            *count.of(self.kind) -= 1;
            *count.of(self.kind) == 0
        };
        if emptied {
            gate.idle.notify_waiters();
        }
        self.kind = kind;
        self
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let gate = &self.site.gate;
        let emptied = {
            let mut state = gate.lock();
            let Some(count) = state.counts.get_mut(&self.epoch) else {
                return;
            };
            let kind = count.of(self.kind);
            *kind -= 1;
            let emptied = *kind == 0;
            if *count == Count::default() {
                state.counts.remove(&self.epoch);
            }
            emptied
        };
        if emptied {
            gate.idle.notify_waiters();
        }
    }
}
