//! What counts as activity of a container, and since when there has been none.
//!
//! Counted: connections being made into it, connections open into it, processes exec'ed in it. Not
//! counted: `inspect`, `list`, `logs`, `stats`; CPU time that nobody asked for; what the program
//! itself sends out (a program that reports telemetry would never sleep).
//!
//! A connection is opaque, so what can be told from its bytes decides:
//!
//! - The last bytes went **in**: the program owes an answer. It is active, for as long as that takes.
//! - The last bytes came **out** (or the connection has been upgraded, a WebSocket): active until
//!   nothing has moved for `quiet_connection_after`. workerd closes a pooled connection after five
//!   seconds by itself; a WebSocket is what this is for.
//!
//! A container that has not been used at all stays awake: it may work without being asked (a batch
//! job). While it is asleep, bytes that go in wake it; a connection that is closed does not.
//!
//! Owner: the container's actor reads; callers' tasks write. Invariant: whoever becomes active either
//! sees that the container is asleep and wakes it, or is seen by the actor, which looks again after
//! it has said so.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::SleepPolicy;

/// How a response begins that makes a connection something else than HTTP.
const UPGRADED: &[u8] = b"HTTP/1.1 101";

/// Activity of one container.
#[derive(Debug)]
pub(crate) struct Activity {
    epoch: Instant,
    users: Mutex<Users>,
    asleep: AtomicBool,
    /// Another container of the same name is to take its place.
    retired: AtomicBool,
    /// Somebody has less to do with it than before.
    eased: Notify,
    /// Wakes the actor: something is to be carried into a container that sleeps.
    pub(crate) wanted: Notify,
}

#[derive(Debug, Default)]
struct Users {
    /// Connections being made, processes running.
    present: usize,
    connections: HashMap<u64, Arc<Traffic>>,
    next: u64,
    /// The end of the latest use; `None`: never used.
    last: Option<Instant>,
}

/// One open connection into a container.
#[derive(Debug, Default)]
struct Traffic {
    /// Milliseconds after the epoch.
    last: AtomicU64,
    owed: AtomicBool,
    upgraded: AtomicBool,
    /// Nothing more will go in.
    finished: AtomicBool,
}

impl Traffic {
    /// Whether the program owes an answer.
    fn is_owed(&self) -> bool {
        self.owed.load(Ordering::SeqCst) && !self.upgraded.load(Ordering::SeqCst)
    }

    /// Whether somebody outside may still want something of it. A client that has ended its stream
    /// and has its answer is gone: a program that is asleep does not notice, and leaves it half open.
    fn is_held(&self) -> bool {
        !self.finished.load(Ordering::SeqCst) || self.is_owed()
    }
}

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            epoch: Instant::now(),
            users: Mutex::default(),
            asleep: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            eased: Notify::new(),
            wanted: Notify::new(),
        })
    }

    /// Something uses the container until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Use {
        self.users().present += 1;
        Use(Arc::clone(self))
    }

    /// The actor says that the container is asleep, or on its way.
    pub(crate) fn set_asleep(&self, asleep: bool) {
        self.asleep.store(asleep, Ordering::SeqCst);
    }

    /// Whether it sleeps; to be asked after [`Activity::begin`].
    pub(crate) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::SeqCst)
    }

    /// Whether anything from outside holds on to the container, however quietly.
    pub(crate) fn is_held(&self) -> bool {
        let users = self.users();
        users.present > 0 || users.connections.values().any(|traffic| traffic.is_held())
    }

    /// Another container of the same name is to take its place: whoever can wait for that does.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
    }

    /// Waits until it owes no answer, and nobody is just connecting.
    pub(crate) async fn at_rest(&self) {
        loop {
            let eased = self.eased.notified();
            tokio::pin!(eased);
            eased.as_mut().enable();
            {
                let users = self.users();
                let owes = users.connections.values().any(|traffic| traffic.is_owed());
                if users.present == 0 && !owes {
                    return;
                }
            }
            eased.await;
        }
    }

    /// When the container may be frozen if nothing happens until then. `None`: not foreseeable.
    pub(crate) fn idle_at(&self, policy: &SleepPolicy) -> Option<Instant> {
        let users = self.users();
        let mut at = users.last? + policy.freeze_after;
        if users.present > 0 {
            return None;
        }
        for traffic in users.connections.values() {
            if traffic.is_owed() {
                return None;
            }
            let last = self.epoch + Duration::from_millis(traffic.last.load(Ordering::SeqCst));
            let quiet = policy.quiet_connection_after?;
            at = at.max(last + quiet).max(last + policy.freeze_after);
        }
        Some(at)
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        // Every write is a single assignment or map operation.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Keeps a container awake until dropped.
#[derive(Debug)]
pub(crate) struct Use(Arc<Activity>);

impl Use {
    /// The connection is made: from now on its bytes decide.
    pub(crate) fn connected(self) -> Connected {
        let activity = Arc::clone(&self.0);
        let traffic = Arc::new(Traffic {
            last: AtomicU64::new(activity.now()),
            ..Traffic::default()
        });
        let mut users = activity.users();
        let key = users.next;
        users.next += 1;
        users.connections.insert(key, Arc::clone(&traffic));
        drop(users);
        Connected {
            activity,
            traffic,
            key,
        }
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let mut users = self.0.users();
        users.present -= 1;
        users.last = Some(Instant::now());
        drop(users);
        self.0.eased.notify_waiters();
    }
}

/// An open connection into a container, as its carrier reports on it. Dropped when it is closed.
#[derive(Debug)]
pub struct Connected {
    activity: Arc<Activity>,
    traffic: Arc<Traffic>,
    key: u64,
}

impl Connected {
    /// Bytes go into the container; to be called before or right after they are written. Wakes it.
    pub fn inbound(&self) {
        self.traffic.owed.store(true, Ordering::SeqCst);
        self.moved();
        if self.activity.is_asleep() {
            self.activity.wanted.notify_one();
        }
    }

    /// These bytes came out of it.
    pub fn outbound(&self, bytes: &[u8]) {
        let owed = self.traffic.owed.swap(false, Ordering::SeqCst);
        if owed && bytes.starts_with(UPGRADED) {
            self.traffic.upgraded.store(true, Ordering::SeqCst);
        }
        self.moved();
        if owed {
            self.activity.eased.notify_waiters();
        }
    }

    /// Whether another container of the same name is to take the place of the one it leads to.
    pub fn gives_way(&self) -> bool {
        self.activity.retired.load(Ordering::SeqCst)
    }

    /// The client has ended its stream: nothing more goes in.
    pub fn finished(&self) {
        self.traffic.finished.store(true, Ordering::SeqCst);
    }

    fn moved(&self) {
        self.traffic
            .last
            .store(self.activity.now(), Ordering::SeqCst);
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut users = self.activity.users();
        users.connections.remove(&self.key);
        let last = self.traffic.last.load(Ordering::SeqCst);
        let last = self.activity.epoch + Duration::from_millis(last);
        // The last byte counts, not the closing: a pooled connection is closed long after.
        users.last = Some(users.last.map_or(last, |before| before.max(last)));
        drop(users);
        self.activity.eased.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: SleepPolicy = SleepPolicy {
        freeze_after: Duration::from_secs(10),
        quiet_connection_after: Some(Duration::from_secs(60)),
        checkpoint_after: None,
    };

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    fn idle_in(activity: &Activity) -> Option<u64> {
        let at = activity.idle_at(&POLICY)?;
        Some(at.saturating_duration_since(Instant::now()).as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_container_that_was_never_used_stays_awake() {
        let activity = Activity::new();
        pass(1000).await;
        assert_eq!(idle_in(&activity), None);
        drop(activity.begin());
        assert_eq!(idle_in(&activity), Some(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_an_answer_is_active_however_long_it_takes() {
        let activity = Activity::new();
        let connection = activity.begin().connected();
        connection.inbound();
        pass(100_000).await;
        assert_eq!(idle_in(&activity), None);
        connection.outbound(b"HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(idle_in(&activity), Some(60));
        pass(20).await;
        assert_eq!(idle_in(&activity), Some(40));
        drop(connection);
        assert_eq!(idle_in(&activity), Some(0), "20 s since the last byte");
    }

    #[tokio::test(start_paused = true)]
    async fn an_upgraded_connection_owes_nothing() {
        let activity = Activity::new();
        let socket = activity.begin().connected();
        socket.inbound();
        socket.outbound(b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
        socket.inbound();
        assert_eq!(idle_in(&activity), Some(60));
        let strict = SleepPolicy {
            quiet_connection_after: None,
            ..POLICY
        };
        assert_eq!(activity.idle_at(&strict), None);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_into_a_sleeper_wake_it_and_bytes_out_or_a_close_do_not() {
        let activity = Activity::new();
        let connection = activity.begin().connected();
        activity.set_asleep(true);
        connection.outbound(b"x");
        let second = activity.begin().connected();
        drop(second);
        let woken = tokio::time::timeout(Duration::from_secs(1), activity.wanted.notified());
        assert!(woken.await.is_err());
        connection.inbound();
        activity.wanted.notified().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_ended_and_has_its_answer_holds_nothing() {
        let activity = Activity::new();
        let connection = activity.begin().connected();
        connection.inbound();
        connection.finished();
        assert!(activity.is_held(), "the answer is owed");
        connection.outbound(b"HTTP/1.1 200 OK\r\n\r\n");
        assert!(!activity.is_held());
        let open = activity.begin().connected();
        assert!(activity.is_held(), "another one is open");
        drop(open);
        assert!(!activity.is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn execs_keep_awake_until_they_end() {
        let activity = Activity::new();
        let exec = activity.begin();
        pass(100).await;
        assert_eq!(idle_in(&activity), None);
        drop(exec);
        assert_eq!(idle_in(&activity), Some(10));
    }
}
