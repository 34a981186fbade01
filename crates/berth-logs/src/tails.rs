//! Who wants to see invocations as they end: `wrangler tail`.
//!
//! A tail is made by one request and taken up by another, whose address has an id that cannot be guessed. One
//! that nobody takes up goes. Invariants: a tail that is too slow loses invocations and is told so, it slows
//! nobody down; an app's Worker is traced only while it has a tail.

mod filters;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::{mpsc, watch};

pub use filters::Filters;

use crate::Trace;

/// A tail must be taken up within this time.
const TAKE_WITHIN: Duration = Duration::from_secs(60);
/// Tails at the same time.
const MOST: usize = 256;
/// Invocations on their way to one tail.
const QUEUE: usize = 512;

/// All tails of a server. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tails {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tails: Mutex<BTreeMap<String, Listener>>,
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Listener {
    app: String,
    filters: Filters,
    made: Instant,
    sender: mpsc::Sender<Arc<str>>,
    /// Until it is taken up.
    receiver: Option<mpsc::Receiver<Arc<str>>>,
    lost: u64,
}

/// One that has been taken up. It goes when it is dropped.
#[derive(Debug)]
pub struct Tail {
    id: String,
    tails: Tails,
    receiver: mpsc::Receiver<Arc<str>>,
}

impl Tail {
    /// The next invocation, JSON; `None`: the tail was deleted.
    pub async fn next(&mut self) -> Option<Arc<str>> {
        self.receiver.recv().await
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.tails.delete(&self.id);
    }
}

impl Tails {
    /// Makes a tail of an app: its id, by which alone it can be taken up. `None`: there are too many.
    /// Must be called in a runtime.
    pub fn create(&self, app: &str, filters: Filters) -> Option<String> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let (sender, receiver) = mpsc::channel(QUEUE);
        {
            let mut tails = self.lock();
            if tails.len() >= MOST {
                return None;
            }
            let listener = Listener {
                app: app.to_owned(),
                filters,
                made: Instant::now(),
                sender,
                receiver: Some(receiver),
                lost: 0,
            };
            tails.insert(id.clone(), listener);
        }
        self.changed();
        let tails = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(TAKE_WITHIN).await;
            tails.sweep();
        });
        Some(id)
    }

    /// Takes up a tail, once.
    pub fn take(&self, id: &str) -> Option<Tail> {
        let receiver = self.lock().get_mut(id)?.receiver.take()?;
        Some(Tail {
            id: id.to_owned(),
            tails: self.clone(),
            receiver,
        })
    }

    /// Whether there is such a tail of this app.
    pub fn is_of(&self, id: &str, app: &str) -> bool {
        self.lock()
            .get(id)
            .is_some_and(|listener| listener.app == app)
    }

    /// Ends a tail, whether it was taken up or not; whether there was one.
    pub fn delete(&self, id: &str) -> bool {
        let gone = self.lock().remove(id).is_some();
        if gone {
            self.changed();
        }
        gone
    }

    /// Whether somebody wants to see the invocations of an app.
    pub fn wants(&self, app: &str) -> bool {
        self.lock().values().any(|listener| listener.app == app)
    }

    /// Changes when what [`Self::wants`] says may have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Shows an invocation to those who want it.
    pub fn publish(&self, trace: &Trace) {
        let mut text: Option<Arc<str>> = None;
        for listener in self.lock().values_mut() {
            if listener.app != trace.app || !listener.filters.admit(&trace.value) {
                continue;
            }
            if listener.lost > 0 && listener.sender.try_send(overload(listener.lost)).is_ok() {
                listener.lost = 0;
            }
            let text = text.get_or_insert_with(|| trace.value.to_string().into());
            if listener.sender.try_send(Arc::clone(text)).is_err() {
                listener.lost += 1;
            }
        }
    }

    fn sweep(&self) {
        let gone = {
            let mut tails = self.lock();
            let before = tails.len();
            tails.retain(|_, one| one.receiver.is_none() || one.made.elapsed() < TAKE_WITHIN);
            before != tails.len()
        };
        if gone {
            self.changed();
        }
    }

    fn changed(&self) {
        self.inner.changes.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Listener>> {
        // Entries are whole at every step.
        self.inner
            .tails
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// As wrangler shows it.
fn overload(lost: u64) -> Arc<str> {
    let message = format!("{lost} events are not shown: more than could be sent");
    let event = json!({"message": message, "type": "overload"});
    let event = json!({
        "outcome": "unknown", "logs": [], "exceptions": [],
        "eventTimestamp": crate::entry::now_ms(), "event": event,
    });
    event.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(app: &str) -> Trace {
        Trace::read(app, None, json!({"outcome": "ok", "event": {"cron": "x"}}))
    }

    #[tokio::test]
    async fn a_tail_sees_its_app_until_it_goes() {
        let tails = Tails::default();
        let mut changes = tails.changes();
        let id = tails.create("one", Filters::default()).unwrap();
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        assert!(tails.wants("one") && !tails.wants("two") && tails.is_of(&id, "one"));
        let mut tail = tails.take(&id).unwrap();
        assert!(tails.take(&id).is_none(), "only once");
        tails.publish(&trace("two"));
        tails.publish(&trace("one"));
        assert!(
            tail.next()
                .await
                .unwrap()
                .contains("\"scriptName\":\"one\"")
        );
        drop(tail);
        assert!(!tails.wants("one") && changes.has_changed().unwrap());
        assert!(!tails.delete(&id));
    }

    #[tokio::test]
    async fn a_slow_tail_is_told_what_it_lost() {
        let tails = Tails::default();
        let id = tails.create("one", Filters::default()).unwrap();
        let mut tail = tails.take(&id).unwrap();
        for _ in 0..QUEUE + 3 {
            tails.publish(&trace("one"));
        }
        for _ in 0..QUEUE {
            tail.next().await.unwrap();
        }
        tails.publish(&trace("one"));
        let told = tail.next().await.unwrap();
        assert!(told.contains("3 events are not shown"), "{told}");
        assert!(tails.delete(&id));
        tail.next().await.unwrap();
        assert!(tail.next().await.is_none(), "it was deleted");
    }

    #[tokio::test]
    async fn what_nobody_takes_up_goes() {
        let tails = Tails::default();
        tails.create("one", Filters::default()).unwrap();
        for listener in tails.lock().values_mut() {
            listener.made -= TAKE_WITHIN;
        }
        tails.sweep();
        assert!(!tails.wants("one"));
        for _ in 0..MOST {
            assert!(tails.create("one", Filters::default()).is_some());
        }
        assert!(tails.create("one", Filters::default()).is_none());
    }
}
