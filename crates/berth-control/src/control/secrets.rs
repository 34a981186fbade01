//! Secrets of Workers. They belong to versions: a secret that is set makes a new version of the same
//! code, which is live at once or waits to be deployed.

use std::collections::{BTreeMap, BTreeSet};

use berth_store::Sealed;

use super::Control;
use crate::ControlError;
use crate::worker::{self, Version, Worker};

impl Control {
    /// Sets (or, `None`, removes) secrets, all or none, in a new version of the latest one's code, which
    /// is live at once if `live`. The new version's id.
    ///
    /// # Errors
    /// [`ControlError::NotLive`] if the latest version is not the live one and the new one were to be;
    /// [`ControlError::BindingTaken`]; [`ControlError::NoSecret`] when one is removed that is not there.
    pub fn set_secrets(
        &self,
        worker: &str,
        author: &str,
        changes: &BTreeMap<String, Option<String>>,
        annotations: &BTreeMap<String, String>,
        live: bool,
    ) -> Result<String, ControlError> {
        let id = worker::version_id();
        let set = changes
            .iter()
            .filter_map(|(name, text)| Some((name.clone(), text.clone()?)))
            .collect();
        let sealed = self.seal(worker, &set)?;
        if live {
            self.remember_configurations(worker)?;
        }
        self.update(worker, |worker| {
            let latest = worker
                .latest()
                .ok_or_else(|| ControlError::NothingDeployed(worker.name.clone()))?;
            if live && worker.live().is_none_or(|live| live.id != latest.id) {
                return Err(ControlError::NotLive(worker.name.clone()));
            }
            let mut version = Version {
                id: id.clone(),
                number: worker.last_number + 1,
                created: crate::clock::now(),
                author: author.to_owned(),
                annotations: annotations.clone(),
                ..latest.clone()
            };
            change(&worker.name, &mut version, changes, &sealed)?;
            worker.last_number = version.number;
            worker.versions.push(version);
            if live {
                worker.deploy(&id, author, annotations.clone());
            }
            worker.forget(&self.retention());
            Ok(id.clone())
        })
    }

    /// The values of a version's secrets.
    ///
    /// # Errors
    /// They were sealed with another key.
    pub fn open_secrets(
        &self,
        worker: &Worker,
        version: &Version,
    ) -> Result<BTreeMap<String, String>, ControlError> {
        let secrets = version.secrets.iter();
        secrets
            .map(|(name, sealed)| Ok((name.clone(), self.open_secret(&worker.name, name, sealed)?)))
            .collect()
    }

    pub(super) fn seal(
        &self,
        worker: &str,
        secrets: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, Sealed>, ControlError> {
        let sealed = secrets.iter().map(|(name, text)| {
            let sealed = self.inner.key.seal(&owner(worker, name), text.as_bytes())?;
            Ok((name.clone(), sealed))
        });
        sealed.collect()
    }

    /// Names of secrets that are not the same in both.
    pub(super) fn changed_secrets(
        &self,
        worker: &str,
        one: &BTreeMap<String, Sealed>,
        other: &BTreeMap<String, Sealed>,
    ) -> Result<Vec<String>, ControlError> {
        let mut changed = Vec::new();
        let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
        for name in names {
            let open = |secrets: &BTreeMap<String, Sealed>| {
                let sealed = secrets.get(name);
                sealed
                    .map(|sealed| self.open_secret(worker, name, sealed))
                    .transpose()
            };
            if open(one)? != open(other)? {
                changed.push(name.clone());
            }
        }
        Ok(changed)
    }

    fn open_secret(
        &self,
        worker: &str,
        name: &str,
        sealed: &Sealed,
    ) -> Result<String, ControlError> {
        let owner = owner(worker, name);
        let bytes = self.inner.key.open_sealed(&owner, sealed)?;
        String::from_utf8(bytes)
            .map_err(|_| ControlError::Seal(berth_store::SealError::Foreign(owner)))
    }
}

fn owner(worker: &str, name: &str) -> String {
    format!("Worker `{worker}`, `{name}`")
}

fn change(
    worker: &str,
    version: &mut Version,
    changes: &BTreeMap<String, Option<String>>,
    sealed: &BTreeMap<String, Sealed>,
) -> Result<(), ControlError> {
    for (name, text) in changes {
        if let Some(binding) = version
            .bindings
            .iter()
            .find(|binding| binding.name == *name)
        {
            return Err(ControlError::BindingTaken {
                name: name.clone(),
                kind: binding.kind.word().to_owned(),
            });
        }
        if text.is_none() && version.secrets.remove(name).is_none() {
            return Err(ControlError::NoSecret {
                worker: worker.to_owned(),
                secret: name.clone(),
            });
        }
    }
    version.secrets.extend(sealed.clone());
    Ok(())
}
