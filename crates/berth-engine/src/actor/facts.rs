//! What an actor does about the facts that its tasks report.

use std::sync::Arc;

use berth_jail::ExitStatus;
use tokio::time::Instant;

use super::tasks::{self, Fact, Launched};
use super::{Actor, REMOVED};
use crate::hold::{Liveness, Up};
use crate::launch::{Guest, Launcher};
use crate::log::{Capture, now_ms};
use crate::sleep::Depth;
use crate::state::Happened;
use crate::{EngineError, Event, Status};

impl<L: Launcher> Actor<L> {
    pub(super) fn learn(&mut self, fact: Fact<L::Guest>) {
        match fact {
            Fact::Launched(Ok(launched)) => self.launched(launched),
            Fact::Launched(Err(error)) => self.launch_failed(error),
            Fact::FirstListen(after) => {
                self.info.timings.first_listen = Some(after);
                self.publish();
            }
            Fact::Exited(status) => self.exited(status),
            Fact::Froze(launch, result) => self.froze(launch, result),
            Fact::Checkpointed(launch, result) => self.checkpointed(launch, result),
            Fact::Restored(launch, result) => self.restored(launch, result),
            Fact::Thawed(launch, result) => self.thawed(launch, result),
            Fact::Killed | Fact::Cleaned => {}
        }
    }

    fn launched(&mut self, launched: Launched<L::Guest>) {
        let guest = launched.guest;
        self.info.pid = Some(guest.pid());
        self.info.started_ms = Some(now_ms());
        self.info.timings.open = Some(launched.open);
        self.info.timings.spawn = Some(launched.spawn);
        self.info.timings.jail = guest.timings();
        self.info.timings.first_listen = None;
        let since = Instant::now();
        self.started = since;
        self.past = self.shared.meter.past();
        self.kill_at_ms = None;
        let listening = guest.listening();
        self.attend(guest.clone(), launched.capture, since);
        let metered = guest.clone();
        let memory = self.info.limits.memory_bytes.unwrap_or_default();
        self.shared
            .meter
            .start(memory, Arc::new(move || metered.usage()));
        self.guest = Some(guest);
        self.note();
        let orders = self.life.observe(Happened::Started);
        if self.life.status() == Status::Running {
            let up = Up { since, listening };
            self.shared.liveness.send_replace(Liveness::Up(up));
            self.wind_up();
        }
        self.publish();
        berth_jail::crash_point("start.running");
        self.tell(Event::Started);
        if let Some(reply) = self.starting.take() {
            let removed = self.life.status() != Status::Running;
            let _ = reply.send(if removed {
                Err(EngineError::BeingRemoved(self.info.name.clone()))
            } else {
                Ok(())
            });
        }
        self.obey_all(orders);
    }

    /// Sees to it that it is learnt what its process does.
    pub(super) fn attend(&mut self, guest: L::Guest, capture: Capture, since: Instant) {
        let watch = tasks::first_listen(guest.listening(), since);
        self.listen_watch = Some(self.spawn(watch, Fact::Killed));
        let exit = tasks::watch_exit(guest, capture, self.sink.clone(), self.info.limits);
        self.spawn(exit, Fact::Exited(REMOVED));
    }

    fn launch_failed(&mut self, error: EngineError) {
        self.info.exit = Some(tasks::exit_of_failed_start(&error));
        self.info.error = Some(berth_error::chain(&error));
        self.info.finished_ms = Some(now_ms());
        self.slot = None;
        self.shared.liveness.send_replace(Liveness::Down);
        let orders = self.life.observe(Happened::StartFailed);
        self.publish();
        self.tell(Event::StartFailed);
        if let Some(reply) = self.starting.take() {
            let _ = reply.send(Err(error));
        }
        self.obey_all(orders);
    }

    pub(super) fn exited(&mut self, status: ExitStatus) {
        if self.sleep.depth() == Depth::Restoring {
            // The restoration is about to say whether, and why, it has failed.
            self.unexplained = Some(status);
            return;
        }
        if let Some(watch) = self.listen_watch.take() {
            watch.abort();
        }
        self.rest_is_over();
        self.info.used = Some(self.shared.metered());
        let ended = self.guest.take().filter(|_| self.keeper.is_some());
        self.kill_at = None;
        self.kill_at_ms = None;
        self.info.pid = None;
        self.info.exit = Some(status);
        self.info.finished_ms = Some(now_ms());
        self.slot = None;
        self.shared.liveness.send_replace(Liveness::Down);
        let orders = self.life.observe(Happened::Exited);
        if self.life.status() == Status::Exited {
            let pause = self.restarts.after(status, self.started.elapsed());
            self.restart_at = pause.map(|pause| Instant::now() + pause);
        }
        self.publish();
        berth_jail::crash_point("exit.told");
        self.tell(Event::Exited);
        if let Some(guest) = ended {
            // Not before it is told: until then the next daemon would have to tell it. Nor with this task,
            // which may be about to end.
            tokio::spawn(async move { guest.acknowledge().await });
        }
        self.serve_sleepers();
        self.obey_all(orders);
    }
}
