//! What Workers do, told to the Workers that they name in `tail_consumers`.
//!
//! Invariants: nobody waits for a consumer, neither the Worker that it is about nor another consumer; what waits
//! for one is bounded, and what is dropped is said in its log; an event is delivered once, or a second time when
//! the consumer was replaced in the middle of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use berth_logs::{Entry, Level, Logs, Source};
use berth_workerd::{CONSUMED_HEADER, Entrypoint};
use bytes::Bytes;
use http::{Method, Request};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::serve::reach::Reach;
use crate::serve::unix::{self, SendError};

/// Events that wait for one consumer.
const MOST_EVENTS: usize = 10_000;
/// Their bytes.
const MOST_BYTES: usize = 16 << 20;
/// Events of one call.
const CALL_EVENTS: usize = 100;
/// Their bytes, unless one alone has more.
const CALL_BYTES: usize = 1 << 20;
/// Calls of one consumer at the same time.
const AT_ONCE: usize = 8;
/// How long a call may take.
const LIMIT: Duration = Duration::from_secs(5 * 60);
/// Pause before a socket that is not there yet is tried again: the Worker runs, but as no consumer yet.
const RETRY: Duration = Duration::from_millis(50);
/// What is dropped is said once in this time.
const NOTICE: Duration = Duration::from_secs(10);

/// A Worker that is told.
#[derive(Debug)]
pub(in crate::serve) struct Consumer {
    pub(in crate::serve) name: String,
    pub(in crate::serve) reach: watch::Receiver<Reach>,
}

/// What waits for each of them.
#[derive(Debug)]
pub(super) struct Consumers {
    logs: Logs,
    /// By the Worker's id.
    queues: Mutex<BTreeMap<String, Queue>>,
}

#[derive(Debug)]
struct Queue {
    waiting: Arc<Waiting>,
    task: JoinHandle<()>,
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Consumers {
    pub(super) fn new(logs: Logs) -> Self {
        let queues = Mutex::default();
        Self { logs, queues }
    }

    /// Says who is told, by id. What waits for others is given up.
    pub(super) fn replace(&self, wanted: BTreeMap<String, Consumer>) {
        let mut queues = self.lock();
        queues.retain(|id, queue| wanted.contains_key(id) && !queue.task.is_finished());
        for (id, consumer) in wanted {
            queues.entry(id).or_insert_with(|| {
                let waiting = Arc::new(Waiting::new(consumer.name, self.logs.clone()));
                let task = tokio::spawn(deliver(Arc::clone(&waiting), consumer.reach));
                Queue { waiting, task }
            });
        }
    }

    /// Tells one of an event of the Worker `of`.
    pub(super) fn tell(&self, consumer: &str, of: &str, json: &Arc<str>) {
        if let Some(queue) = self.lock().get(consumer) {
            queue.waiting.push(Event {
                of: of.to_owned(),
                json: Arc::clone(json),
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Queue>> {
        // Each change is one of the map.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Debug)]
struct Event {
    /// The Worker's name.
    of: String,
    json: Arc<str>,
}

/// What waits for one consumer.
#[derive(Debug)]
struct Waiting {
    consumer: String,
    logs: Logs,
    line: Mutex<Line>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Line {
    events: VecDeque<Event>,
    bytes: usize,
    /// And nobody has been told.
    dropped: u64,
    said: Option<Instant>,
}

impl Waiting {
    fn new(consumer: String, logs: Logs) -> Self {
        Self {
            consumer,
            logs,
            line: Mutex::default(),
            more: Notify::new(),
        }
    }

    fn push(&self, event: Event) {
        let mut line = self.lock();
        let full = line.events.len() >= MOST_EVENTS || line.bytes + event.json.len() > MOST_BYTES;
        if full {
            line.dropped += 1;
            let due = line.said.is_none_or(|said| said.elapsed() >= NOTICE);
            if due {
                self.say_dropped(&mut line);
            }
            return;
        }
        line.bytes += event.json.len();
        line.events.push_back(event);
        drop(line);
        self.more.notify_one();
    }

    /// Those of a call that was none wait again, before the others.
    fn back(&self, call: Vec<Event>) {
        let mut line = self.lock();
        for event in call.into_iter().rev() {
            line.bytes += event.json.len();
            line.events.push_front(event);
        }
        drop(line);
        self.more.notify_one();
    }

    /// Waits until there are some.
    async fn some(&self) {
        while self.lock().events.is_empty() {
            self.more.notified().await;
        }
    }

    /// Takes those of the next call.
    fn take(&self) -> Vec<Event> {
        let mut line = self.lock();
        let mut call: Vec<Event> = Vec::new();
        let mut bytes = 0;
        while call.len() < CALL_EVENTS
            && let Some(event) = line.events.front()
            && (call.is_empty() || bytes + event.json.len() <= CALL_BYTES)
            && let Some(event) = line.events.pop_front()
        {
            bytes += event.json.len();
            call.push(event);
        }
        line.bytes -= bytes;
        if line.dropped > 0 {
            self.say_dropped(&mut line);
        }
        call
    }

    fn say_dropped(&self, line: &mut Line) {
        let count = std::mem::take(&mut line.dropped);
        line.said = Some(Instant::now());
        let why = "too many wait, because it does not run or is too slow";
        self.say(count, why);
    }

    fn say(&self, count: u64, why: &str) {
        let text = format!("its tail() handler was not told of {count} invocations: {why}");
        let entry = Entry::new(&self.consumer, Source::System, Level::Warn, text);
        self.logs.write(entry);
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // A count that is wrong by one event harms nobody.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls the consumer until it is deleted.
async fn deliver(waiting: Arc<Waiting>, mut reach: watch::Receiver<Reach>) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut calls = JoinSet::new();
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        waiting.some().await;
        let running = reach.wait_for(|reach| matches!(reach, Reach::At { .. }));
        let Ok(Reach::At { listen, .. }) = running.await.map(|reach| reach.clone()) else {
            return;
        };
        // It has changed if the consumer is replaced from here on.
        reach.mark_unchanged();
        let (waiting, reach) = (Arc::clone(&waiting), reach.clone());
        let socket = Entrypoint::tail().socket(&listen);
        let call = waiting.take();
        calls.spawn(async move {
            call_once(&waiting, &reach, &socket, call).await;
            drop(permit);
        });
        while calls.try_join_next().is_some() {}
    }
}

async fn call_once(
    waiting: &Waiting,
    reach: &watch::Receiver<Reach>,
    socket: &std::path::Path,
    call: Vec<Event>,
) {
    let Some(request) = request(&call) else {
        return;
    };
    let count = u64::try_from(call.len()).unwrap_or(u64::MAX);
    match tokio::time::timeout(LIMIT, unix::send(socket, request)).await {
        // Or it has failed, which its own log says.
        Ok(Ok(_)) => {}
        Ok(Err(SendError::Unsent(_))) => {
            tokio::time::sleep(RETRY).await;
            waiting.back(call);
        }
        Ok(Err(SendError::Broken(_))) if was_replaced(reach) => waiting.back(call),
        Ok(Err(SendError::Broken(_))) => waiting.say(count, "its process ended meanwhile"),
        Err(_) => waiting.say(count, "it took longer than five minutes"),
    }
}

/// A Worker is replaced by others, but ends by itself.
fn was_replaced(reach: &watch::Receiver<Reach>) -> bool {
    reach.has_changed().unwrap_or(false) && *reach.borrow() != Reach::Crashed
}

fn request(call: &[Event]) -> Option<Request<Bytes>> {
    let of: Vec<&str> = call.iter().map(|event| event.of.as_str()).collect();
    let events: Vec<&str> = call.iter().map(|event| &*event.json).collect();
    let body = Bytes::from(format!("[{}]", events.join(",")));
    let request = Request::builder().method(Method::POST).uri("/");
    let request = request.header(CONSUMED_HEADER, of.join(","));
    request.body(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(directory: &tempfile::TempDir) -> Waiting {
        let logs = Logs::open(directory.path(), berth_logs::LogsOptions::default()).unwrap();
        Waiting::new("b".to_owned(), logs)
    }

    fn event(bytes: usize) -> Event {
        Event {
            of: "a".to_owned(),
            json: "x".repeat(bytes).into(),
        }
    }

    #[test]
    fn what_waits_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let waiting = waiting(&directory);
        for _ in 0..MOST_EVENTS + 3 {
            waiting.push(event(1));
        }
        assert_eq!(waiting.lock().events.len(), MOST_EVENTS);
        // The first was said at once, the others are said with the next call.
        assert_eq!(waiting.lock().dropped, 2);
        assert_eq!(waiting.take().len(), CALL_EVENTS);
        assert_eq!(waiting.lock().dropped, 0);
        assert_eq!(waiting.lock().bytes, MOST_EVENTS - CALL_EVENTS);
    }

    #[test]
    fn calls_are_of_a_bounded_size_and_keep_their_order() {
        let directory = tempfile::tempdir().unwrap();
        let waiting = waiting(&directory);
        for bytes in [CALL_BYTES + 1, 5, CALL_BYTES - 5, 7] {
            waiting.push(event(bytes));
        }
        waiting.push(event(MOST_BYTES));
        let sizes =
            |call: &[Event]| -> Vec<usize> { call.iter().map(|event| event.json.len()).collect() };
        let first = waiting.take();
        assert_eq!(sizes(&first), [CALL_BYTES + 1]);
        let second = waiting.take();
        assert_eq!(sizes(&second), [5, CALL_BYTES - 5]);
        waiting.back(second);
        assert_eq!(sizes(&waiting.take()), [5, CALL_BYTES - 5]);
        assert_eq!(sizes(&waiting.take()), [7]);
        assert_eq!(waiting.lock().bytes, 0);
    }
}
