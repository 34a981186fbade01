//! What an actor does about sleep: the clock that puts its container to rest, and who wakes it.
//!
//! [`crate::sleep`] decides, [`crate::activity`] says what idle is; here the orders are carried out
//! and those who need the container awake wait.

use std::path::PathBuf;
use std::time::Duration;

use berth_jail::JailError;
use tokio::time::Instant;

use super::tasks::{self, Fact};
use super::{Actor, Reply, Request};
use crate::launch::{Guest as _, Launcher};
use crate::log::now_ms;
use crate::meter::Clock;
use crate::sleep::{Depth, Order, Readiness};
use crate::state::Ask;
use crate::{EngineError, Event, Rest, Status};

impl<L: Launcher> Actor<L> {
    /// Gives the request back if the container is awake for it; otherwise it comes again.
    pub(super) fn awake_first(&mut self, request: Request) -> Option<Request> {
        let signal = match request.ask() {
            Ask::Kill | Ask::Stop => true,
            Ask::Exec => false,
            // A frozen container's files are there to be looked at.
            Ask::Visit if self.sleep.has_left_memory() => false,
            _ => return Some(request),
        };
        if self.life.status() != Status::Running {
            return Some(request);
        }
        match self.sleep.need(signal) {
            Readiness::Now => Some(request),
            Readiness::Later(order) => {
                self.sleepers.push_back(request);
                self.carry_out(order);
                None
            }
            Readiness::Paused => {
                request.refuse(EngineError::Paused(self.info.name.clone()));
                None
            }
        }
    }

    /// Wake, pause, unpause of a running container.
    pub(super) fn rest(&mut self, request: Request) {
        let name = || self.info.name.clone();
        match request {
            Request::Wake(reply) => match self.sleep.need(false) {
                // A connection to a paused container is made, and waits inside, as with Docker.
                Readiness::Now | Readiness::Paused => drop(reply.send(Ok(()))),
                Readiness::Later(order) => {
                    self.sleepers.push_back(Request::Wake(reply));
                    self.carry_out(order);
                }
            },
            Request::Pause(reply) => self.pause(reply),
            Request::Unpause(reply) => match self.sleep.unpause() {
                None => drop(reply.send(Err(EngineError::NotPaused(name())))),
                Some(Readiness::Later(order)) => {
                    self.answer_pausers();
                    self.sleepers.push_back(Request::Wake(reply));
                    self.carry_out(order);
                }
                Some(_) => drop(reply.send(Ok(()))),
            },
            other => other.refuse(EngineError::NotRunning(name())),
        }
    }

    fn pause(&mut self, reply: Reply<()>) {
        match self.sleep.pause() {
            Readiness::Paused => {
                let name = self.info.name.clone();
                let _ = reply.send(Err(EngineError::Paused(name)));
            }
            Readiness::Now => {
                self.fell_asleep(Rest::Paused, Clock::Frozen);
                let _ = reply.send(Ok(()));
            }
            Readiness::Later(order @ Some(Order::Freeze)) => {
                self.pausers.push(reply);
                self.shared.activity.set_asleep(true);
                self.carry_out(order);
            }
            Readiness::Later(order) => {
                self.sleepers.push_back(Request::Pause(reply));
                self.carry_out(order);
            }
        }
    }

    fn answer_pausers(&mut self) {
        for pauser in self.pausers.drain(..) {
            let _ = pauser.send(Ok(()));
        }
    }

    /// Something is carried into the container that sleeps.
    pub(super) fn nudged(&mut self) {
        if self.life.status() == Status::Running
            && let Readiness::Later(order) = self.sleep.need(false)
        {
            self.carry_out(order);
        }
    }

    /// The clock says that it may be time to rest, more deeply.
    pub(super) fn nap(&mut self) {
        self.nap_at = None;
        let Some(policy) = self.policy else {
            return;
        };
        if self.life.status() != Status::Running {
            return;
        }
        match self.sleep.depth() {
            Depth::Awake => {
                let now = Instant::now();
                let activity = &self.shared.activity;
                // Said before it is looked: whoever comes after the look sees it, and wakes.
                activity.set_asleep(true);
                let idle_at = activity.idle_at(&policy);
                if self.kill_at.is_none() && idle_at.is_some_and(|at| at <= now) {
                    let order = self.sleep.doze();
                    self.carry_out(order);
                } else {
                    activity.set_asleep(false);
                    let at = idle_at.filter(|at| *at > now);
                    self.nap_at = Some(at.unwrap_or(now + policy.freeze_after));
                }
            }
            Depth::Frozen => self.deepen(policy.checkpoint_after),
            _ => {}
        }
    }

    fn deepen(&mut self, after: Option<Duration>) {
        if self.sleep.may_deepen() && self.shared.activity.is_held() {
            // Restored, it would find its connections closed.
            let reason = "cannot be written to disk: a connection to it is open";
            if self.info.sleepless.as_deref() != Some(reason) {
                self.info.sleepless = Some(reason.to_owned());
                self.publish();
            }
            self.nap_at = after.map(|after| Instant::now() + after);
            return;
        }
        let order = self.sleep.deepen();
        self.carry_out(order);
    }

    /// From now on the clock runs towards sleep.
    pub(super) fn wind_up(&mut self) {
        self.nap_at = self
            .policy
            .map(|policy| Instant::now() + policy.freeze_after);
    }

    fn carry_out(&mut self, order: Option<Order>) {
        let (Some(order), Some(guest)) = (order, self.guest.clone()) else {
            return;
        };
        let launch = self.launches;
        let gone = || Err(JailError::Gone);
        match order {
            Order::Freeze => {
                let freeze = tasks::freeze(guest, true, launch);
                self.spawn(freeze, Fact::Froze(launch, gone()));
            }
            Order::Thaw => {
                let thaw = tasks::freeze(guest, false, launch);
                self.spawn(thaw, Fact::Thawed(launch, gone()));
            }
            Order::Checkpoint => {
                let (criu, dir) = (self.criu.clone(), self.images());
                let attempt = tasks::checkpoint(criu, guest, dir, self.sink.clone(), launch);
                let panicked = Err("the task that writes it panicked".to_owned());
                self.spawn(attempt, Fact::Checkpointed(launch, panicked));
            }
            Order::Restore => {
                let (criu, dir) = (self.criu.clone(), self.images());
                let attempt = tasks::restore(criu, guest, dir, self.sink.clone(), launch);
                let panicked = Err("the task that restores it panicked".to_owned());
                self.spawn(attempt, Fact::Restored(launch, panicked));
            }
        }
    }

    /// Where CRIU keeps this launch.
    fn images(&self) -> PathBuf {
        self.home.dir.join(format!("checkpoint-{}", self.launches))
    }

    pub(super) fn froze(&mut self, launch: u32, result: Result<(), JailError>) {
        if launch != self.launches || self.guest.is_none() {
            return;
        }
        if self.life.status() == Status::Removing {
            // The killing may have come before the freezing was done.
            return self.kill_all();
        }
        let done = result.is_ok();
        if let Err(error) = &result {
            self.info.sleepless = Some(berth_error::chain(error));
        } else if self.sleep.is_fresh() {
            self.info.sleepless = None;
        }
        if let Err(error) = result {
            let name = &self.info.name;
            tracing::warn!(container = %name, %error, "cannot put a container to sleep");
            for pauser in std::mem::take(&mut self.pausers) {
                let _ = pauser.send(Err(EngineError::Kernel {
                    step: "freeze everything",
                    name: self.info.name.clone(),
                    source: std::io::Error::other(error.to_string()),
                }));
            }
        }
        let order = self.sleep.froze(done);
        if order.is_some() {
            return self.carry_out(order);
        }
        let rest = if self.sleep.is_paused() {
            Rest::Paused
        } else {
            Rest::Frozen
        };
        self.fell_asleep(rest, Clock::Frozen);
        self.answer_pausers();
    }

    /// It is on disk; or it stays in memory, is frozen again, and says why.
    pub(super) fn checkpointed(&mut self, launch: u32, result: Result<Duration, String>) {
        if launch != self.launches || self.guest.is_none() {
            return;
        }
        if self.life.status() == Status::Removing {
            // The killing may have come before the processes were written.
            return self.kill_all();
        }
        let done = result.is_ok();
        match result {
            Ok(took) => self.info.timings.checkpoint = Some(took),
            Err(reason) => {
                tracing::info!(container = %self.info.name, reason, "stays frozen in memory");
                self.info.sleepless = Some(reason);
                self.publish();
            }
        }
        let order = self.sleep.checkpointed(done);
        if done && order.is_none() {
            self.info.sleepless = None;
            self.info.pid = None;
            self.fell_asleep(Rest::OnDisk, Clock::Stored);
        }
        self.carry_out(order);
    }

    /// It lives again; or it has ended, and says why.
    pub(super) fn restored(&mut self, launch: u32, result: Result<Duration, String>) {
        let Some(guest) = self.guest.clone().filter(|_| launch == self.launches) else {
            return;
        };
        match result {
            Ok(took) => {
                self.info.timings.restore = Some(took);
                self.info.pid = Some(guest.pid());
                self.sleep.restored();
                if self.life.status() == Status::Removing {
                    // The killing may have come before the processes existed.
                    self.kill_all();
                } else {
                    self.woke_up();
                }
            }
            Err(reason) => {
                tracing::error!(container = %self.info.name, reason, "a container is lost");
                self.info.error = Some(reason);
                // Whatever state it is in, it does not live on; its exit is told by itself.
                self.sleep.ended();
                if self.unexplained.is_none() {
                    self.kill_all();
                }
            }
        }
        if let Some(status) = self.unexplained.take() {
            self.exited(status);
        }
    }

    pub(super) fn thawed(&mut self, launch: u32, result: Result<(), JailError>) {
        if launch != self.launches || self.guest.is_none() {
            return;
        }
        if let Err(error) = result {
            tracing::error!(container = %self.info.name, %error, "cannot thaw a container");
        }
        self.sleep.thawed();
        self.woke_up();
    }

    fn fell_asleep(&mut self, rest: Rest, clock: Clock) {
        self.shared.meter.switch(clock);
        self.info.rest = Some((rest, now_ms()));
        self.nap_at = self
            .policy
            .and_then(|policy| policy.checkpoint_after)
            .filter(|_| rest == Rest::Frozen && self.sleep.may_deepen())
            .map(|after| Instant::now() + after);
        self.publish();
        self.tell(Event::Asleep);
    }

    fn woke_up(&mut self) {
        self.shared.activity.set_asleep(false);
        self.shared.meter.switch(Clock::Running);
        if self.info.rest.take().is_some() {
            self.publish();
            self.tell(Event::Awake);
        }
        self.wind_up();
        self.serve_sleepers();
    }

    /// The process has ended, asleep or not.
    pub(super) fn rest_is_over(&mut self) {
        let on_disk = self.sleep.has_left_memory();
        self.sleep.ended();
        self.nap_at = None;
        self.info.rest = None;
        if on_disk {
            let images = self.images();
            tokio::spawn(async move { crate::checkpoint::remove(&images).await });
        }
        self.shared.activity.set_asleep(false);
        self.shared.meter.stop();
    }

    /// Whoever waited for it to be awake is decided again.
    pub(super) fn serve_sleepers(&mut self) {
        let name = self.info.name.clone();
        for pauser in self.pausers.drain(..) {
            let _ = pauser.send(Err(EngineError::NotRunning(name.clone())));
        }
        for request in std::mem::take(&mut self.sleepers) {
            self.handle(request);
        }
    }
}
