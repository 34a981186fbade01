//! The SSH server's host key: made once for a data directory, and sealed like secrets.

use berth_store::{Record, SealError, Sealed, StoreError};
use rand::TryRngCore as _;
use serde::{Deserialize, Serialize};

use super::Control;
use crate::ControlError;

/// The kind of record, the name of the only one, and what it belongs to for the seal.
const KIND: &str = "ssh-host-key";
const NAME: &str = "ed25519";
const OWNER: &str = "the SSH host key";

#[derive(Serialize, Deserialize)]
struct HostKey {
    /// 32 bytes.
    seed: Sealed,
}

impl Control {
    /// The 32 bytes that the Ed25519 host key is made of; the first call makes them. In records that were
    /// restored without the key of secrets they cannot be read, and are made anew.
    ///
    /// # Errors
    /// The records.
    pub fn ssh_host_key(&self) -> Result<[u8; 32], ControlError> {
        loop {
            let found = self.inner.store.get::<HostKey>(KIND, NAME)?;
            if let Some(found) = &found {
                match self.inner.key.open_sealed(OWNER, &found.value.seed) {
                    Ok(seed) => {
                        if let Ok(seed) = <[u8; 32]>::try_from(seed.as_slice()) {
                            return Ok(seed);
                        }
                    }
                    Err(SealError::Foreign(_)) => {}
                    Err(error) => return Err(error.into()),
                }
                tracing::warn!("the SSH host key cannot be read and is made anew");
            }
            match self.make_host_key(found) {
                // Somebody else was first: theirs is the one.
                Ok(()) | Err(ControlError::Store(StoreError::Conflict { .. })) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn make_host_key(&self, former: Option<Record<HostKey>>) -> Result<(), ControlError> {
        let mut seed = [0; 32];
        let random = rand::rngs::OsRng.try_fill_bytes(&mut seed);
        random.map_err(|error| ControlError::NoRandom(error.to_string()))?;
        let key = HostKey {
            seed: self.inner.key.seal(OWNER, &seed)?,
        };
        let store = &self.inner.store;
        match former {
            Some(former) => drop(store.replace(KIND, NAME, &key, former.revision)?),
            None => drop(store.create(KIND, NAME, &key)?),
        }
        Ok(())
    }
}
