//! The reconciler of rollouts: lets each go on as far as what runs allows, and ends the instances that run
//! with something else than is wanted.
//!
//! Woken by changes of the records, by what happens to containers, and by a period while a rollout is under
//! way. What is decided is `berth_control::rollout`'s; the record is written, and the engine told, before an
//! instance is ended, so that its successor starts with the right image. Holds nothing that a restart of the
//! server must not lose.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use berth_control::ControlError;
use berth_control::containers::{Application, Policy, Rollout};
use berth_control::rollout::{Seen, Status, YOUNG_MS};
use berth_engine::{ContainerInfo, Event};
use berth_logs::Level;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::MissedTickBehavior;

use super::apps::Apps;
use super::containers::object;
use super::crash::crash_point;

/// How often a rollout that is under way is looked at when nothing happens.
const PERIOD: Duration = Duration::from_millis(500);

/// Runs until it is aborted.
pub(super) async fn run(apps: Arc<Apps>) {
    let mut changes = apps.control.changes();
    let mut events = apps.containers.events();
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reconciler = Arc::new(Reconciler {
        apps,
        ending: Mutex::default(),
    });
    let mut active = true;
    loop {
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            event = events.recv() => match event {
                Ok(event) => {
                    let Some(failure) = failure(&event, &reconciler.apps) else {
                        if !matches!(event, Event::Started(_)) {
                            continue;
                        }
                        // It may have been made with what is wanted no more.
                        active |= reconciler.look().await;
                        continue;
                    };
                    reconciler.fail(failure).await;
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            _ = period.tick(), if active => {}
        }
        changes.mark_unchanged();
        active = reconciler.look().await;
    }
}

struct Reconciler {
    apps: Arc<Apps>,
    /// Names of the containers that are being ended.
    ending: Mutex<HashSet<String>>,
}

/// A container that did not start as it should.
struct Failure {
    name: String,
    /// The version it was made with, if it was made.
    version: Option<u64>,
    reason: String,
}

impl Reconciler {
    /// Whether a rollout is under way.
    async fn look(self: &Arc<Self>) -> bool {
        let this = Arc::clone(self);
        let looked = tokio::task::spawn_blocking(move || this.look_now()).await;
        let (active, end) = match looked {
            Ok(Ok(looked)) => looked,
            Ok(Err(error)) => {
                let error = berth_error::chain(&error);
                tracing::error!(error, "cannot see to the rollouts");
                return true;
            }
            Err(_) => return true,
        };
        if !end.is_empty() {
            // The engine knows what comes after them.
            if let Err(error) = self.apps.sync().await {
                let error = berth_error::chain(&error);
                tracing::error!(error, "cannot read what is deployed");
                return true;
            }
            crash_point("rollout.recorded");
            for (name, version) in end {
                self.end(name, version);
            }
            crash_point("rollout.ending");
        }
        active
    }

    /// Also the names of the containers that are to end, with the version that they were made with.
    fn look_now(&self) -> Result<(bool, Vec<(String, u64)>), ControlError> {
        let mut active = false;
        let mut end = Vec::new();
        // Read before their Workers: whoever is about to switch is seen to be.
        let applications = self.apps.control.applications()?;
        let switching = self.apps.switching(&self.apps.control.workers()?);
        for application in applications {
            if application.policy() == Policy::Object {
                continue;
            }
            if switching.contains(&application.namespace_id) {
                // Nothing tells when that is over.
                active |= application.rollout().is_some();
                continue;
            }
            let (names, seen): (Vec<String>, Vec<Seen>) = self
                .apps
                .containers
                .seen(&application.namespace_id)
                .into_iter()
                .unzip();
            let (application, objects) = self.go_on(application, &seen)?;
            active |= application.rollout().is_some();
            if application.rollout().and_then(Rollout::failure).is_some() {
                self.give_up(&application);
                continue;
            }
            for (name, one) in names.into_iter().zip(&seen) {
                if objects.contains(&one.object) {
                    end.push((name, one.version));
                }
            }
        }
        Ok((active, end))
    }

    /// Has a Worker go back together with its containers. Its task does it.
    fn give_up(&self, application: &Application) {
        let rollout = application.rollout();
        let reason = rollout.and_then(Rollout::failure).unwrap_or_default();
        let name = &application.name;
        match self.apps.control.give_up(&application.id) {
            Ok(Some((worker, version))) => {
                tracing::error!(application = name, reason, "a deployment was given up");
                let text = format!(
                    "the deployment is given up, version {version} is live again: {reason}"
                );
                self.apps.watch.say(&worker, None, Level::Error, text);
            }
            Ok(None) => {}
            Err(error) => {
                let error = berth_error::chain(&error);
                tracing::error!(
                    application = name,
                    reason,
                    error,
                    "a deployment has failed, and the version before cannot be live again"
                );
            }
        }
    }

    /// The application afterwards, and the objects whose instances are to end.
    fn go_on(
        &self,
        application: Application,
        seen: &[Seen],
    ) -> Result<(Application, Vec<String>), ControlError> {
        let mut objects = None;
        let mut now = application;
        if now.rollout().is_some() {
            let grace_ms = now.grace_seconds().saturating_mul(1000);
            let at = unix_ms();
            let advance = |rollout: &mut Rollout| {
                let before = (rollout.status, rollout.begun);
                let objects = rollout.advance(grace_ms, seen, at);
                (before != (rollout.status, rollout.begun), objects)
            };
            match self.apps.control.progress(&now.id, advance) {
                Ok((application, advanced)) => {
                    now = application;
                    if let Some((changed, ended)) = advanced {
                        objects = Some(ended);
                        if changed {
                            tell(&now);
                        }
                    }
                }
                Err(ControlError::NoApplication(_)) => return Ok((now, Vec::new())),
                Err(error) => return Err(error),
            }
        }
        let objects = objects.unwrap_or_else(|| {
            let live = now.live_version();
            let stale = seen
                .iter()
                .filter(|one| one.version != live && one.since_ms.is_some());
            stale.map(|one| one.object.clone()).collect()
        });
        Ok((now, objects))
    }

    /// Ends a container, once.
    fn end(self: &Arc<Self>, name: String, version: u64) {
        if !self.ending().insert(name.clone()) {
            return;
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            this.apps.containers.end(&name, version).await;
            this.ending().remove(&name);
        });
    }

    /// Gives up the rollout that a container of its target has failed in.
    async fn fail(&self, failure: Failure) {
        let control = self.apps.control.clone();
        let fail = move || -> Result<(), ControlError> {
            for application in control.applications()? {
                let object = object(&failure.name, &application.namespace_id);
                let Some(rollout) = application.rollout().filter(|_| !object.is_empty()) else {
                    continue;
                };
                let version = failure
                    .version
                    .unwrap_or_else(|| application.wanted(object).1);
                if version == rollout.to_version {
                    let id = rollout.id.clone();
                    let (application, _) = control.progress(&application.id, |rollout| {
                        if rollout.id == id {
                            rollout.fail(&failure.reason);
                        }
                    })?;
                    tell(&application);
                }
            }
            Ok(())
        };
        match tokio::task::spawn_blocking(fail).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => {
                let error = berth_error::chain(&error);
                tracing::error!(error, "a rollout that has failed goes on");
            }
        }
    }

    fn ending(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        // Single operations.
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a rollout stands, in the log.
fn tell(application: &Application) {
    let Some(rollout) = application.rollouts.first() else {
        return;
    };
    let (name, steps) = (&application.name, rollout.steps.len());
    if let Some(reason) = rollout.failure() {
        tracing::error!(application = name, reason, "a rollout has failed");
    } else if rollout.status == Status::Reverted {
        let mut reasons = rollout
            .steps
            .iter()
            .filter_map(|step| step.reason.as_deref());
        let reason = reasons.next().unwrap_or("somebody asked for it");
        tracing::error!(application = name, reason, "a rollout was given up");
    } else {
        let (status, step) = (rollout.status, rollout.begun);
        tracing::info!(
            application = name,
            ?status,
            step,
            steps,
            "a rollout goes on"
        );
    }
}

/// What an event says of a container that did not start as it should.
fn failure(event: &Event, apps: &Apps) -> Option<Failure> {
    let of = |info: &ContainerInfo, what: String| Failure {
        name: info.name.clone(),
        version: info
            .labels
            .get(berth_docker::VERSION_LABEL)
            .and_then(|version| version.parse().ok()),
        reason: format!("the new instance {} {what}", info.display_name),
    };
    match event {
        Event::CreateFailed {
            name,
            display_name,
            full: false,
            reason,
        } => Some(Failure {
            name: name.clone(),
            version: None,
            reason: format!("the new instance {display_name} could not be made: {reason}"),
        }),
        Event::StartFailed(info) => {
            let error = info.error.as_deref().unwrap_or("for no reason given");
            Some(of(info, format!("did not start: {error}")))
        }
        Event::Exited(info) => {
            let exit = info.exit?;
            let age = info.finished_ms?.saturating_sub(info.started_ms?);
            // SIGINT, SIGKILL and SIGTERM come from those who want it to end.
            let asked =
                matches!(exit.signal, Some(2 | 9 | 15)) || matches!(exit.code, 130 | 137 | 143);
            let deaf = exit.code == 0
                && info.timings.first_listen.is_none()
                && apps.containers.is_wanted(&info.name);
            let failed = exit.oom_killed || deaf || (exit.code != 0 && !asked);
            let what = format!("ended with code {} after {age} ms", exit.code);
            (failed && age < YOUNG_MS).then(|| of(info, what))
        }
        _ => None,
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
