//! Container applications.

use berth_store::StoreError;
use serde_json::{Map, Value, json};

use super::Control;
use super::rollouts::put_first;
use crate::ControlError;
use crate::containers::{self, Application, ApplicationError, Instance, Policy, Rollout};

impl Control {
    /// Every container application, oldest first.
    ///
    /// # Errors
    /// The records.
    pub fn applications(&self) -> Result<Vec<Application>, ControlError> {
        let listed = self.inner.store.list::<Application>(containers::KIND)?;
        let mut all: Vec<Application> =
            listed.into_iter().map(|(_, record)| record.value).collect();
        all.sort_by(|one, other| one.created.cmp(&other.created));
        Ok(all)
    }

    /// One application.
    ///
    /// # Errors
    /// [`ControlError::NoApplication`].
    pub fn application(&self, id: &str) -> Result<Application, ControlError> {
        let found = self.inner.store.get(containers::KIND, id)?;
        found
            .map(|record| record.value)
            .ok_or_else(|| ControlError::NoApplication(id.to_owned()))
    }

    /// Makes an application of a request; its instances run with what the request says at once, or when the
    /// version of its Worker that waits for it is live. That of a class which was transferred is there: it gets
    /// the name of the request, and its instances are rolled out all at once.
    ///
    /// # Errors
    /// [`ControlError::Application`].
    pub fn create_application(
        &self,
        sent: Map<String, Value>,
    ) -> Result<Application, ControlError> {
        // One at a time: names and namespaces are compared over all of them.
        let _one = self.pending();
        let mut sent = containers::checked(&sent)?;
        sent.retain(|_, value| !value.is_null());
        let missing = |field: &'static str| ApplicationError::Field {
            field: field.into(),
            problem: "is missing".to_owned(),
        };
        let name = sent.get("name").and_then(Value::as_str);
        let name = name
            .filter(|name| !name.is_empty())
            .ok_or_else(|| missing("name"))?
            .to_owned();
        let namespace = sent
            .get("durable_objects")
            .and_then(|objects| objects.get("namespace_id"));
        let namespace = namespace.and_then(Value::as_str);
        let namespace = namespace
            .ok_or_else(|| missing("durable_objects.namespace_id"))?
            .to_owned();
        let (policy, types) = (containers::policy(&sent), self.instance_types());
        let live = match policy {
            Policy::Application => {
                containers::instance(configuration(&sent, "configuration")?, &types)?
            }
            Policy::Object => containers::unsized_instance(&types),
        };
        let waiting = self.waiting_for(&namespace)?;
        self.check_namespace(&namespace)?;
        for other in self.applications()? {
            if other.name == name {
                return Err(ApplicationError::NameTaken(name).into());
            }
            if other.namespace_id == namespace {
                let same = waiting.is_none() && other.policy() == policy;
                if same && self.was_transferred(&namespace)? {
                    return self.rename_application(&other.id, &name, &sent, &live);
                }
                return Err(ApplicationError::Taken(other.name).into());
            }
        }
        let now = crate::clock::now();
        let application = Application {
            id: match policy {
                Policy::Application => uuid::Uuid::new_v4().hyphenated().to_string(),
                // wrangler looks it up by that.
                Policy::Object => namespace.clone(),
            },
            created: now.clone(),
            modified: now,
            version: 1,
            namespace_id: namespace,
            name,
            sent,
            live,
            live_version: 1,
            rollouts: Vec::new(),
            by_version: std::collections::BTreeMap::new(),
            obeyed: None,
        };
        if let Some(worker) = &waiting {
            self.make_waiting(worker, &application)?;
            return Ok(application);
        }
        self.inner
            .store
            .create(containers::KIND, &application.id, &application)?;
        self.changed();
        Ok(application)
    }

    /// Gives an application another name, and its instances what a request says.
    fn rename_application(
        &self,
        id: &str,
        name: &str,
        sent: &Map<String, Value>,
        live: &Instance,
    ) -> Result<Application, ControlError> {
        let wanted = sent.get("configuration").and_then(Value::as_object);
        let request = json!({"description": "Of another Worker now", "step_percentage": 100});
        let request = request.as_object().cloned().unwrap_or_default();
        let new = match wanted {
            Some(wanted) if containers::policy(sent) == Policy::Application => {
                Some(Rollout::new(&request, wanted, live.clone())?)
            }
            _ => None,
        };
        self.update_application(id, |application| {
            let former = std::mem::replace(&mut application.sent, sent.clone());
            name.clone_into(&mut application.name);
            let before = former.get("configuration");
            if let Some(new) = new.clone().filter(|_| before != sent.get("configuration")) {
                if let Some(before) = before {
                    let key = "configuration".to_owned();
                    application.sent.insert(key, before.clone());
                }
                put_first(application, new);
            }
            Ok(())
        })
    }

    fn was_transferred(&self, namespace: &str) -> Result<bool, ControlError> {
        let workers = self.workers()?;
        let mut classes = workers.iter().flat_map(|worker| worker.classes.values());
        Ok(classes.any(|class| class.namespace_id == namespace && class.transferred))
    }

    /// Changes what is wanted. A `configuration` is only checked: it comes with the rollout, and until then
    /// whoever compares sees that it is not there. A rollout that failed is asked for again like that.
    ///
    /// # Errors
    /// [`ControlError::NoApplication`], [`ControlError::Application`].
    pub fn modify_application(
        &self,
        id: &str,
        changes: &Map<String, Value>,
    ) -> Result<Application, ControlError> {
        let changes = &containers::checked(changes)?;
        self.update_application(id, |application| {
            let policy = application.policy();
            if policy == Policy::Application && changes.contains_key("configuration") {
                let wanted = configuration(changes, "configuration")?;
                containers::instance(wanted, &self.instance_types())?;
            }
            if changes.contains_key("scheduling_policy") && containers::policy(changes) != policy {
                return Err(ApplicationError::Field {
                    field: "scheduling_policy".into(),
                    problem: "never changes: make another application".to_owned(),
                }
                .into());
            }
            for (name, value) in changes {
                let own = matches!(name.as_str(), "name" | "durable_objects");
                if own || (name == "configuration" && policy == Policy::Application) {
                    continue;
                }
                if value.is_null() {
                    application.sent.remove(name);
                } else {
                    application.sent.insert(name.clone(), value.clone());
                }
            }
            Ok(())
        })
    }

    /// Deletes an application; its class has no containers then.
    ///
    /// # Errors
    /// [`ControlError::NoApplication`].
    pub fn delete_application(&self, id: &str) -> Result<(), ControlError> {
        let store = &self.inner.store;
        loop {
            let found = store.get::<Application>(containers::KIND, id)?;
            let record = found.ok_or_else(|| ControlError::NoApplication(id.to_owned()))?;
            match store.delete(containers::KIND, id, record.revision) {
                Ok(()) => break,
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.changed();
        Ok(())
    }

    /// Deletes the applications whose class is gone with its Worker.
    pub(super) fn delete_orphans(&self) -> Result<(), ControlError> {
        let workers = self.workers()?;
        for application in self.applications()? {
            let mut classes = workers.iter().flat_map(|worker| worker.classes.values());
            if classes.any(|class| class.namespace_id == application.namespace_id) {
                continue;
            }
            match self.delete_application(&application.id) {
                Ok(()) | Err(ControlError::NoApplication(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn check_namespace(&self, namespace: &str) -> Result<(), ControlError> {
        for worker in self.workers()? {
            for (name, class) in worker.all_classes() {
                if class.namespace_id != namespace {
                    continue;
                }
                if !class.sqlite {
                    return Err(ApplicationError::NotSqlite(name).into());
                }
                return Ok(());
            }
        }
        Err(ApplicationError::NoNamespace(namespace.to_owned()).into())
    }

    pub(super) fn update_application(
        &self,
        id: &str,
        change: impl FnMut(&mut Application) -> Result<(), ControlError>,
    ) -> Result<Application, ControlError> {
        Ok(self.change_application(id, change)?.0)
    }

    /// Changes an application; what is not changed is not written.
    pub(super) fn change_application<T>(
        &self,
        id: &str,
        mut change: impl FnMut(&mut Application) -> Result<T, ControlError>,
    ) -> Result<(Application, T), ControlError> {
        let store = &self.inner.store;
        loop {
            let found = store.get::<Application>(containers::KIND, id)?;
            let record = found.ok_or_else(|| ControlError::NoApplication(id.to_owned()))?;
            let mut application = record.value.clone();
            let result = change(&mut application)?;
            if application == record.value {
                return Ok((application, result));
            }
            application.modified = crate::clock::now();
            match store.replace(containers::KIND, id, &application, record.revision) {
                Ok(_) => {
                    self.changed();
                    return Ok((application, result));
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

pub(super) fn configuration<'a>(
    request: &'a Map<String, Value>,
    field: &'static str,
) -> Result<&'a Map<String, Value>, ControlError> {
    let configuration = request.get(field).and_then(Value::as_object);
    configuration.ok_or_else(|| {
        ApplicationError::Field {
            field: field.into(),
            problem: "is missing".to_owned(),
        }
        .into()
    })
}
