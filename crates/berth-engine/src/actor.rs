//! The one task that owns a container.
//!
//! Callers hold a [`Handle`] and send [`Request`]s that carry their reply; what is legal is decided
//! by [`crate::state`]; long work (launching, waiting, cleaning) runs in tasks of the actor's own
//! that report [`Fact`]s. Facts outrank requests, so a request never sees a state older than what
//! is already known. A caller that goes away only loses its answer: what it asked for is finished.
//!
//! The actor ends when its container is gone, and only then; if every handle is dropped (the engine
//! itself is gone) it removes the container first.

mod begin;
mod facts;
mod handle;
mod rest;
mod restart;
mod tasks;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use berth_jail::ExitStatus;
use futures_util::FutureExt as _;
use tokio::sync::{broadcast, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

pub(crate) use begin::{Adopted, Prepared, adopt, run};
pub(crate) use handle::{Handle, Reply, Request, Shared};
use restart::Restarts;
use tasks::Fact;
pub(crate) use tasks::Home;

use crate::hold::Liveness;
use crate::keep::Keeper;
use crate::keep::record::Now;
use crate::launch::{Guest, Launcher};
use crate::log::{Sink, now_ms};
use crate::meter::Past;
use crate::process::Effective;
use crate::sleep::Sleep;
use crate::slots::{Slot, Slots};
use crate::state::{Ask, Decision, Happened, Lifecycle, Order, Refusal};
use crate::table::Lease;
use crate::{ContainerInfo, EngineError, Event, SleepPolicy};

/// What the waiters of a container learn that was removed before it could end by itself.
const REMOVED: ExitStatus = ExitStatus {
    code: 137,
    signal: Some(9),
    oom_killed: false,
};

struct Actor<L: Launcher> {
    shared: Arc<Shared>,
    // Before the mailbox: should the actor panic, the name is free when its callers learn of it.
    lease: Lease,
    mailbox: mpsc::Receiver<Request>,
    events: broadcast::Sender<Event>,
    sink: Sink,
    launcher: Arc<L>,
    process: Arc<Effective>,
    home: Home,
    info: ContainerInfo,
    life: Lifecycle,
    tasks: JoinSet<Fact<L::Guest>>,
    /// The latest launch, while its process lives.
    guest: Option<L::Guest>,
    launches: u32,
    listen_watch: Option<AbortHandle>,
    /// The caller whose start is in flight.
    starting: Option<Reply<()>>,
    deferred: VecDeque<Request>,
    /// When it goes to sleep; `None`: never.
    policy: Option<SleepPolicy>,
    sleep: Sleep,
    criu: Option<PathBuf>,
    /// It ended while it was being restored.
    unexplained: Option<ExitStatus>,
    /// When to look whether it is time to rest.
    nap_at: Option<Instant>,
    /// Decided again when the container is awake.
    sleepers: VecDeque<Request>,
    /// Callers whose pause is under way.
    pausers: Vec<Reply<()>>,
    waiters: Vec<Reply<ExitStatus>>,
    removers: Vec<Reply<()>>,
    /// When a `stop` loses its patience.
    kill_at: Option<Instant>,
    slots: Slots,
    /// Held from the start to the end of a process.
    slot: Option<Slot>,
    restarts: Restarts,
    /// When the latest process was exec'ed.
    started: Instant,
    /// When its restart policy starts it again.
    restart_at: Option<Instant>,
    /// Who writes down what the next daemon must know; `None`: there is none.
    keeper: Option<Keeper>,
    /// What it had used before its process was started.
    past: Past,
    /// [`Actor::kill_at`] for the next daemon, in Unix milliseconds.
    kill_at_ms: Option<u64>,
    /// Every handle has been dropped.
    orphaned: bool,
}

impl<L: Launcher> Actor<L> {
    async fn live(mut self) {
        loop {
            let kill_at = self.kill_at.unwrap_or_else(Instant::now);
            let restart_at = self.restart_at.unwrap_or_else(Instant::now);
            let nap_at = self.nap_at.unwrap_or_else(Instant::now);
            let activity = Arc::clone(&self.shared.activity);
            tokio::select! {
                biased;
                Some(fact) = self.tasks.join_next() => match fact {
                    Ok(Fact::Cleaned) => break,
                    Ok(fact) => self.learn(fact),
                    // Only the watch for the first listen is ever aborted.
                    Err(_) => {}
                },
                request = self.mailbox.recv(), if !self.orphaned => match request {
                    Some(request) => self.handle(request),
                    None => {
                        self.orphaned = true;
                        self.remove(true, None);
                    }
                },
                () = tokio::time::sleep_until(kill_at), if self.kill_at.is_some() => {
                    self.kill_at = None;
                    self.kill_all();
                }
                () = tokio::time::sleep_until(restart_at), if self.restart_at.is_some() => {
                    self.restart();
                }
                () = activity.wanted.notified(), if !self.orphaned => self.nudged(),
                () = tokio::time::sleep_until(nap_at), if self.nap_at.is_some() => self.nap(),
                else => break,
            }
        }
        self.finish();
    }

    fn handle(&mut self, request: Request) {
        let Some(request) = self.awake_first(request) else {
            return;
        };
        let decision = match request.ask() {
            Ask::Remove { force } => {
                let Request::Remove { reply, .. } = request else {
                    return;
                };
                return self.remove(force, Some(reply));
            }
            // Nothing has changed yet: a refused start leaves the container as it is.
            Ask::Start if self.life.could_start() => match self.take_slot() {
                Ok(()) => self.life.decide(Ask::Start),
                Err(error) => return request.refuse(error),
            },
            ask => self.life.decide(ask),
        };
        if self.restart_at.is_some() && self.cancel_restart(&request) {
            let Request::Kill { reply, .. } = request else {
                return;
            };
            // It was about to run; now it stays down, which is what the caller wants.
            return drop(reply.send(Ok(())));
        }
        match (decision, request) {
            (Decision::Defer, request) => self.deferred.push_back(request),
            (Decision::Refuse(refusal), request) => {
                request.refuse(self.refusal(refusal));
            }
            (Decision::BeginStart, Request::Start(reply)) => {
                self.restarts.started_by_request();
                self.begin_start(Some(reply));
            }
            (Decision::AnswerExit, Request::Wait(reply) | Request::Stop { reply, .. }) => {
                let _ = reply.send(Ok(self.info.exit.unwrap_or(REMOVED)));
            }
            (Decision::Park, Request::Wait(reply) | Request::Stop { reply, .. }) => {
                self.park(reply);
            }
            (
                Decision::Signal,
                Request::Kill {
                    signal,
                    insist,
                    reply,
                },
            ) => {
                self.restarts.asked_to_end();
                if insist {
                    self.lose_patience_after(self.info.policy.stop_grace);
                }
                let _ = reply.send(self.signal(signal));
            }
            (Decision::Terminate, Request::Stop { grace, reply }) => {
                self.restarts.asked_to_end();
                match self.signal(self.process.stop_signal) {
                    Ok(()) | Err(EngineError::NotRunning(_)) => {
                        self.lose_patience_after(grace);
                        self.park(reply);
                    }
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            (Decision::Rest, request) => self.rest(request),
            (Decision::Exec, Request::Exec { spec, reply }) => self.exec(spec, reply),
            (Decision::Visit, Request::Visit(reply)) => drop(reply.send(self.visit())),
            (decision, request) => {
                tracing::error!(?decision, "a decision that does not fit its request");
                request.refuse(EngineError::NotRunning(self.info.name.clone()));
            }
        }
    }

    fn refusal(&self, refusal: Refusal) -> EngineError {
        let name = self.info.name.clone();
        match refusal {
            Refusal::AlreadyRunning => EngineError::AlreadyRunning(name),
            Refusal::NotRunning => EngineError::NotRunning(name),
            Refusal::StillRunning => EngineError::StillRunning(name),
            Refusal::BeingRemoved => EngineError::BeingRemoved(name),
        }
    }

    fn park(&mut self, reply: Reply<ExitStatus>) {
        self.waiters.retain(|waiter| !waiter.is_closed());
        self.waiters.push(reply);
    }

    fn signal(&self, signal: i32) -> Result<(), EngineError> {
        let name = || self.info.name.clone();
        match self.guest.as_ref().map(|guest| guest.kill(signal)) {
            Some(Ok(true)) => Ok(()),
            Some(Ok(false)) | None => Err(EngineError::NotRunning(name())),
            Some(Err(source)) => Err(EngineError::Jail {
                step: "signal",
                name: name(),
                source,
            }),
        }
    }

    fn visit(&self) -> Result<crate::visit::Visit, EngineError> {
        let name = &self.info.name;
        let parts = self.launcher.parts();
        let sandbox = self.guest.as_ref().and_then(Guest::sandbox);
        // Nobody waits to close the gate: no start is in flight and nothing is being cleaned.
        let visit = self.shared.gate.enter(name, parts, sandbox);
        visit.ok_or_else(|| EngineError::BeingRemoved(name.clone()))
    }

    fn exec(&self, spec: crate::ExecSpec, reply: Reply<crate::Exec>) {
        let name = self.info.name.clone();
        let Some(guest) = self.guest.clone() else {
            return drop(reply.send(Err(EngineError::NotRunning(name))));
        };
        let process = if self.shared.trusts_ca.load(Ordering::Relaxed) {
            Arc::new(self.process.trusting())
        } else {
            Arc::clone(&self.process)
        };
        let using = self.shared.activity.begin();
        tokio::spawn(crate::exec::run(guest, name, process, spec, using, reply));
    }

    /// Kills it then, unless it has ended or is to be killed earlier.
    fn lose_patience_after(&mut self, grace: Duration) {
        let patience = Instant::now() + grace;
        self.kill_at = Some(self.kill_at.map_or(patience, |at| at.min(patience)));
        let grace = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let patience = now_ms().saturating_add(grace);
        self.kill_at_ms = Some(self.kill_at_ms.map_or(patience, |at| at.min(patience)));
        self.note();
    }

    /// Writes down how the container stands, for the next daemon.
    fn note(&mut self) {
        let now = Now {
            info: self.info.clone(),
            launches: self.launches,
            trusts_ca: self.shared.trusts_ca.load(Ordering::Relaxed),
            past: self.past,
            kill_at_ms: self.kill_at_ms,
        };
        if let Some(keeper) = self.keeper.as_mut().filter(|_| self.guest.is_some()) {
            keeper.write(now);
        }
    }

    /// A slot among the instances of its application, or why there is none.
    fn take_slot(&mut self) -> Result<(), EngineError> {
        if let (Some(limit), None) = (&self.info.policy.instances, &self.slot) {
            let slot = self.slots.take(limit, &self.info.limits);
            self.slot = Some(slot.map_err(|full| full.error(&self.info.display_name))?);
        }
        Ok(())
    }

    /// Whether the request ends the wait for a restart, and was thereby answered: a kill.
    fn cancel_restart(&mut self, request: &Request) -> bool {
        let answered = matches!(request, Request::Kill { .. });
        let cancels = answered || matches!(request, Request::Start(_) | Request::Stop { .. });
        if cancels {
            self.restart_at = None;
            self.publish();
        }
        answered
    }

    /// What the restart policy wants, now that the pause is over.
    fn restart(&mut self) {
        self.restart_at = None;
        if let Err(error) = self.take_slot() {
            tracing::warn!(container = %self.info.display_name, %error, "not started again");
            return self.publish();
        }
        if self.life.decide(Ask::Start) == Decision::BeginStart {
            self.info.restart_count = self.restarts.count();
            self.begin_start(None);
        }
    }

    fn begin_start(&mut self, reply: Option<Reply<()>>) {
        self.launches += 1;
        self.starting = reply;
        self.info.exit = None;
        self.info.error = None;
        self.info.finished_ms = None;
        self.info.timings.start = Some(std::time::Instant::now());
        self.shared.liveness.send_replace(Liveness::Starting);
        self.publish();
        let launcher = Arc::clone(&self.launcher);
        let launch = tasks::launch(
            launcher,
            self.launches,
            self.sink.clone(),
            self.shared.gate.clone(),
        );
        let panicked = Err(EngineError::Kernel {
            step: "make a process",
            name: self.info.name.clone(),
            source: std::io::Error::other("the task that starts it panicked"),
        });
        self.spawn(launch, Fact::Launched(panicked));
    }

    /// Begins or joins the removal; the answer comes when everything is gone.
    fn remove(&mut self, force: bool, reply: Option<Reply<()>>) {
        match self.life.decide(Ask::Remove { force }) {
            Decision::Refuse(refusal) => {
                if let Some(reply) = reply {
                    let _ = reply.send(Err(self.refusal(refusal)));
                }
                return;
            }
            Decision::BeginRemoval(first) => {
                self.restart_at = None;
                self.restarts.asked_to_end();
                self.shared.liveness.send_replace(Liveness::Down);
                self.shared.gate.hurry();
                self.publish();
                berth_jail::crash_point("remove.begun");
                if let Some(order) = first {
                    self.obey(order);
                }
            }
            _ => {}
        }
        self.removers.extend(reply);
    }

    /// Runs a task; should it panic, `fallback` is its fact, so that nobody waits for it for ever.
    fn spawn(
        &mut self,
        task: impl Future<Output = Fact<L::Guest>> + Send + 'static,
        fallback: Fact<L::Guest>,
    ) -> AbortHandle {
        let task = AssertUnwindSafe(task).catch_unwind();
        self.tasks
            .spawn(async move { task.await.unwrap_or(fallback) })
    }

    fn obey_all(&mut self, orders: &[Order]) {
        for order in orders {
            self.obey(*order);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::SettleWaits => self.settle_waits(),
            Order::ReplayDeferred => {
                for request in std::mem::take(&mut self.deferred) {
                    self.handle(request);
                }
            }
            Order::Kill => self.kill_all(),
            Order::Clean => {
                self.settle_waits();
                self.sink.store.close();
                // The last of it: `self` keeps only the path.
                let disk = self.home.disk.take();
                let home = Home {
                    disk,
                    ..self.home.clone()
                };
                let clean = tasks::clean(home, self.shared.gate.clone());
                self.spawn(clean, Fact::Cleaned);
            }
            Order::Finish => {}
        }
    }

    fn settle_waits(&mut self) {
        let status = self.info.exit.unwrap_or(REMOVED);
        for waiter in self.waiters.drain(..) {
            let _ = waiter.send(Ok(status));
        }
    }

    fn kill_all(&mut self) {
        if let Some(guest) = self.guest.clone() {
            let kill = tasks::kill_all(guest, Arc::clone(&self.shared));
            self.spawn(kill, Fact::Killed);
        }
    }

    fn publish(&mut self) {
        self.info.status = self.life.status();
        self.info.restarting = self.restart_at.is_some();
        let info = Arc::new(self.info.clone());
        self.shared.info.send_replace(Some(info));
    }

    fn tell(&self, event: fn(ContainerInfo) -> Event) {
        // An error means that nobody listens.
        let _ = self.events.send(event(self.info.clone()));
    }

    /// Everything is gone: frees ids and name, then answers whoever waits for that.
    fn finish(mut self) {
        let _ = self.life.observe(Happened::Cleaned);
        self.settle_waits();
        self.shared.info.send_replace(None);
        drop(self.launcher);
        drop(self.lease);
        // `Handle::gone` resolves from here on.
        self.mailbox.close();
        let _ = self.events.send(Event::Removed(self.info.clone()));
        let exit = self.info.exit.unwrap_or(REMOVED);
        while let Ok(request) = self.mailbox.try_recv() {
            match request {
                Request::Wait(reply) | Request::Stop { reply, .. } => drop(reply.send(Ok(exit))),
                Request::Remove { reply, .. } => self.removers.push(reply),
                other => other.refuse(EngineError::NoSuchContainer(self.info.name.clone())),
            }
        }
        for remover in self.removers {
            let _ = remover.send(Ok(()));
        }
    }
}

#[cfg(test)]
mod tests;
