//! R2: buckets that Workers need, and the access keys of S3 clients.

use std::collections::BTreeMap;

use berth_r2::R2Error;
use berth_r2::s3::{AccessKey, Keys, Permission};
use berth_store::Sealed;
use rand::TryRngCore as _;
use serde::{Deserialize, Serialize};

use super::Control;
use crate::ControlError;
use crate::upload::UploadError;
use crate::worker::{Binding, BindingKind};

/// The kind of record.
const KIND: &str = "r2-key";

/// An access key, as it is recorded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct R2Key {
    /// 32 hexadecimal digits.
    pub id: String,
    /// For people.
    pub name: String,
    /// What it allows.
    pub permission: Permission,
    /// In which buckets; `None`: in all.
    pub buckets: Option<Vec<String>>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// What requests are signed with.
    secret: Sealed,
}

/// What a secret belongs to, for the seal.
fn owner(id: &str) -> String {
    format!("R2 access key {id}")
}

/// 32 bytes that nobody can guess, in hexadecimal.
fn secret() -> Result<String, ControlError> {
    let mut bytes = [0; 32];
    let random = rand::rngs::OsRng.try_fill_bytes(&mut bytes);
    random.map_err(|error| ControlError::NoRandom(error.to_string()))?;
    Ok(crate::token::hex(&bytes))
}

impl Control {
    /// Checks that the buckets of a Worker are there.
    pub(super) fn check_buckets(&self, bindings: &[Binding]) -> Result<(), ControlError> {
        for binding in bindings {
            let BindingKind::R2Bucket { bucket_name } = &binding.kind else {
                continue;
            };
            match self.r2().bucket_blocking(bucket_name) {
                Ok(_) => {}
                Err(R2Error::NoSuchBucket(_)) => {
                    let text = format!(
                        "the binding `{}` is for the R2 bucket `{bucket_name}`, which there is none of; make it with `wrangler r2 bucket create {bucket_name}`",
                        binding.name
                    );
                    return Err(UploadError::Bindings(text).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Makes an access key. The record, and its secret, which nobody is told again.
    ///
    /// # Errors
    /// A bucket that is not there; the records.
    pub fn make_r2_key(
        &self,
        name: &str,
        permission: Permission,
        buckets: Option<Vec<String>>,
    ) -> Result<(R2Key, String), ControlError> {
        for bucket in buckets.iter().flatten() {
            self.r2().bucket_blocking(bucket)?;
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        let secret = secret()?;
        let key = R2Key {
            name: name.to_owned(),
            permission,
            buckets,
            created: crate::clock::now(),
            secret: self.inner.key.seal(&owner(&id), secret.as_bytes())?,
            id,
        };
        self.inner.store.create(KIND, &key.id, &key)?;
        Ok((key, secret))
    }

    /// All, oldest first.
    ///
    /// # Errors
    /// The records.
    pub fn r2_keys(&self) -> Result<Vec<R2Key>, ControlError> {
        let keys = self.inner.store.list::<R2Key>(KIND)?.into_iter();
        let keys: BTreeMap<_, _> = keys
            .map(|(id, key)| ((key.value.created.clone(), id), key.value))
            .collect();
        Ok(keys.into_values().collect())
    }

    /// Takes one back.
    ///
    /// # Errors
    /// [`ControlError::NoAccessKey`].
    pub fn delete_r2_key(&self, id: &str) -> Result<(), ControlError> {
        let found = self.inner.store.get::<R2Key>(KIND, id)?;
        let found = found.ok_or_else(|| ControlError::NoAccessKey(id.to_owned()))?;
        Ok(self.inner.store.delete(KIND, id, found.revision)?)
    }
}

impl Keys for Control {
    fn key(&self, id: &str) -> Result<Option<AccessKey>, String> {
        let told = |error: &dyn std::error::Error| berth_error::chain(error);
        let found = self.inner.store.get::<R2Key>(KIND, id);
        let Some(found) = found.map_err(|error| told(&error))? else {
            return Ok(None);
        };
        let key = found.value;
        let secret = self.inner.key.open_sealed(&owner(id), &key.secret);
        let secret = secret.map_err(|error| told(&error))?;
        Ok(Some(AccessKey {
            secret: String::from_utf8(secret).map_err(|error| told(&error))?,
            id: key.id,
            permission: key.permission,
            buckets: key.buckets,
        }))
    }
}
