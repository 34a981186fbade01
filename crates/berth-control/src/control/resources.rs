//! What belongs to the account and not to a Worker: KV namespaces, D1 databases, queues, Workflows and
//! secrets stores. Here are their records; what they hold is kept by whoever runs the data plane.
//!
//! Invariants: of each kind a name is there once; what a live version binds exists and is not deleted.

mod d1;
mod kv;
mod queues;
mod stores;
mod targets;
mod workflows;

use std::fmt;
use std::sync::{MutexGuard, PoisonError};

pub use berth_store::Sealed;
use berth_store::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use d1::Database;
pub use kv::Namespace;
pub use queues::{Consumer, ConsumerSettings, Queue, QueueChanges, QueueSettings};
pub use stores::{NewStoreSecret, SecretStore, StoreSecret, StoreSecretChanges};
pub use workflows::Workflow;

use super::Control;
use crate::ControlError;
use crate::worker::{BindingKind, Worker};

/// Characters of a name.
const LONGEST_NAME: usize = 512;

/// Kinds of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A KV namespace.
    Kv,
    /// A D1 database.
    D1,
    /// A queue.
    Queue,
    /// A queue's consumer.
    Consumer,
    /// A Workflow.
    Workflow,
    /// A secrets store.
    Store,
    /// A secret of a store.
    Secret,
}

impl Kind {
    /// The kind of record.
    fn record(self) -> &'static str {
        match self {
            Self::Kv => "kv_namespace",
            Self::D1 => "d1_database",
            Self::Queue | Self::Consumer => "queue",
            Self::Workflow => "workflow",
            Self::Store => "secrets_store",
            Self::Secret => "store_secret",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kv => "KV namespace",
            Self::D1 => "D1 database",
            Self::Queue => "queue",
            Self::Consumer => "consumer",
            Self::Workflow => "Workflow",
            Self::Store => "secrets store",
            Self::Secret => "secret",
        })
    }
}

/// A kind of record.
trait Resource: Serialize + DeserializeOwned {
    const KIND: Kind;
    /// The record's key.
    fn key(&self) -> &str;
    /// What it is called.
    fn name(&self) -> &str;
}

impl Control {
    /// Every resource of a kind, oldest first as far as the names of records are in time's order.
    fn resources<R: Resource>(&self) -> Result<Vec<R>, ControlError> {
        let listed = self.inner.store.list(R::KIND.record())?;
        Ok(listed.into_iter().map(|(_, record)| record.value).collect())
    }

    fn resource<R: Resource>(&self, key: &str) -> Result<R, ControlError> {
        let found = self.inner.store.get(R::KIND.record(), key)?;
        found
            .map(|record| record.value)
            .ok_or_else(|| missing(R::KIND, key))
    }

    fn create_resource<R: Resource>(&self, resource: R) -> Result<R, ControlError> {
        let record = R::KIND.record();
        self.inner.store.create(record, resource.key(), &resource)?;
        self.changed();
        Ok(resource)
    }

    fn update_resource<R: Resource, T>(
        &self,
        key: &str,
        mut change: impl FnMut(&mut R) -> Result<T, ControlError>,
    ) -> Result<(R, T), ControlError> {
        let store = &self.inner.store;
        loop {
            let found = store.get::<R>(R::KIND.record(), key)?;
            let record = found.ok_or_else(|| missing(R::KIND, key))?;
            let mut value = record.value;
            let result = change(&mut value)?;
            match store.replace(R::KIND.record(), key, &value, record.revision) {
                Ok(_) => {
                    self.changed();
                    return Ok((value, result));
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn delete_resource<R: Resource>(&self, key: &str) -> Result<R, ControlError> {
        let store = &self.inner.store;
        loop {
            let found = store.get::<R>(R::KIND.record(), key)?;
            let record = found.ok_or_else(|| missing(R::KIND, key))?;
            match store.delete(R::KIND.record(), key, record.revision) {
                Ok(()) => {
                    self.changed();
                    return Ok(record.value);
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Refuses a name that another resource has.
    fn check_free<R: Resource>(&self, name: &str, except: &str) -> Result<(), ControlError> {
        let others = self.resources::<R>()?.into_iter();
        let mut others = others.filter(|other| other.key() != except);
        if others.any(|other| other.name() == name) {
            return Err(ControlError::ResourceTaken {
                kind: R::KIND,
                name: name.to_owned(),
            });
        }
        Ok(())
    }

    /// Refuses what a live version binds.
    fn check_unused(
        &self,
        kind: Kind,
        name: &str,
        uses: impl Fn(&Worker, &BindingKind) -> bool,
    ) -> Result<(), ControlError> {
        for worker in self.workers()? {
            let bindings = worker.live().map(|version| version.bindings.as_slice());
            let mut bindings = bindings.unwrap_or_default().iter();
            if let Some(binding) = bindings.find(|binding| uses(&worker, &binding.kind)) {
                return Err(ControlError::ResourceUsed {
                    kind,
                    name: name.to_owned(),
                    user: format!(
                        "the binding `{}` of the Worker `{}`",
                        binding.name, worker.name
                    ),
                });
            }
        }
        Ok(())
    }

    /// One change of names at a time.
    fn one_at_a_time(&self) -> MutexGuard<'_, ()> {
        // It guards nothing that could be half-made: records are.
        self.inner
            .resources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing(kind: Kind, name: &str) -> ControlError {
    ControlError::NoResource {
        kind,
        name: name.to_owned(),
    }
}

fn invalid(field: &'static str, problem: impl Into<String>) -> ControlError {
    ControlError::Resource {
        field,
        problem: problem.into(),
    }
}

/// A name for people, of at most so many characters.
fn check_title(field: &'static str, name: &str) -> Result<(), ControlError> {
    if name.trim().is_empty() {
        return Err(invalid(field, "must not be empty"));
    }
    if name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        let text = format!(
            "must have at most {LONGEST_NAME} characters, none of them a control character"
        );
        return Err(invalid(field, text));
    }
    Ok(())
}

/// A name of letters, digits, `-` and `_`.
fn check_word(field: &'static str, name: &str, longest: usize) -> Result<(), ControlError> {
    let allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
    if name.is_empty() || name.len() > longest || !name.chars().all(allowed) {
        let text = format!("must have 1 to {longest} letters, digits, `-` and `_`, not `{name}`");
        return Err(invalid(field, text));
    }
    Ok(())
}

/// 64 hexadecimal digits that nobody can guess.
pub fn secret_id() -> String {
    hex_id() + &hex_id()
}

fn hex_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn uuid() -> String {
    uuid::Uuid::new_v4().hyphenated().to_string()
}

#[cfg(test)]
mod tests;
