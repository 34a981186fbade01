//! Secrets stores. Their values go in, are sealed, and come out only for the Workers that bind them.

use berth_store::Sealed;
use serde::{Deserialize, Serialize};

use super::{Kind, Resource, check_word, hex_id, invalid, missing};
use crate::control::Control;
use crate::worker::BindingKind;
use crate::{ControlError, clock};

/// Characters of a name.
const LONGEST_NAME: usize = 255;
/// Bytes of a value.
const LONGEST_VALUE: usize = 64 << 10;

/// A store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SecretStore {
    /// 32 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When it was changed last, RFC 3339.
    pub modified: String,
}

/// A secret of a store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoreSecret {
    /// 32 hexadecimal digits.
    pub id: String,
    /// The store's.
    pub store_id: String,
    /// Its name.
    pub name: String,
    /// For people.
    pub comment: String,
    /// What may read it; `workers` and `containers` are known, others are kept as they are.
    pub scopes: Vec<String>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When it was changed last, RFC 3339.
    pub modified: String,
    /// Its value, sealed for this secret's id.
    pub value: Sealed,
}

/// A secret that is to be.
#[derive(Clone, Deserialize)]
pub struct NewStoreSecret {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// What may read it.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// For people.
    #[serde(default)]
    pub comment: Option<String>,
}

/// What is to be changed of a secret.
#[derive(Clone, Default, Deserialize)]
pub struct StoreSecretChanges {
    /// Its value.
    pub value: Option<String>,
    /// What may read it.
    pub scopes: Option<Vec<String>>,
    /// For people.
    pub comment: Option<String>,
}

impl Resource for SecretStore {
    const KIND: Kind = Kind::Store;

    fn key(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Resource for StoreSecret {
    const KIND: Kind = Kind::Secret;

    fn key(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Control {
    /// Every store, by name.
    ///
    /// # Errors
    /// The records.
    pub fn secret_stores(&self) -> Result<Vec<SecretStore>, ControlError> {
        let mut all: Vec<SecretStore> = self.resources()?;
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// One store.
    ///
    /// # Errors
    /// [`ControlError::NoResource`].
    pub fn secret_store(&self, id: &str) -> Result<SecretStore, ControlError> {
        self.resource(id)
    }

    /// Makes a store.
    ///
    /// # Errors
    /// [`ControlError::ResourceTaken`], or the name cannot be.
    pub fn create_secret_store(&self, name: &str) -> Result<SecretStore, ControlError> {
        check_word("name", name, LONGEST_NAME)?;
        let _one = self.one_at_a_time();
        self.check_free::<SecretStore>(name, "")?;
        let now = clock::now();
        self.create_resource(SecretStore {
            id: hex_id(),
            name: name.to_owned(),
            created: now.clone(),
            modified: now,
        })
    }

    /// Deletes a store with its secrets.
    ///
    /// # Errors
    /// [`ControlError::NoResource`]; [`ControlError::ResourceUsed`] while a live version binds one.
    pub fn delete_secret_store(&self, id: &str) -> Result<SecretStore, ControlError> {
        let _one = self.one_at_a_time();
        let store = self.secret_store(id)?;
        self.check_unused(Kind::Store, &store.name, |_, kind| {
            matches!(kind, BindingKind::SecretsStoreSecret { store_id, .. } if store_id == id)
        })?;
        // Before its secrets: a store is whole or not there.
        self.delete_resource::<SecretStore>(id)?;
        for secret in self.resources::<StoreSecret>()? {
            if secret.store_id == id {
                self.delete_resource::<StoreSecret>(&secret.id)?;
            }
        }
        Ok(store)
    }

    /// A store's secrets, by name.
    ///
    /// # Errors
    /// [`ControlError::NoResource`].
    pub fn store_secrets(&self, store: &str) -> Result<Vec<StoreSecret>, ControlError> {
        self.secret_store(store)?;
        let mut all: Vec<StoreSecret> = self.resources()?;
        all.retain(|secret| secret.store_id == store);
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// One secret of a store.
    ///
    /// # Errors
    /// [`ControlError::NoResource`].
    pub fn store_secret(&self, store: &str, id: &str) -> Result<StoreSecret, ControlError> {
        let secret: StoreSecret = self.resource(id)?;
        if secret.store_id != store {
            return Err(missing(Kind::Secret, id));
        }
        Ok(secret)
    }

    /// Makes secrets in a store. All are checked before the first is made.
    ///
    /// # Errors
    /// [`ControlError::NoResource`], [`ControlError::ResourceTaken`], or a property that cannot be.
    pub fn create_store_secrets(
        &self,
        store: &str,
        new: &[NewStoreSecret],
    ) -> Result<Vec<StoreSecret>, ControlError> {
        if new.is_empty() {
            return Err(invalid("secrets", "must name at least one secret"));
        }
        let _one = self.one_at_a_time();
        let mut names: Vec<String> = self
            .store_secrets(store)?
            .into_iter()
            .map(|secret| secret.name)
            .collect();
        let mut secrets = Vec::new();
        for secret in new {
            check_word("name", &secret.name, LONGEST_NAME)?;
            check_value(&secret.value)?;
            if names.contains(&secret.name) {
                return Err(ControlError::ResourceTaken {
                    kind: Kind::Secret,
                    name: secret.name.clone(),
                });
            }
            names.push(secret.name.clone());
            let comment = secret.comment.clone().unwrap_or_default();
            secrets.push(self.sealed(
                store,
                &secret.name,
                &secret.value,
                &secret.scopes,
                comment,
            )?);
        }
        let made = secrets.into_iter();
        made.map(|secret| self.create_resource(secret)).collect()
    }

    /// Changes a secret; Workers that bind it have the new value when they have been told.
    ///
    /// # Errors
    /// [`ControlError::NoResource`], or a property that cannot be.
    pub fn change_store_secret(
        &self,
        store: &str,
        id: &str,
        changes: &StoreSecretChanges,
    ) -> Result<StoreSecret, ControlError> {
        self.store_secret(store, id)?;
        let value = match &changes.value {
            Some(value) => {
                check_value(value)?;
                Some(self.inner.key.seal(&owner(id), value.as_bytes())?)
            }
            None => None,
        };
        let (secret, ()) = self.update_resource(id, |secret: &mut StoreSecret| {
            if let Some(value) = &value {
                secret.value = value.clone();
            }
            if let Some(scopes) = &changes.scopes {
                secret.scopes.clone_from(scopes);
            }
            if let Some(comment) = &changes.comment {
                secret.comment.clone_from(comment);
            }
            secret.modified = clock::now();
            Ok(())
        })?;
        Ok(secret)
    }

    /// Makes another secret with the same value.
    ///
    /// # Errors
    /// As [`Control::create_store_secrets`].
    pub fn duplicate_store_secret(
        &self,
        store: &str,
        id: &str,
        name: &str,
        scopes: &[String],
        comment: &str,
    ) -> Result<StoreSecret, ControlError> {
        let value = self.open_store_secret(&self.store_secret(store, id)?)?;
        let new = NewStoreSecret {
            name: name.to_owned(),
            value,
            scopes: scopes.to_vec(),
            comment: Some(comment.to_owned()),
        };
        let mut made = self.create_store_secrets(store, &[new])?;
        made.pop().ok_or_else(|| missing(Kind::Secret, name))
    }

    /// Deletes a secret.
    ///
    /// # Errors
    /// [`ControlError::NoResource`]; [`ControlError::ResourceUsed`] while a live version binds it.
    pub fn delete_store_secret(&self, store: &str, id: &str) -> Result<StoreSecret, ControlError> {
        let _one = self.one_at_a_time();
        let secret = self.store_secret(store, id)?;
        self.check_unused(Kind::Secret, &secret.name, |_, kind| {
            matches!(kind, BindingKind::SecretsStoreSecret { store_id, secret_name }
                if store_id == store && *secret_name == secret.name)
        })?;
        self.delete_resource(id)
    }

    /// A secret's value.
    ///
    /// # Errors
    /// It was sealed with another key.
    pub fn open_store_secret(&self, secret: &StoreSecret) -> Result<String, ControlError> {
        self.open_sealed_store_secret(&secret.id, &secret.value)
    }

    /// The value that the secret of this id had when it was read.
    ///
    /// # Errors
    /// It was sealed with another key.
    pub fn open_sealed_store_secret(
        &self,
        id: &str,
        value: &Sealed,
    ) -> Result<String, ControlError> {
        let owner = owner(id);
        let bytes = self.inner.key.open_sealed(&owner, value)?;
        String::from_utf8(bytes)
            .map_err(|_| ControlError::Seal(berth_store::SealError::Foreign(owner)))
    }

    fn sealed(
        &self,
        store: &str,
        name: &str,
        value: &str,
        scopes: &[String],
        comment: String,
    ) -> Result<StoreSecret, ControlError> {
        let id = hex_id();
        let now = clock::now();
        Ok(StoreSecret {
            value: self.inner.key.seal(&owner(&id), value.as_bytes())?,
            id,
            store_id: store.to_owned(),
            name: name.to_owned(),
            comment,
            scopes: scopes.to_vec(),
            created: now.clone(),
            modified: now,
        })
    }
}

fn owner(id: &str) -> String {
    format!("store secret `{id}`")
}

fn check_value(value: &str) -> Result<(), ControlError> {
    if value.is_empty() || value.len() > LONGEST_VALUE {
        let text = format!("must have 1 to {LONGEST_VALUE} bytes");
        return Err(invalid("value", text));
    }
    Ok(())
}
