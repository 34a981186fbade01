//! Every change of what is deployed: checked, then written whole.
//!
//! A change is a function of the record as it is; when somebody else has changed the record meanwhile
//! it is made again from what they made. Calls block for as long as the disk takes.

mod applications;
mod assets;
mod candidate;
mod deployments;
mod pending;
mod pins;
mod places;
mod r2;
pub mod resources;
mod rollouts;
mod secrets;
mod ssh;
mod tail_consumers;
mod tokens;
mod transfers;
mod triggers;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use berth_config::InstanceTypes;
use berth_r2::{Place, R2, R2Error};
use berth_store::{SealKey, Store, StoreError};
use tokio::sync::watch;

pub use assets::AssetsSession;
pub use candidate::NewVersion;
pub use places::{DomainChanges, NewDomain};
pub use r2::R2Key;

use crate::ControlError;
use crate::account::{self, Account};
use crate::content::Content;
use crate::worker::{self, Retention, Worker};

/// The control plane of one data directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Control {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    key: SealKey,
    content: Content,
    r2: berth_r2::R2,
    account: Account,
    changes: watch::Sender<u64>,
    /// Held while resources are made, named or deleted: their names are compared over all of them.
    resources: Mutex<()>,
    /// Digests of content that no record names yet, with how many uploads need each.
    pending: Mutex<BTreeMap<String, usize>>,
    /// Held while routes and domains are given to a Worker, so that two do not get the same one.
    places: Mutex<()>,
    retention: Mutex<Retention>,
    instance_types: Mutex<Arc<InstanceTypes>>,
}

impl Control {
    /// That of a directory, which is made: records, modules and the key.
    ///
    /// # Errors
    /// The directory cannot be used, or is a newer version's.
    pub fn open(directory: &Path, key: &Path) -> Result<Self, ControlError> {
        Self::open_at(directory, key, &Place::Directory)
    }

    /// The same with the bytes of R2's objects at a place.
    ///
    /// # Errors
    /// As [`Control::open`]; they are at another place.
    pub fn open_at(directory: &Path, key: &Path, r2: &Place) -> Result<Self, ControlError> {
        fs_err::create_dir_all(directory).map_err(crate::content::failed("make", directory))?;
        let store = Store::open(&directory.join("records.db"))?;
        let account = own_account(&store)?;
        let inner = Inner {
            store,
            key: SealKey::open(key)?,
            content: Content::open(&directory.join("modules"))?,
            r2: R2::open_at(&directory.join("r2"), r2).map_err(R2Error::from)?,
            account,
            changes: watch::Sender::new(0),
            resources: Mutex::default(),
            pending: Mutex::default(),
            places: Mutex::default(),
            retention: Mutex::default(),
            instance_types: Mutex::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Says which versions are kept, from the next change of each Worker on.
    pub fn keep(&self, retention: Retention) {
        *self
            .inner
            .retention
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = retention;
    }

    fn retention(&self) -> Retention {
        let retention = self.inner.retention.lock();
        retention.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says which sizes of containers have names, from the next deployment of each application on.
    pub fn set_instance_types(&self, types: InstanceTypes) {
        *self
            .inner
            .instance_types
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(types);
    }

    /// The named sizes of containers.
    pub fn instance_types(&self) -> Arc<InstanceTypes> {
        let known = self.inner.instance_types.lock();
        Arc::clone(&known.unwrap_or_else(PoisonError::into_inner))
    }

    /// Whose machine this is.
    pub fn account(&self) -> &Account {
        &self.inner.account
    }

    /// Changes whenever a Worker has been changed, made or deleted.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// R2 buckets.
    pub fn r2(&self) -> &berth_r2::R2 {
        &self.inner.r2
    }

    /// Modules.
    pub fn content(&self) -> &Content {
        &self.inner.content
    }

    /// Every Worker, by name.
    ///
    /// # Errors
    /// The records.
    pub fn workers(&self) -> Result<Vec<Worker>, ControlError> {
        let workers = self.inner.store.list(worker::KIND)?;
        Ok(workers
            .into_iter()
            .map(|(_, record)| record.value)
            .collect())
    }

    /// One Worker.
    ///
    /// # Errors
    /// [`ControlError::NoWorker`].
    pub fn worker(&self, name: &str) -> Result<Worker, ControlError> {
        let found = self.inner.store.get(worker::KIND, name)?;
        found
            .map(|record| record.value)
            .ok_or_else(|| ControlError::NoWorker(name.to_owned()))
    }

    /// Deletes a Worker with everything that is its own. `force`: although others are told by it what they do.
    ///
    /// # Errors
    /// [`ControlError::NoWorker`]; it still keeps the objects of a class that is another Worker's now;
    /// [`ControlError::TailsOthers`].
    pub fn delete_worker(&self, name: &str, force: bool) -> Result<(), ControlError> {
        self.check_keeps_nothing(name)?;
        if !force {
            self.check_tails_nobody(name)?;
        }
        loop {
            let found = self.inner.store.get::<Worker>(worker::KIND, name)?;
            let record = found.ok_or_else(|| ControlError::NoWorker(name.to_owned()))?;
            match self.inner.store.delete(worker::KIND, name, record.revision) {
                Ok(()) => break,
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.changed();
        self.forget_consumer(name)?;
        self.forget_workflows(name)?;
        self.delete_orphans()?;
        self.collect()
    }

    /// Changes a Worker that exists.
    fn update<T>(
        &self,
        name: &str,
        mut change: impl FnMut(&mut Worker) -> Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        self.put(name, false, &mut change)
    }

    /// Changes a Worker, which is made if it is not there.
    fn update_or_make<T>(
        &self,
        name: &str,
        mut change: impl FnMut(&mut Worker) -> Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        if !worker::is_name(name) {
            return Err(ControlError::BadName(name.to_owned()));
        }
        self.put(name, true, &mut change)
    }

    fn put<T>(
        &self,
        name: &str,
        make: bool,
        change: &mut dyn FnMut(&mut Worker) -> Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        let store = &self.inner.store;
        loop {
            let (mut value, revision) = match store.get::<Worker>(worker::KIND, name)? {
                Some(record) => (record.value, Some(record.revision)),
                None if make => (Worker::new(name), None),
                None => return Err(ControlError::NoWorker(name.to_owned())),
            };
            let result = change(&mut value)?;
            value.modified = crate::clock::now();
            let written = match revision {
                Some(revision) => store.replace(worker::KIND, name, &value, revision),
                None => store.create(worker::KIND, name, &value),
            };
            match written {
                Ok(_) => {
                    self.changed();
                    return Ok(result);
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn changed(&self) {
        self.inner.changes.send_modify(|count| *count += 1);
    }

    /// Deletes modules and assets that nobody needs.
    fn collect(&self) -> Result<(), ControlError> {
        // Held throughout: what is put from now on waits, what was put before is in here.
        let pending = self.pending();
        let mut wanted: HashSet<String> = pending.keys().cloned().collect();
        let workers = self.workers()?;
        wanted.extend(self.assets_in_use(&workers)?);
        for worker in workers {
            let modules = worker
                .versions
                .into_iter()
                .flat_map(|version| version.modules);
            wanted.extend(modules.map(|module| module.digest));
        }
        self.inner.content.keep_only(&wanted)?;
        Ok(())
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, usize>> {
        // Every write is one map operation.
        self.inner
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Two servers that make it at once have the same one in the end.
fn own_account(store: &Store) -> Result<Account, ControlError> {
    loop {
        if let Some(record) = store.get(account::KIND, account::KEY)? {
            return Ok(record.value);
        }
        match store.create(account::KIND, account::KEY, &Account::new()) {
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
