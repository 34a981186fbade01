//! Reads what containers use, again and again and when they end, and counts requests: for the ledger and for
//! the figures.
//!
//! Owner of the readings: one task, which alone looks and hears. Invariant: whatever a container's meter shows
//! is counted once, also what it shows last: the engine says it with the container's end.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use berth_engine::{ContainerInfo, Engine, Event, Metered};
use berth_error::Report;
use berth_gateway::RequestEvent;
use berth_usage::{Amounts, Ledger, Subject, UsageError, Used};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::figures::Figures;
use super::watch::Watch;

/// Between two looks at all meters: what a server that is killed has not written down.
const PERIOD: Duration = Duration::from_secs(10);
/// What was used longer ago is forgotten.
const KEPT: Duration = Duration::from_secs(400 * 24 * 3600);

/// The meters of a server.
pub(super) struct Meters {
    engine: Engine,
    watch: Arc<Watch>,
    ledger: Ledger,
    pub(super) figures: Figures,
    state: Mutex<State>,
    /// Answered when everything until now has been counted and written down.
    asks: mpsc::Sender<oneshot::Sender<Result<(), String>>>,
}

#[derive(Default)]
struct State {
    /// By the container's id.
    readings: HashMap<String, Reading>,
    /// Counted, and not in the ledger yet.
    pending: BTreeMap<Subject, Amounts>,
}

/// What is known of a container.
struct Reading {
    subject: Subject,
    last: Metered,
    /// Of the start whose first `listen` has been counted.
    listened: Option<Instant>,
}

/// The task that looks. Ends with [`Reader::end`].
pub(super) struct Reader {
    meters: Arc<Meters>,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Meters {
    /// Opens `<directory>/usage.db` and begins to look.
    pub(super) fn start(
        directory: &Path,
        engine: &Engine,
        watch: &Arc<Watch>,
    ) -> Result<Reader, Report> {
        let ledger = Ledger::open(&directory.join("usage.db"))?;
        let oldest = now_ms().saturating_sub(millis(KEPT));
        ledger.forget_before(oldest)?;
        let (asks, asked) = mpsc::channel(8);
        let meters = Arc::new(Self {
            engine: engine.clone(),
            watch: Arc::clone(watch),
            ledger,
            figures: Figures::default(),
            state: Mutex::default(),
            asks,
        });
        let (events, stop) = (engine.events(), CancellationToken::new());
        let task = tokio::spawn(follow(Arc::clone(&meters), events, asked, stop.clone()));
        Ok(Reader { meters, task, stop })
    }

    /// A request has been answered.
    pub(super) fn request(&self, event: &RequestEvent) {
        self.figures.request(event);
        if let Some(site) = &event.site {
            let subject = Subject {
                app: site.to_string(),
                instance: String::new(),
                label: String::new(),
            };
            let amounts = Amounts {
                requests: 1,
                ..Amounts::default()
            };
            *self.lock().pending.entry(subject).or_default() += amounts;
        }
    }

    /// What was used in a time (Unix milliseconds), until now.
    pub(super) async fn used(
        self: &Arc<Self>,
        from_ms: u64,
        until_ms: u64,
    ) -> Result<Vec<Used>, String> {
        self.refresh().await?;
        let meters = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || meters.ledger.between(from_ms, until_ms));
        let read = read.await.map_err(|error| error.to_string())?;
        read.map_err(|error| berth_error::chain(&error))
    }

    /// Returns when what containers have used until now has been counted and written down.
    pub(super) async fn refresh(&self) -> Result<(), String> {
        let ending = || "the server is ending".to_owned();
        let (answer, answered) = oneshot::channel();
        self.asks.send(answer).await.map_err(|_| ending())?;
        answered.await.map_err(|_| ending())?
    }

    /// Looks at the meter of every container.
    fn look_at_all(&self) {
        for container in self.engine.list() {
            if let Some(metered) = self.engine.metered(&container.name) {
                self.look(&container, metered);
            }
        }
    }

    fn hear(&self, event: &Event) {
        match event {
            Event::Created(container) => self.look(container, Metered::default()),
            Event::Started(container) => self.started(container),
            Event::StartFailed(container) => {
                if let Some(app) = self.app(&container.id) {
                    self.figures.start_failed(&app);
                }
            }
            Event::Exited(container) => {
                if let Some(used) = container.used {
                    self.look(container, used);
                }
            }
            Event::Removed(container) => {
                self.lock().readings.remove(&container.id);
            }
            Event::Adopted(container) => {
                if let Some(metered) = self.engine.metered(&container.name) {
                    self.look(container, metered);
                }
            }
            Event::CreateFailed { .. } | Event::Asleep(_) | Event::Awake(_) | Event::Log { .. } => {
            }
        }
    }

    /// What has happened and was not heard yet.
    fn hear_all(&self, events: &mut Receiver<Event>) {
        loop {
            match events.try_recv() {
                Ok(event) => self.hear(&event),
                Err(TryRecvError::Lagged(lost)) => tracing::warn!(lost, "events were not counted"),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn started(&self, container: &ContainerInfo) {
        let (open, spawn) = (container.timings.open, container.timings.spawn);
        let after = open.zip(spawn).map(|(open, spawn)| open + spawn);
        self.look(container, Metered::default());
        let mut state = self.lock();
        let Some(reading) = state.readings.get(&container.id) else {
            return;
        };
        self.figures.started(&reading.subject.app, after);
        let subject = reading.subject.clone();
        state.pending.entry(subject).or_default().starts += 1;
    }

    /// Counts what a container has used since the last time.
    fn look(&self, container: &ContainerInfo, metered: Metered) {
        let mut state = self.lock();
        let state = &mut *state;
        if !state.readings.contains_key(&container.id) {
            // Of a container that is no app's there is no reading.
            let Some((app, instance)) = self.watch.owner(&container.name) else {
                return;
            };
            let subject = Subject {
                app,
                instance,
                label: container.display_name.clone(),
            };
            let reading = Reading {
                subject,
                // Nothing yet, unless the server before has counted it.
                last: metered,
                listened: None,
            };
            state.readings.insert(container.id.clone(), reading);
        }
        let Some(reading) = state.readings.get_mut(&container.id) else {
            return;
        };
        let app = &reading.subject.app;
        let more = more(container, &reading.last, &metered);
        if !more.is_zero() {
            self.figures.used(app, &more);
            let pending = state.pending.entry(reading.subject.clone());
            *pending.or_default() += more;
            reading.last = highest(&reading.last, &metered);
        }
        let timings = &container.timings;
        if let (Some(spawn), Some(listen)) = (timings.spawn, timings.first_listen)
            && reading.listened != timings.start
        {
            let after = timings.open.unwrap_or_default() + spawn + listen;
            self.figures.listens(app, after);
            reading.listened = timings.start;
        }
    }

    fn app(&self, container: &str) -> Option<String> {
        let state = self.lock();
        let reading = state.readings.get(container)?;
        Some(reading.subject.app.clone())
    }

    /// Brings to the ledger what has been counted. Blocks for as long as the disk takes.
    fn write_down(&self) -> Result<(), UsageError> {
        let pending = std::mem::take(&mut self.lock().pending);
        if pending.is_empty() {
            return Ok(());
        }
        let used = pending
            .into_iter()
            .map(|(subject, amounts)| Used { subject, amounts });
        let used: Vec<Used> = used.collect();
        let added = self.ledger.add(now_ms(), &used);
        if added.is_err() {
            let mut state = self.lock();
            for one in used {
                *state.pending.entry(one.subject).or_default() += one.amounts;
            }
        }
        added
    }

    async fn keep(self: &Arc<Self>) -> Result<(), String> {
        let meters = Arc::clone(self);
        let kept = tokio::task::spawn_blocking(move || {
            meters.look_at_all();
            meters.write_down()
        });
        let kept = kept.await.map_err(|error| error.to_string())?;
        kept.map_err(|error| {
            let error = berth_error::chain(&error);
            tracing::error!(error, "usage is not written down yet");
            error
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Additions only: a panic in between loses at most one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    pub(super) fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// Counts what has happened until now, and writes it down.
    pub(super) async fn end(self) {
        self.stop.cancel();
        // Only tells that it was aborted.
        let _ = self.task.await;
    }
}

async fn follow(
    meters: Arc<Meters>,
    mut events: Receiver<Event>,
    mut asked: mpsc::Receiver<oneshot::Sender<Result<(), String>>>,
    stop: CancellationToken,
) {
    let mut looks = tokio::time::interval(PERIOD);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = looks.tick() => drop(meters.keep().await),
            Some(answer) = asked.recv() => {
                meters.hear_all(&mut events);
                // Whoever asked may have left.
                let _ = answer.send(meters.keep().await);
            }
            event = events.recv() => match event {
                Ok(event) => meters.hear(&event),
                Err(RecvError::Lagged(lost)) => tracing::warn!(lost, "events were not counted"),
                Err(RecvError::Closed) => break,
            }
        }
    }
    meters.hear_all(&mut events);
    // It has said why not.
    let _ = meters.keep().await;
}

/// The larger of each: what a meter cannot read any more it leaves out.
fn highest(one: &Metered, other: &Metered) -> Metered {
    Metered {
        cpu: one.cpu.max(other.cpu),
        running: one.running.max(other.running),
        egress_bytes: one.egress_bytes.max(other.egress_bytes),
        ingress_bytes: one.ingress_bytes.max(other.ingress_bytes),
        ..*other
    }
}

/// What a container of this size has used between two readings.
fn more(container: &ContainerInfo, last: &Metered, now: &Metered) -> Amounts {
    let limits = &container.limits;
    let running = now.running.saturating_sub(last.running);
    let amounts = Amounts::of_size(
        u64::from(limits.cpu_milli.unwrap_or_default()),
        limits.memory_bytes.unwrap_or_default() >> 20,
        limits.disk_bytes.unwrap_or_default() / 1_000_000,
        millis(running),
    );
    let cpu = now.cpu.saturating_sub(last.cpu).as_nanos();
    Amounts {
        cpu_ns: u64::try_from(cpu).unwrap_or(u64::MAX),
        egress_bytes: now.egress_bytes.saturating_sub(last.egress_bytes),
        ingress_bytes: now.ingress_bytes.saturating_sub(last.ingress_bytes),
        ..amounts
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn now_ms() -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    millis(now)
}
