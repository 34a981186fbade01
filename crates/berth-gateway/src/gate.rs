//! Who may go on to the upstream now, and who is on the way.

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
    /// Nothing is in flight.
    idle: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: bool,
    upstream: Option<Arc<Pool>>,
    in_flight: usize,
}

/// A request in flight. Dropping it is leaving.
#[derive(Debug)]
pub(crate) struct Pass {
    site: Arc<Site>,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; if it did, the numbers would still be right.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_upstream(&self, upstream: Arc<Pool>) {
        self.lock().upstream = Some(upstream);
        self.opened.notify_waiters();
    }

    pub(crate) fn hold(&self, held: bool) {
        self.lock().held = held;
        self.opened.notify_waiters();
    }

    /// Counts a request in and gives it the upstream, when there is one and nothing is held.
    fn try_enter(&self) -> Option<Arc<Pool>> {
        let mut state = self.lock();
        if state.held {
            return None;
        }
        let upstream = state.upstream.clone()?;
        state.in_flight += 1;
        Some(upstream)
    }

    /// [`Gate::try_enter`], waiting at most `limit`.
    pub(crate) async fn enter(site: &Arc<Site>, limit: Duration) -> Option<(Arc<Pool>, Pass)> {
        let gate = &site.gate;
        let upstream = match gate.try_enter() {
            Some(upstream) => upstream,
            None => tokio::time::timeout(limit, gate.wait()).await.ok()?,
        };
        let site = Arc::clone(site);
        Some((upstream, Pass { site }))
    }

    async fn wait(&self) -> Arc<Pool> {
        loop {
            let opened = self.opened.notified();
            tokio::pin!(opened);
            // Registered before looking, so that no change is missed in between.
            opened.as_mut().enable();
            if let Some(upstream) = self.try_enter() {
                return upstream;
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

    pub(crate) async fn drain(&self, limit: Duration) -> usize {
        let drained = async {
            loop {
                let idle = self.idle.notified();
                tokio::pin!(idle);
                idle.as_mut().enable();
                if self.lock().in_flight == 0 {
                    return;
                }
                idle.await;
            }
        };
        let _ = tokio::time::timeout(limit, drained).await;
        self.lock().in_flight
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let gate = &self.site.gate;
        let left = {
            let mut state = gate.lock();
            state.in_flight -= 1;
            state.in_flight
        };
        if left == 0 {
            gate.idle.notify_waiters();
        }
    }
}
