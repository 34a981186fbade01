//! How an actor begins: with a container that is to be made, or with one whose process runs already.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::restart::Restarts;
use super::{Actor, Home, Reply, Request, Shared};
use crate::hold::{Liveness, Up};
use crate::keep::Keeper;
use crate::launch::{Guest, Launcher};
use crate::log::{Capture, Sink, now_ms};
use crate::meter::Past;
use crate::process::Effective;
use crate::sleep::Sleep;
use crate::slots::Slots;
use crate::state::Lifecycle;
use crate::table::Lease;
use crate::{ContainerInfo, EngineError, Event, SleepPolicy};

/// What there is of a container whose process another daemon has started.
pub(crate) struct Adopted<G> {
    pub(crate) guest: G,
    pub(crate) capture: Capture,
    pub(crate) launches: u32,
    pub(crate) past: Past,
    pub(crate) kill_at_ms: Option<u64>,
}

/// Everything that was made ahead for a container.
#[derive(Debug)]
pub(crate) struct Prepared<L> {
    pub(crate) launcher: L,
    pub(crate) process: Effective,
    pub(crate) info: ContainerInfo,
    pub(crate) home: Home,
    pub(crate) sink: Sink,
    pub(crate) slots: Slots,
    /// When it goes to sleep.
    pub(crate) sleep: Option<SleepPolicy>,
    /// See [`crate::EngineConfig::criu`].
    pub(crate) criu: Option<PathBuf>,
    /// Who writes down what the next daemon must know; `None`: there is none.
    pub(crate) keeper: Option<Keeper>,
}

/// Prepares a container and lives its life.
pub(crate) async fn run<L: Launcher>(
    shared: Arc<Shared>,
    mailbox: mpsc::Receiver<Request>,
    lease: Lease,
    events: broadcast::Sender<Event>,
    prepare: impl Future<Output = Result<Prepared<L>, EngineError>>,
    created: Reply<ContainerInfo>,
) {
    let prepared = match prepare.await {
        Ok(prepared) => prepared,
        Err(error) => {
            drop(lease);
            // The caller may have gone; nothing was made.
            let _ = created.send(Err(error));
            return;
        }
    };
    let mut actor = Actor::new((shared, mailbox, lease, events), prepared);
    actor.publish();
    actor.tell(Event::Created);
    // A caller that has gone leaves the container behind, as Docker does.
    let _ = created.send(Ok(actor.info.clone()));
    actor.live().await;
}

/// What an actor has of its surroundings.
pub(crate) type Place = (
    Arc<Shared>,
    mpsc::Receiver<Request>,
    Lease,
    broadcast::Sender<Event>,
);

/// Lives on the life of a container whose process another daemon has started. Its information says how it
/// stands.
pub(crate) async fn adopt<L: Launcher>(
    place: Place,
    prepared: Prepared<L>,
    adopted: Adopted<L::Guest>,
    created: Reply<ContainerInfo>,
) {
    let mut actor = Actor::new(place, prepared);
    actor.adopted(adopted);
    let _ = created.send(Ok(actor.info.clone()));
    actor.live().await;
}

impl<L: Launcher> Actor<L> {
    fn new((shared, mailbox, lease, events): Place, prepared: Prepared<L>) -> Self {
        Self {
            shared,
            lease,
            mailbox,
            events,
            sink: prepared.sink,
            policy: prepared.sleep,
            criu: prepared.criu,
            sleep: Sleep::new(),
            unexplained: None,
            nap_at: None,
            sleepers: VecDeque::new(),
            pausers: Vec::new(),
            launcher: Arc::new(prepared.launcher),
            process: Arc::new(prepared.process),
            slots: prepared.slots,
            slot: None,
            restarts: Restarts::new(prepared.info.policy.restart),
            started: Instant::now(),
            restart_at: None,
            home: prepared.home,
            info: prepared.info,
            life: Lifecycle::new(),
            tasks: JoinSet::new(),
            guest: None,
            launches: 0,
            listen_watch: None,
            starting: None,
            deferred: VecDeque::new(),
            waiters: Vec::new(),
            removers: Vec::new(),
            kill_at: None,
            keeper: prepared.keeper,
            past: Past::default(),
            kill_at_ms: None,
            orphaned: false,
        }
    }

    /// The process runs, or has ended since and is about to be reported so.
    pub(super) fn adopted(&mut self, adopted: Adopted<L::Guest>) {
        let guest = adopted.guest;
        let now = now_ms();
        let ran = now.saturating_sub(self.info.started_ms.unwrap_or(now));
        let ran = Duration::from_millis(ran);
        // When it started up is over: connections are not held.
        let since = Instant::now().checked_sub(ran).unwrap_or_else(Instant::now);
        self.started = since;
        self.life = Lifecycle::running();
        self.launches = adopted.launches;
        self.past = adopted.past;
        self.kill_at_ms = adopted.kill_at_ms;
        self.kill_at = adopted
            .kill_at_ms
            .map(|at| Instant::now() + Duration::from_millis(at.saturating_sub(now)));
        self.info.pid = Some(guest.pid());
        self.info.rest = None;
        if let Some(limit) = &self.info.policy.instances {
            self.slot = Some(self.slots.keep(limit, &self.info.limits));
        }
        let listening = guest.listening();
        self.attend(guest.clone(), adopted.capture, since);
        let metered = guest.clone();
        let memory = self.info.limits.memory_bytes.unwrap_or_default();
        let read = Arc::new(move || metered.usage());
        let meter = &self.shared.meter;
        meter.resume(self.past, ran, memory, read);
        self.guest = Some(guest);
        self.note();
        let up = Up { since, listening };
        self.shared.liveness.send_replace(Liveness::Up(up));
        self.wind_up();
        self.publish();
        self.tell(Event::Adopted);
    }
}
