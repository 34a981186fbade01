//! Signed strings: bearer tokens and passwords. No state is kept of any.
//!
//! `<base64 of JSON>.<base64 of HMAC-SHA256>`; what is signed begins with the purpose, so a token is
//! never a password.

use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_error::Hint;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Grant, Pattern, now};

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Longest string that is looked at.
const MAX_SIGNED: usize = 16 * 1024;

/// The registry's secret.
#[derive(Clone)]
pub struct SigningKey(hmac::Key);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

/// No key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Too short to be secret.
    #[error("a signing key needs at least {KEY_BYTES} bytes, this one has {0}")]
    Short(usize),
    /// Its file.
    #[error("could not read or make the key `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel gave no random bytes.
    #[error("could not get random bytes")]
    Random,
}

impl Hint for KeyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Short(_) => Some(
                "remove the file and a new key is made; passwords of the old one end with it"
                    .into(),
            ),
            Self::Io { .. } | Self::Random => None,
        }
    }
}

fn write_secret(path: &Path, secret: &[u8]) -> io::Result<()> {
    let mut options = std::fs::File::options();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(secret)?;
    file.sync_all()
}

impl SigningKey {
    /// Of secret bytes.
    pub fn new(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < KEY_BYTES {
            return Err(KeyError::Short(secret.len()));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// New secret bytes, to be kept.
    pub fn generate() -> Result<Vec<u8>, KeyError> {
        let mut secret = vec![0; KEY_BYTES];
        SystemRandom::new()
            .fill(&mut secret)
            .map_err(|_| KeyError::Random)?;
        Ok(secret)
    }

    /// The key in this file, which is made if it is missing: only its owner may read it.
    pub fn kept_in(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Io {
            path: path.to_owned(),
            source,
        };
        match std::fs::read(path) {
            Ok(secret) => return Self::new(&secret),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        // It gets its name when it is whole, and not if another process was faster.
        let directory = path.parent().unwrap_or(Path::new("."));
        let unnamed = directory.join(format!(".key-{}", uuid::Uuid::new_v4().simple()));
        let secret = Self::generate()?;
        let written = write_secret(&unnamed, &secret);
        let named = written.and_then(|()| std::fs::hard_link(&unnamed, path));
        // What is left of a failure is only a file.
        let _ = std::fs::remove_file(&unnamed);
        match named {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
            _ => {
                let secret = std::fs::read(path).map_err(failed)?;
                Self::new(&secret)
            }
        }
    }

    pub(super) fn sign(&self, purpose: &str, claims: &impl Serialize) -> String {
        // Claims are plain structures of ours: they can always be written.
        let json = serde_json::to_string(claims).unwrap_or_default();
        let payload = URL_SAFE_NO_PAD.encode(json);
        let tag = hmac::sign(&self.0, format!("{purpose}.{payload}").as_bytes());
        format!("{payload}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    pub(super) fn verify<T: DeserializeOwned>(&self, purpose: &str, signed: &str) -> Option<T> {
        if signed.len() > MAX_SIGNED {
            return None;
        }
        let (payload, tag) = signed.split_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.0, format!("{purpose}.{payload}").as_bytes(), &tag).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }
}

/// What a bearer token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// Whose it is.
    pub(crate) sub: String,
    /// Until when, in seconds since 1970.
    pub(crate) exp: u64,
    /// For which service.
    pub(crate) aud: String,
    /// What it allows.
    pub(crate) grants: Vec<Grant>,
    /// What the list of repositories may show, if it may be asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) catalog: Option<Vec<Grant>>,
    /// Repositories that were asked for and may not be read, so that they are not asked for again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) denied: Vec<Pattern>,
}

/// Makes and checks bearer tokens of one service.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    key: SigningKey,
    service: String,
}

const TOKEN: &str = "token";

impl Tokens {
    pub(crate) fn new(key: SigningKey, service: &str) -> Self {
        Self {
            key,
            service: service.to_owned(),
        }
    }

    pub(crate) fn service(&self) -> &str {
        &self.service
    }

    pub(crate) fn issue(&self, claims: &Claims) -> String {
        self.key.sign(TOKEN, claims)
    }

    /// What a token says, if it is ours and not expired.
    pub(crate) fn check(&self, token: &str) -> Option<Claims> {
        let claims: Claims = self.key.verify(TOKEN, token)?;
        (claims.aud == self.service && claims.exp > now()).then_some(claims)
    }
}
