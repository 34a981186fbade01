//! One application behind the gateway: where its requests go now, and which of them wait.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::Upstream;
use crate::gate::{Count, Epoch, Gate, Which};
use crate::pool::Pool;

/// Paths that trigger a handler of the Worker by hand.
const TRIGGER_PATHS: &str = "/cdn-cgi/handler/";

/// An application. There is no upstream at first: requests are held until [`Site::set_upstream`].
#[derive(Debug)]
pub struct Site {
    /// What reports of its requests call it.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) gate: Gate,
    triggers: RwLock<Option<Arc<Pool>>>,
    pub(crate) hold_limit: Duration,
}

impl Site {
    /// A site whose requests wait for an upstream at most for `hold_limit`; then they are answered
    /// with 503.
    pub fn new(hold_limit: Duration) -> Arc<Self> {
        Self::make(None, hold_limit)
    }

    /// The same for one that [`RequestEvent::site`](crate::RequestEvent::site) names.
    pub fn named(name: &str, hold_limit: Duration) -> Arc<Self> {
        Self::make(Some(Arc::from(name)), hold_limit)
    }

    fn make(name: Option<Arc<str>>, hold_limit: Duration) -> Arc<Self> {
        Arc::new(Self {
            name,
            gate: Gate::default(),
            triggers: RwLock::default(),
            hold_limit,
        })
    }

    /// Sends requests there from now on. Connections to the former upstream are not reused; what is on the
    /// way before the epoch that begins now goes on with it.
    pub fn set_upstream(&self, upstream: Upstream) -> Epoch {
        self.gate.set_upstream(Pool::new(upstream))
    }

    /// Begins an epoch.
    pub fn mark(&self) -> Epoch {
        self.gate.mark()
    }

    /// Where `/cdn-cgi/handler/…` goes; `None`: to the Worker, like every other path.
    pub fn set_triggers(&self, upstream: Option<Upstream>) {
        let pool = upstream.map(Pool::new);
        *self
            .triggers
            .write()
            .unwrap_or_else(PoisonError::into_inner) = pool;
    }

    /// New requests wait (at most for the hold limit) until [`Site::release`].
    pub fn hold(&self) {
        self.gate.hold(true);
    }

    /// Lets the held requests go to the upstream.
    pub fn release(&self) {
        self.gate.hold(false);
    }

    /// Waits until no request is in flight (held ones, streams of events and WebSockets do not count), at
    /// most for `limit`. Returns how many still are.
    pub async fn drain(&self, limit: Duration) -> usize {
        let done = |count: Count| count.requests == 0;
        self.gate.until(Which::All, done, limit).await.requests
    }

    /// Waits until what came before an epoch is done, WebSockets apart, at most for `limit`. What still is on
    /// the way.
    pub async fn drain_before(&self, epoch: Epoch, limit: Duration) -> Count {
        let done = |count: Count| count.requests + count.events == 0;
        self.gate.until(Which::Before(epoch), done, limit).await
    }

    /// The same of what came since an epoch began: requests at most for `limit`, streams of events for
    /// `events`.
    pub async fn drain_since(&self, epoch: Epoch, limit: Duration, events: Duration) -> Count {
        let which = Which::Since(epoch);
        let (requests, _) = tokio::join!(
            self.gate.until(which, |count| count.requests == 0, limit),
            self.gate.until(which, |count| count.events == 0, events),
        );
        requests
    }

    /// Waits until nothing that came before an epoch is on the way, WebSockets included, at most for
    /// `limit`. What still is.
    pub async fn all_gone_before(&self, epoch: Epoch, limit: Duration) -> Count {
        let done = |count| count == Count::default();
        self.gate.until(Which::Before(epoch), done, limit).await
    }

    /// The pool for triggers, if the path is one.
    pub(crate) fn triggers_for(&self, path: &str) -> Option<Arc<Pool>> {
        if !path.starts_with(TRIGGER_PATHS) {
            return None;
        }
        let triggers = self.triggers.read().unwrap_or_else(PoisonError::into_inner);
        triggers.clone()
    }
}
