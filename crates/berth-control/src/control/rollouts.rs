//! Rollouts of container applications, and the images that versions of a Worker ran with.
//!
//! Going back to a version writes the Worker's record only: the deployment names the configurations that
//! it brings back, and [`Control::obey_deployments`] makes rollouts of them. Whoever is killed between the
//! two finds the deployment at the next start.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Control;
use super::applications::configuration;
use crate::ControlError;
use crate::containers::{self, Application, ApplicationError, Policy, Rollout};
use crate::rollout::{Act, Seen};
use crate::worker::{Deployment, Worker};

/// Who goes back by itself.
const AUTHOR: &str = "berth";

impl Control {
    /// Makes instances run with `target_configuration` of a request, in the steps that it names. Replaces a
    /// rollout that is under way. If a version of its Worker waits for it, it is done with that, all at once.
    ///
    /// # Errors
    /// [`ControlError::NoApplication`], [`ControlError::Application`].
    pub fn roll_out(
        &self,
        id: &str,
        request: &Map<String, Value>,
    ) -> Result<(Application, Rollout), ControlError> {
        let request = &containers::checked(request)?;
        let target = configuration(request, "target_configuration")?;
        let live = containers::instance(target, &self.instance_types())?;
        let new = Rollout::new(request, target, live)?;
        let application = self.application(id)?;
        if application.policy() == Policy::Application
            && let Some(worker) = self.waiting_for(&application.namespace_id)?
        {
            self.configure_waiting(&worker, &application.namespace_id, target)?;
            return Ok((application, new));
        }
        let application = self.update_application(id, |application| {
            if application.policy() == Policy::Object {
                return Err(ApplicationError::NoRollouts(application.name.clone()).into());
            }
            if is_renamed(application, &new) {
                put_completed(application, new.clone());
            } else {
                put_first(application, new.clone());
            }
            Ok(())
        })?;
        let rollout = application.rollouts.first().cloned();
        let rollout = rollout.ok_or_else(|| ControlError::NoApplication(id.to_owned()))?;
        Ok((application, rollout))
    }

    /// Does what a client asks of a rollout.
    ///
    /// # Errors
    /// [`ControlError::NoApplication`], [`ControlError::NoRollout`]; it is not possible now.
    pub fn act_on_rollout(
        &self,
        id: &str,
        rollout: &str,
        act: Act,
        seen: &[Seen],
    ) -> Result<(Application, Rollout), ControlError> {
        let application = self.update_application(id, |application| {
            let found = find(application, rollout)?;
            found.act(act, seen)?;
            application.settle();
            Ok(())
        })?;
        let mut shown = application.clone();
        let found = find(&mut shown, rollout)?.clone();
        Ok((application, found))
    }

    /// Lets `step` change the rollout that is under way, if there is one. Nothing is written if it changes
    /// nothing.
    ///
    /// # Errors
    /// [`ControlError::NoApplication`].
    pub fn progress<T>(
        &self,
        id: &str,
        mut step: impl FnMut(&mut Rollout) -> T,
    ) -> Result<(Application, Option<T>), ControlError> {
        self.change_application(id, |application| {
            let rollout = application.rollouts.first_mut();
            let Some(rollout) = rollout.filter(|rollout| rollout.is_active()) else {
                return Ok(None);
            };
            let result = step(rollout);
            if !rollout.is_active() {
                application.settle();
            }
            Ok(Some(result))
        })
    }

    /// Makes rollouts of what the live deployments bring back and nobody has obeyed yet.
    ///
    /// # Errors
    /// The records.
    pub fn obey_deployments(&self) -> Result<(), ControlError> {
        let workers = self.workers()?;
        let applications = self.applications()?;
        for worker in &workers {
            let Some(deployment) = worker.deployments.first() else {
                continue;
            };
            self.make_brought(worker, deployment)?;
            for (namespace, wanted) in &deployment.configurations {
                let mut all = applications.iter();
                let Some(application) = all.find(|one| one.namespace_id == *namespace) else {
                    continue;
                };
                if application.obeyed.as_ref() == Some(&deployment.id) {
                    continue;
                }
                self.obey(&application.id, deployment, wanted)?;
            }
        }
        Ok(())
    }

    fn obey(
        &self,
        application: &str,
        deployment: &Deployment,
        wanted: &Map<String, Value>,
    ) -> Result<(), ControlError> {
        let live = containers::instance(wanted, &self.instance_types())?;
        // All at once: somebody who goes back has no time for steps.
        let description = match deployment.atomic {
            true => "Together with its Worker",
            false => "Going back to a version",
        };
        let request = json!({"description": description, "step_percentage": 100});
        let request = request.as_object().cloned().unwrap_or_default();
        let new = Rollout::new(&request, wanted, live)?;
        let changed = self.change_application(application, |application| {
            application.obeyed = Some(deployment.id.clone());
            if application
                .sent
                .get("configuration")
                .and_then(Value::as_object)
                != Some(wanted)
            {
                if is_renamed(application, &new) {
                    put_completed(application, new.clone());
                    return Ok(());
                }
                put_first(application, new.clone());
                // Whoever runs the Worker ends its instances, and starts none in between.
                match (deployment.atomic, &deployment.back_to) {
                    (true, Some(_)) => application.begin_together(),
                    (true, None) => application.complete_at_once(),
                    (false, _) => {}
                }
            }
            Ok(())
        });
        match changed {
            Ok(_) | Err(ControlError::NoApplication(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes the version live again, containers included, that was before an atomic deployment whose new
    /// instances have failed; the Worker's name, and that version. `None`: there is nothing to go back from any more.
    ///
    /// # Errors
    /// The records; what was live before cannot be any more. The failed version stays live then.
    pub fn give_up(&self, application: &str) -> Result<Option<(String, String)>, ControlError> {
        let failed = self.application(application)?;
        let reason = failed.rollout().and_then(Rollout::failure);
        let Some(reason) = reason.map(str::to_owned) else {
            return Ok(None);
        };
        let back = self.go_back_from(&failed, &reason);
        // Whatever became of it: it has been decided on.
        self.progress(application, |rollout| {
            if rollout.failure().is_some() {
                rollout.complete();
            }
        })?;
        back
    }

    fn go_back_from(
        &self,
        failed: &Application,
        reason: &str,
    ) -> Result<Option<(String, String)>, ControlError> {
        let mut workers = self.workers()?.into_iter();
        let of_class = |worker: &Worker| {
            let mut classes = worker.classes.values();
            classes.any(|class| class.namespace_id == failed.namespace_id)
        };
        let Some(worker) = workers.find(of_class) else {
            return Ok(None);
        };
        // Somebody may have deployed something else meanwhile.
        let deployment = worker.deployments.first();
        let deployment = deployment.filter(|first| failed.obeyed.as_ref() == Some(&first.id));
        let Some(former) = deployment.and_then(|first| first.back_to.clone()) else {
            return Ok(None);
        };
        let message = format!("Goes back: {reason}");
        let annotations = BTreeMap::from([("workers/message".to_owned(), message)]);
        self.deploy(&worker.name, &former, AUTHOR, &annotations, true)?;
        Ok(Some((worker.name, former)))
    }

    /// What a version of a Worker ran with when it was live, by namespace; nothing for classes that had no
    /// containers then.
    ///
    /// # Errors
    /// The records.
    pub fn configurations_of(
        &self,
        worker: &Worker,
        version: &str,
    ) -> Result<BTreeMap<String, Map<String, Value>>, ControlError> {
        let applications = self.applications_of(worker)?.into_iter();
        Ok(applications
            .filter_map(|application| {
                let configuration = application.by_version.get(version)?.clone();
                Some((application.namespace_id, configuration))
            })
            .collect())
    }

    /// Remembers what the live version of a Worker runs with, before another one is made live; forgets what
    /// belongs to versions that are not kept.
    pub(super) fn remember_configurations(&self, worker: &str) -> Result<(), ControlError> {
        let worker = match self.worker(worker) {
            Ok(worker) => worker,
            Err(ControlError::NoWorker(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some(live) = worker.live().map(|version| version.id.clone()) else {
            return Ok(());
        };
        for application in self.applications_of(&worker)? {
            if application.policy() == Policy::Object {
                continue;
            }
            let changed = self.change_application(&application.id, |application| {
                let by_version = &mut application.by_version;
                by_version.retain(|version, _| worker.version(version).is_some());
                let sent = application.sent.get("configuration");
                if let Some(sent) = sent.and_then(Value::as_object) {
                    by_version.insert(live.clone(), sent.clone());
                }
                Ok(())
            });
            match changed {
                Ok(_) | Err(ControlError::NoApplication(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn applications_of(&self, worker: &Worker) -> Result<Vec<Application>, ControlError> {
        let mut applications = self.applications()?;
        applications.retain(|application| {
            let mut classes = worker.classes.values();
            classes.any(|class| class.namespace_id == application.namespace_id)
        });
        Ok(applications)
    }
}

/// Whether a rollout only calls the image that instances run with by another name: the registry has another
/// address now, say.
fn is_renamed(application: &Application, new: &Rollout) -> bool {
    let same = |sent: &Map<String, Value>| {
        let image =
            |one: &Map<String, Value>| one.get("image").and_then(Value::as_str).map(content);
        let rest = |one: &Map<String, Value>| {
            let mut rest = one.clone();
            rest.remove("image");
            rest
        };
        let digest = image(sent).flatten();
        digest.is_some()
            && digest == image(&new.configuration).flatten()
            && rest(sent) == rest(&new.configuration)
    };
    let sent = application.sent.get("configuration");
    let sent = sent.and_then(Value::as_object);
    application.rollout().is_none()
        && sent.is_some_and(|sent| *sent != new.configuration && same(sent))
}

/// What an image's name says of its content, whatever registry it is in.
fn content(image: &str) -> Option<String> {
    let (_, digest) = image.split_once('@')?;
    Some(digest.to_owned())
}

/// Records a rollout that changes nothing.
fn put_completed(application: &mut Application, mut new: Rollout) {
    let sent = application.sent.get("configuration");
    new.former = sent.and_then(Value::as_object).cloned().unwrap_or_default();
    let version = application.live_version();
    (new.from_version, new.to_version) = (version, version);
    new.complete();
    let target = new.configuration.clone();
    application
        .sent
        .insert("configuration".to_owned(), target.into());
    application.rollouts.insert(0, new);
    application.rollouts.truncate(containers::ROLLOUTS_KEPT);
    application.settle();
}

/// Begins a rollout in place of the one that is under way.
pub(super) fn put_first(application: &mut Application, mut new: Rollout) {
    let sent = application
        .sent
        .get("configuration")
        .and_then(Value::as_object);
    let mut former = sent.cloned().unwrap_or_default();
    application.live_version = application.live_version();
    if let Some(unfinished) = application.rollouts.first_mut()
        && unfinished.is_active()
    {
        if unfinished.failure().is_some() {
            unfinished.give_up();
        } else if unfinished.atomic {
            // Instances run with it, nobody has seen yet how well.
            if let Some(target) = &unfinished.target {
                application.live = target.clone();
                application.live_version = unfinished.to_version;
            }
            unfinished.replace();
        } else {
            // Never became what instances run with.
            former.clone_from(&unfinished.former);
            unfinished.replace();
        }
    }
    new.from_version = application.live_version;
    new.to_version = application.version + 1;
    new.former = former;
    application.version = new.to_version;
    let target = new.configuration.clone();
    application
        .sent
        .insert("configuration".to_owned(), target.into());
    application.rollouts.insert(0, new);
    application.rollouts.truncate(containers::ROLLOUTS_KEPT);
}

fn find<'a>(application: &'a mut Application, id: &str) -> Result<&'a mut Rollout, ControlError> {
    let mut rollouts = application.rollouts.iter_mut();
    rollouts
        .find(|rollout| rollout.id == id)
        .ok_or_else(|| ControlError::NoRollout(id.to_owned()))
}
