//! Durable Object classes that change hands (`transferred_classes`).
//!
//! The class, its key and its namespace's id go from one Worker's record to the other's in one write. Its
//! objects are in the former Worker's directory then: whoever runs the Workers moves them, once nobody has
//! them open, and says so ([`Control::arrived`]). Until then [`Class::kept_by`] says where they are.

use std::collections::BTreeMap;

use berth_store::{Change, Record, StoreError};

use super::Control;
use crate::ControlError;
use crate::migrations::{Class, MigrationError, Migrations, Transferred};
use crate::worker::{self, BindingKind, Worker};

/// The Workers that classes are taken from, by name.
#[derive(Debug, Default)]
pub(super) struct Sources(BTreeMap<String, Record<Worker>>);

impl Sources {
    /// The class that is taken, as its next Worker has it.
    pub(super) fn class(&self, transferred: &Transferred) -> Result<Class, MigrationError> {
        let Transferred {
            from, from_script, ..
        } = transferred;
        let missing = || MigrationError::NotThere {
            script: from_script.clone(),
            class: from.clone(),
        };
        let source = &self.0.get(from_script).ok_or_else(missing)?.value;
        let class = source.classes.get(from).ok_or_else(missing)?;
        if class.kept_by.is_some() {
            return Err(MigrationError::OnTheWay {
                script: source.name.clone(),
                class: from.clone(),
            });
        }
        let bindings = source.live().into_iter().flat_map(|live| &live.bindings);
        let mut bound = bindings.filter(|binding| {
            matches!(&binding.kind, BindingKind::DurableObjectNamespace { class_name } if class_name == from)
        });
        if let Some(binding) = bound.next() {
            return Err(MigrationError::StillBound {
                script: source.name.clone(),
                class: from.clone(),
                binding: binding.name.clone(),
            });
        }
        Ok(Class {
            kept_by: Some(source.id.clone()),
            transferred: true,
            ..class.clone()
        })
    }
}

/// Classes that migrations take from other Workers.
fn taken(migrations: &Migrations) -> impl Iterator<Item = &Transferred> {
    let steps = migrations.steps.iter();
    steps.flat_map(|step| &step.transferred_classes)
}

impl Control {
    /// The Workers that the migrations of a Worker take classes from; one that is not there has none.
    pub(super) fn sources(
        &self,
        worker: &str,
        migrations: &Migrations,
    ) -> Result<Sources, ControlError> {
        let mut sources = Sources::default();
        for Transferred { from_script, .. } in taken(migrations) {
            if from_script == worker || sources.0.contains_key(from_script) {
                continue;
            }
            if let Some(record) = self.inner.store.get(worker::KIND, from_script)? {
                sources.0.insert(from_script.clone(), record);
            }
        }
        Ok(sources)
    }

    /// Changes a Worker, which is made if it is not there, and in the same write the Workers that lose classes to
    /// it.
    pub(super) fn update_with<T>(
        &self,
        name: &str,
        migrations: Option<&Migrations>,
        mut change: impl FnMut(&mut Worker) -> Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        let none = Migrations::default();
        let migrations = migrations.unwrap_or(&none);
        if taken(migrations).next().is_none() {
            return self.update_or_make(name, change);
        }
        if !worker::is_name(name) {
            return Err(ControlError::BadName(name.to_owned()));
        }
        let store = &self.inner.store;
        loop {
            // Read before the change looks at them: what it saw is what is written over, or it is a conflict.
            let mut sources = self.sources(name, migrations)?;
            let present = store.get::<Worker>(worker::KIND, name)?;
            let revision = present.as_ref().map(|record| record.revision);
            let mut value = present.map_or_else(|| Worker::new(name), |record| record.value);
            let result = change(&mut value)?;
            let now = crate::clock::now();
            value.modified.clone_from(&now);
            for Transferred {
                from, from_script, ..
            } in taken(migrations)
            {
                if let Some(source) = sources.0.get_mut(from_script) {
                    source.value.classes.remove(from);
                    source.value.pending = None;
                    source.value.modified.clone_from(&now);
                }
            }
            let sources = sources.0.iter();
            let mut changes: Vec<Change<'_, Worker>> = sources
                .map(|(name, source)| Change {
                    key: name,
                    value: &source.value,
                    from: Some(source.revision),
                })
                .collect();
            changes.push(Change {
                key: name,
                value: &value,
                from: revision,
            });
            match store.write_all(worker::KIND, &changes) {
                Ok(()) => {
                    self.changed();
                    return Ok(result);
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The objects of these classes, by their keys, are where the Worker keeps its own.
    ///
    /// # Errors
    /// [`ControlError::NoWorker`].
    pub fn arrived(&self, worker: &str, keys: &[String]) -> Result<(), ControlError> {
        self.update(worker, |worker| {
            for class in worker.classes.values_mut() {
                if keys.contains(&class.key) {
                    class.kept_by = None;
                }
            }
            Ok(())
        })
    }

    /// A Worker that keeps another one's objects cannot be deleted with them.
    pub(super) fn check_keeps_nothing(&self, name: &str) -> Result<(), ControlError> {
        let id = self.worker(name)?.id;
        for worker in self.workers()? {
            for (class, record) in &worker.classes {
                if record.kept_by.as_ref() == Some(&id) {
                    return Err(MigrationError::OnTheWay {
                        script: worker.name.clone(),
                        class: class.clone(),
                    }
                    .into());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{control, deploy, upload};
    use super::*;

    /// `app`, which has the class `C`, and binds it or not.
    fn first(control: &Control, binds: bool) -> Worker {
        let bindings = match binds {
            true => json!([{"name": "O", "type": "durable_object_namespace", "class_name": "C"}]),
            false => json!([]),
        };
        let mut metadata = json!({"bindings": bindings});
        if control.worker("app").is_err() {
            metadata["migrations"] =
                json!({"new_tag": "v1", "steps": [{"new_sqlite_classes": ["C"]}]});
        }
        deploy(control, "one", metadata)
    }

    fn second() -> serde_json::Value {
        let class = json!({"from": "C", "from_script": "app", "to": "D"});
        json!({
            "bindings": [{"name": "O", "type": "durable_object_namespace", "class_name": "D"}],
            "migrations": {"new_tag": "v1", "steps": [{"transferred_classes": [class]}]},
        })
    }

    fn take(control: &Control, metadata: serde_json::Value) -> Result<Worker, ControlError> {
        let new = control.prepare("other", "me", upload("two", metadata))?;
        new.commit(true)
    }

    #[test]
    fn a_class_is_one_workers_at_any_time() {
        let (_directory, control) = control();
        let source = first(&control, true);
        let class = source.classes["C"].clone();
        let refused = take(&control, second()).unwrap_err();
        assert!(
            matches!(&refused, ControlError::Migration(MigrationError::StillBound { binding, .. }) if binding == "O"),
            "{refused}"
        );
        first(&control, false);
        let worker = take(&control, second()).unwrap();
        assert_eq!(worker.classes["D"].key, class.key);
        assert_eq!(worker.classes["D"].namespace_id, class.namespace_id);
        assert_eq!(worker.classes["D"].kept_by.as_ref(), Some(&source.id));
        assert!(control.worker("app").unwrap().classes.is_empty());

        // Its objects are with the former one until somebody says otherwise.
        let on_the_way = control.delete_worker("app", false).unwrap_err();
        assert!(
            on_the_way.to_string().contains("on their way"),
            "{on_the_way}"
        );
        control.arrived("other", &[class.key]).unwrap();
        assert_eq!(control.worker("other").unwrap().classes["D"].kept_by, None);
        control.delete_worker("app", false).unwrap();
        let gone = control.prepare("third", "me", upload("three", second()));
        let gone = gone.unwrap_err();
        assert!(
            gone.to_string().contains("has no Durable Object class `C`"),
            "{gone}"
        );
    }

    #[test]
    fn its_container_application_goes_with_it_and_gets_a_name_of_there() {
        let (_directory, control) = control();
        let namespace = first(&control, false).classes["C"].namespace_id.clone();
        let sent = |name: &str, image: &str| {
            super::super::tests::object(json!({
                "name": name, "configuration": {"image": image}, "max_instances": 3,
                "durable_objects": {"namespace_id": namespace},
            }))
        };
        let made = control.create_application(sent("app-c", "i:1")).unwrap();
        let taken = control.create_application(sent("other-d", "i:2"));
        assert!(taken.unwrap_err().to_string().contains("`app-c`"));
        take(&control, second()).unwrap();

        let same = control.create_application(sent("other-d", "i:1")).unwrap();
        assert_eq!(
            (same.id.as_str(), same.name.as_str()),
            (made.id.as_str(), "other-d")
        );
        assert!(same.rollout().is_none(), "the image is what it was");
        let other = control.create_application(sent("another", "i:2")).unwrap();
        assert_eq!(other.id, made.id);
        assert_eq!(other.rollout().unwrap().former["image"], "i:1");
        assert_eq!(other.sent["configuration"]["image"], "i:2");
        assert_eq!(control.applications().unwrap().len(), 1);
    }

    #[test]
    fn a_class_changes_hands_with_a_live_version_only() {
        let (_directory, control) = control();
        first(&control, false);
        deploy_other(&control);
        let stored = control
            .prepare("other", "me", upload("two", second()))
            .unwrap();
        let refused = stored.commit(false).unwrap_err();
        assert!(refused.to_string().contains("live at once"), "{refused}");
        let mut atomic = second();
        atomic["berth"] = json!({"rollout": "atomic"});
        atomic["containers"] = json!([{"class_name": "D"}]);
        let refused = take(&control, atomic).unwrap_err();
        assert!(refused.to_string().contains("live at once"), "{refused}");
        assert!(control.worker("app").unwrap().classes.contains_key("C"));
    }

    fn deploy_other(control: &Control) {
        let new = control
            .prepare("other", "me", upload("zero", json!({})))
            .unwrap();
        new.commit(true).unwrap();
    }
}
