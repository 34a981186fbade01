//! Secrets in records, encrypted under a key that is not in the database.
//!
//! XChaCha20-Poly1305 under a random nonce, bound to a text that says what the secret belongs to, so
//! that a sealed secret put somewhere else does not open there. A backup of the records without the
//! key gives nothing away.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use berth_error::Hint;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{Key, KeyInit as _, XChaCha20Poly1305, XNonce};
use rand::TryRngCore as _;
use serde::{Deserialize, Serialize};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// An encrypted secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    nonce: Vec<u8>,
    bytes: Vec<u8>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sealed(..)")
    }
}

/// Why nothing could be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key cannot be read or made.
    #[error("could not use the key `{path}`")]
    Key {
        /// Its file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It was sealed with another key, for something else, or is damaged.
    #[error("the secret of {0} cannot be decrypted with the key of this data directory")]
    Foreign(String),
    /// It is too long.
    #[error("the secret of {0} is too long")]
    TooLong(String),
    /// The kernel gives none.
    #[error("this machine gives no random numbers: {0}")]
    NoRandom(String),
}

impl Hint for SealError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Foreign(_) => Some(
                "restore the key that belongs to these records, or set the secret anew".to_owned(),
            ),
            _ => None,
        }
    }
}

/// The key of a data directory.
#[derive(Clone)]
pub struct SealKey {
    cipher: XChaCha20Poly1305,
}

impl fmt::Debug for SealKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SealKey(..)")
    }
}

impl SealKey {
    /// Reads the key, or makes one if there is no such file. Only its owner may read it.
    ///
    /// # Errors
    /// [`SealError::Key`]: also when other users can read it.
    pub fn open(path: &Path) -> Result<Self, SealError> {
        let failed = |source| SealError::Key {
            path: path.to_owned(),
            source,
        };
        if !path.exists() {
            let mut key = [0; KEY_BYTES];
            random(&mut key)?;
            make(path, &key).map_err(failed)?;
        }
        let key = read(path).map_err(failed)?;
        Ok(Self {
            cipher: XChaCha20Poly1305::new(Key::from_slice(&key)),
        })
    }

    /// Encrypts a secret that belongs to `owner`.
    ///
    /// # Errors
    /// No random numbers, or some hundred gigabytes.
    pub fn seal(&self, owner: &str, secret: &[u8]) -> Result<Sealed, SealError> {
        let mut nonce = [0; NONCE_BYTES];
        random(&mut nonce)?;
        let payload = Payload {
            msg: secret,
            aad: owner.as_bytes(),
        };
        let bytes = self
            .cipher
            .encrypt(XNonce::from_slice(&nonce), payload)
            .map_err(|_| SealError::TooLong(owner.to_owned()))?;
        Ok(Sealed {
            nonce: nonce.to_vec(),
            bytes,
        })
    }

    /// Decrypts a secret of `owner`.
    ///
    /// # Errors
    /// [`SealError::Foreign`].
    pub fn open_sealed(&self, owner: &str, sealed: &Sealed) -> Result<Vec<u8>, SealError> {
        let foreign = || SealError::Foreign(owner.to_owned());
        if sealed.nonce.len() != NONCE_BYTES {
            return Err(foreign());
        }
        let payload = Payload {
            msg: &sealed.bytes,
            aad: owner.as_bytes(),
        };
        self.cipher
            .decrypt(XNonce::from_slice(&sealed.nonce), payload)
            .map_err(|_| foreign())
    }
}

/// Two that make it at once have the same one in the end.
fn make(path: &Path, key: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(key)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => std::fs::File::open(directory)?.sync_all(),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error),
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        let text = format!("other users may read it (mode {:o})", mode & 0o777);
        return Err(std::io::Error::other(text));
    }
    let mut key = Vec::new();
    file.read_to_end(&mut key)?;
    if key.len() != KEY_BYTES {
        let text = format!("it has {} bytes, a key has {KEY_BYTES}", key.len());
        return Err(std::io::Error::other(text));
    }
    Ok(key)
}

fn random(bytes: &mut [u8]) -> Result<(), SealError> {
    rand::rngs::OsRng
        .try_fill_bytes(bytes)
        .map_err(|error| SealError::NoRandom(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_with_its_key_and_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys/control.key");
        let key = SealKey::open(&path).unwrap();
        let sealed = key.seal("worker a", b"hunter2").unwrap();
        let text = serde_json::to_string(&sealed).unwrap();
        assert!(!text.contains("hunter2") && !format!("{sealed:?}").contains("hunter2"));
        let again = SealKey::open(&path).unwrap();
        let sealed: Sealed = serde_json::from_str(&text).unwrap();
        assert_eq!(again.open_sealed("worker a", &sealed).unwrap(), b"hunter2");
        assert!(matches!(
            again.open_sealed("worker b", &sealed),
            Err(SealError::Foreign(_))
        ));
        let other = SealKey::open(&directory.path().join("other.key")).unwrap();
        assert!(other.open_sealed("worker a", &sealed).is_err());
        let mut short = sealed.clone();
        short.nonce.pop();
        assert!(again.open_sealed("worker a", &short).is_err());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k");
        SealKey::open(&path).unwrap();
        let mode = fs_err::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = SealKey::open(&path).unwrap_err();
        assert!(berth_error::chain(&error).contains("mode 644"), "{error}");
        fs_err::write(&path, "short").unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(SealKey::open(&path).is_err());
    }
}
