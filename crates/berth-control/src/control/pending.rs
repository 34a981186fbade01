//! Versions that wait for their containers, and how they go live.

use serde_json::{Map, Value};

use super::Control;
use crate::ControlError;
use crate::containers::{self, Application};
use crate::worker::{Deployment, Worker};

impl Control {
    /// Every Worker and every container application, such that no Worker is ahead of the containers that it went
    /// live with.
    ///
    /// # Errors
    /// The records.
    pub fn deployed(&self) -> Result<(Vec<Worker>, Vec<Application>), ControlError> {
        loop {
            // A Worker is written before its applications: read later, it is never behind them.
            let applications = self.applications()?;
            let workers = self.workers()?;
            let mut deployments = workers
                .iter()
                .filter_map(|worker| worker.deployments.first());
            let ahead = deployments.any(|deployment| {
                let behind = |one: &Application| {
                    deployment.configurations.contains_key(&one.namespace_id)
                        && one.obeyed.as_ref() != Some(&deployment.id)
                };
                deployment.atomic
                    && (!deployment.made.is_empty() || applications.iter().any(behind))
            });
            if !ahead {
                return Ok((workers, applications));
            }
            self.obey_deployments()?;
        }
    }

    /// The Worker whose waiting version has the Durable Object class of this namespace.
    pub(super) fn waiting_for(&self, namespace: &str) -> Result<Option<Worker>, ControlError> {
        let mut workers = self.workers()?.into_iter();
        Ok(workers.find(|worker| {
            let pending = worker.pending.as_ref();
            pending.is_some_and(|pending| pending.has_namespace(namespace))
        }))
    }

    /// Keeps what the containers of a namespace are to run with when the waiting version goes live.
    pub(super) fn configure_waiting(
        &self,
        worker: &Worker,
        namespace: &str,
        configuration: &Map<String, Value>,
    ) -> Result<(), ControlError> {
        self.update_waiting(worker, |pending| {
            let configuration = configuration.clone();
            pending
                .configurations
                .insert(namespace.to_owned(), configuration);
        })
    }

    /// Keeps an application that is made when the waiting version goes live.
    pub(super) fn make_waiting(
        &self,
        worker: &Worker,
        application: &Application,
    ) -> Result<(), ControlError> {
        self.update_waiting(worker, |pending| {
            pending
                .made
                .retain(|one| one.namespace_id != application.namespace_id);
            pending.made.push(application.clone());
        })
    }

    fn update_waiting(
        &self,
        worker: &Worker,
        mut change: impl FnMut(&mut crate::pending::Pending),
    ) -> Result<(), ControlError> {
        let waiting = worker.pending.as_ref().map(|one| one.version_id.clone());
        self.update(&worker.name, |worker| {
            let pending = worker.pending.as_mut();
            let same = pending.filter(|pending| Some(&pending.version_id) == waiting.as_ref());
            let pending = same.ok_or_else(|| ControlError::NotWaiting(worker.name.clone()))?;
            change(pending);
            Ok(())
        })
    }

    /// Makes the waiting version live with all that was sent for its containers, in one write.
    ///
    /// # Errors
    /// [`ControlError::NotWaiting`]: there is none, or another one than `version` by now.
    pub fn go_live(&self, worker: &str, version: &str) -> Result<Deployment, ControlError> {
        self.remember_configurations(worker)?;
        let deployment = self.update(worker, |worker| {
            let waiting = worker
                .pending
                .take()
                .filter(|pending| pending.version_id == version);
            let pending = waiting.ok_or_else(|| ControlError::NotWaiting(worker.name.clone()))?;
            let former = worker.live().map(|live| live.id.clone());
            worker.classes = pending.classes;
            worker.migration_tag = pending.migration_tag;
            worker.discarded.extend(pending.discarded);
            worker.observe(pending.observability);
            worker.set_tail_consumers(&pending.tail_consumers);
            let mut deployment =
                worker.deploy(&pending.version_id, &pending.author, pending.annotations);
            if let Some(first) = worker.deployments.first_mut() {
                first.atomic = true;
                first.back_to = former;
                first.configurations = pending.configurations;
                first.made = pending.made;
                deployment = first.clone();
            }
            worker.forget(&self.retention());
            Ok(deployment)
        })?;
        self.obey_deployments()?;
        Ok(deployment)
    }

    /// Makes the applications that a deployment brings, and says that they are there.
    pub(super) fn make_brought(
        &self,
        worker: &Worker,
        deployment: &Deployment,
    ) -> Result<(), ControlError> {
        if deployment.made.is_empty() {
            return Ok(());
        }
        let present = self.applications()?;
        for application in &deployment.made {
            let mut others = present.iter();
            if others.any(|one| one.namespace_id == application.namespace_id) {
                continue;
            }
            let store = &self.inner.store;
            match store.create(containers::KIND, &application.id, application) {
                Ok(_) | Err(berth_store::StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.update(&worker.name, |worker| {
            let mut deployments = worker.deployments.iter_mut();
            if let Some(found) = deployments.find(|one| one.id == deployment.id) {
                found.made.clear();
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::super::tests::{control, deploy, object, open};
    use super::*;
    use crate::rollout::Status;

    fn metadata(more: Value) -> Value {
        let mut metadata = json!({
            "bindings": [{"name": "O", "type": "durable_object_namespace", "class_name": "C"}],
            "containers": [{"class_name": "C"}],
            "berth": {"rollout": "atomic"},
        });
        metadata.as_object_mut().unwrap().extend(object(more));
        metadata
    }

    fn first() -> Value {
        metadata(json!({"migrations": {"new_tag": "v1", "steps": [{"new_sqlite_classes": ["C"]}]}}))
    }

    fn second() -> Value {
        let steps = json!([{"new_sqlite_classes": ["D"]}]);
        metadata(json!({"migrations": {"old_tag": "v1", "new_tag": "v2", "steps": steps}}))
    }

    fn application(namespace: &str, name: &str, image: &str) -> Map<String, Value> {
        object(json!({
            "name": name, "configuration": {"image": image},
            "durable_objects": {"namespace_id": namespace},
        }))
    }

    #[test]
    fn what_waits_changes_nothing_until_it_goes_live_whole() {
        let (directory, control) = control();
        let worker = deploy(&control, "one", first());
        assert!(worker.pending.is_none(), "the first one is live at once");
        let live = worker.live().unwrap().id.clone();
        let namespace = worker.classes["C"].namespace_id.clone();
        let made = control
            .create_application(application(&namespace, "c", "image:1"))
            .unwrap();

        let worker = deploy(&control, "two", second());
        assert_eq!(worker.live().unwrap().id, live);
        assert_eq!(worker.migration_tag.as_deref(), Some("v1"));
        assert!(!worker.classes.contains_key("D"));
        let waiting = worker.pending.clone().unwrap();
        let other = waiting.classes["D"].namespace_id.clone();
        let target = json!({"target_configuration": {"image": "image:2"}});
        let (_, rollout) = control.roll_out(&made.id, &object(target)).unwrap();
        assert_eq!(rollout.status, Status::Pending);
        control
            .create_application(application(&other, "d", "image:3"))
            .unwrap();
        let applications = control.applications().unwrap();
        assert_eq!(applications.len(), 1);
        assert_eq!(applications[0].live.image, "image:1");
        assert!(applications[0].rollouts.is_empty());
        // Also after a restart.
        drop(control);
        let control = open(&directory);
        let stale = control.go_live("app", &live).unwrap_err();
        assert!(matches!(stale, ControlError::NotWaiting(_)), "{stale}");

        control.go_live("app", &waiting.version_id).unwrap();
        let worker = control.worker("app").unwrap();
        assert_eq!(worker.live().unwrap().id, waiting.version_id);
        assert_eq!(worker.migration_tag.as_deref(), Some("v2"));
        assert!(worker.pending.is_none() && worker.classes.contains_key("D"));
        assert!(worker.deployments[0].made.is_empty());
        let mut applications = control.applications().unwrap();
        applications.sort_by(|one, other| one.name.cmp(&other.name));
        let images: Vec<_> = applications
            .iter()
            .map(|one| &one.wanted("").0.image)
            .collect();
        assert_eq!(images, ["image:2", "image:3"]);
        // Whether it was good is yet to be seen.
        assert_eq!(applications[0].rollouts[0].status, Status::Progressing);

        // Back, with what it had.
        let back = control
            .deploy("app", &live, "me", &BTreeMap::new(), false)
            .unwrap();
        assert!(back.atomic);
        let application = control.application(&made.id).unwrap();
        assert_eq!(application.live.image, "image:1");
        assert_eq!(application.rollouts[0].status, Status::Completed);
        assert_eq!(application.rollouts[1].status, Status::Replaced);
        assert_eq!(
            application.rollouts[0].from_version,
            application.rollouts[1].to_version
        );
    }

    #[test]
    fn what_fails_goes_back_whole() {
        let (directory, control) = control();
        let worker = deploy(&control, "one", first());
        let live = worker.live().unwrap().id.clone();
        let namespace = worker.classes["C"].namespace_id.clone();
        let made = control
            .create_application(application(&namespace, "c", "image:1"))
            .unwrap();
        let go_live = |code: &str, image: &str| {
            let waiting = deploy(&control, code, metadata(json!({}))).pending.unwrap();
            let target = json!({"target_configuration": {"image": image}});
            control.roll_out(&made.id, &object(target)).unwrap();
            control.go_live("app", &waiting.version_id).unwrap();
            waiting.version_id
        };
        let second = go_live("two", "image:2");
        assert_eq!(
            control.give_up(&made.id).unwrap(),
            None,
            "nothing has failed"
        );
        let fail = |control: &Control, reason: &str| {
            let failed = control.progress(&made.id, |rollout| rollout.fail(reason));
            failed.unwrap().0
        };
        let failed = fail(&control, "it ended");
        assert_eq!(failed.wanted("").0.image, "image:2", "until both go back");
        fail(&control, "so did another");
        // Also after a kill.
        drop(control);
        let control = open(&directory);
        let (name, back) = control.give_up(&made.id).unwrap().unwrap();
        assert_eq!((name.as_str(), &back), ("app", &live));
        let worker = control.worker("app").unwrap();
        assert_eq!(worker.live().unwrap().id, live);
        assert_eq!(worker.deployments[1].version_id, second);
        let message = &worker.deployments[0].annotations["workers/message"];
        assert_eq!(message, "Goes back: it ended");
        let application = control.application(&made.id).unwrap();
        assert_eq!(application.wanted("").0.image, "image:1");
        let [first, given_up, ..] = application.rollouts.as_slice() else {
            panic!("{application:?}");
        };
        assert_eq!(first.status, Status::Completed);
        assert_eq!(given_up.status, Status::Reverted);
        assert_eq!(given_up.steps[0].reason.as_deref(), Some("it ended"));
        assert_eq!(application.sent["configuration"]["image"], "image:1");
        // It does not go back from there.
        fail(&control, "this one, too");
        assert_eq!(control.give_up(&made.id).unwrap(), None);
    }

    #[test]
    fn what_has_been_replaced_by_hand_is_not_gone_back_from() {
        let (_directory, control) = control();
        let worker = deploy(&control, "one", first());
        let namespace = worker.classes["C"].namespace_id.clone();
        let made = control
            .create_application(application(&namespace, "c", "image:1"))
            .unwrap();
        let waiting = deploy(&control, "two", metadata(json!({})))
            .pending
            .unwrap();
        let target = json!({"target_configuration": {"image": "image:2"}});
        control.roll_out(&made.id, &object(target)).unwrap();
        control.go_live("app", &waiting.version_id).unwrap();
        control
            .progress(&made.id, |rollout| rollout.fail("it ended"))
            .unwrap();
        // A secret, say: the same version's code is live, by another deployment.
        let id = waiting.version_id.clone();
        control
            .deploy("app", &id, "me", &BTreeMap::new(), false)
            .unwrap();
        assert_eq!(control.give_up(&made.id).unwrap(), None);
        let application = control.application(&made.id).unwrap();
        assert!(application.rollout().is_none(), "it is over");
        assert_eq!(application.live.image, "image:2");
        assert_eq!(control.worker("app").unwrap().live().unwrap().id, id);
    }

    #[test]
    fn no_worker_is_read_ahead_of_its_containers() {
        let (_directory, control) = control();
        let worker = deploy(&control, "one", first());
        let namespace = worker.classes["C"].namespace_id.clone();
        let made = control
            .create_application(application(&namespace, "c", "image:1"))
            .unwrap();
        let waiting = deploy(&control, "two", metadata(json!({})))
            .pending
            .unwrap();
        let target = json!({"target_configuration": {"image": "image:2"}});
        control.roll_out(&made.id, &object(target)).unwrap();
        // As a server that is killed between the two writes leaves it.
        control
            .update("app", |worker| {
                let pending = worker.pending.take().unwrap();
                worker.deploy(&pending.version_id, "me", BTreeMap::new());
                worker.deployments[0].atomic = true;
                worker.deployments[0].configurations = pending.configurations;
                Ok(())
            })
            .unwrap();
        assert_eq!(control.application(&made.id).unwrap().live.image, "image:1");
        let (workers, applications) = control.deployed().unwrap();
        assert_eq!(workers[0].live().unwrap().id, waiting.version_id);
        assert_eq!(applications[0].wanted("").0.image, "image:2");
    }

    #[test]
    fn what_waits_gives_way_to_what_is_deployed_after_it() {
        let (_directory, control) = control();
        let one = deploy(&control, "one", first());
        deploy(&control, "two", second());
        let again = deploy(&control, "three", second());
        assert_eq!(again.versions.len(), 3);
        assert_eq!(again.live().unwrap().number, 1);
        let live = one.live().unwrap().id.clone();
        control
            .deploy("app", &live, "me", &BTreeMap::new(), false)
            .unwrap();
        assert!(control.worker("app").unwrap().pending.is_none());
        let wrong = json!({"berth": {"rollout": "now"}, "main_module": "index.js"});
        let error = crate::upload::Upload::parse(wrong.to_string().as_bytes(), Vec::new());
        assert!(error.unwrap_err().to_string().contains("now"));
    }
}
