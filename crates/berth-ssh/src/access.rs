//! Who may log in: keys that a container's configuration names, and holders of certificates of
//! authorities that it names. Only Ed25519, as everywhere with Cloudflare.

use std::time::SystemTime;

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, PublicKey};

use crate::USER;

/// Allows a terminal; without it a certificate's holder gets none.
const TERMINAL: &str = "permit-pty";

/// Who may log in.
#[derive(Clone, Debug, Default)]
pub struct Access {
    keys: Vec<KeyData>,
    authorities: Vec<KeyData>,
}

/// A line that is no key.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Not a public key in OpenSSH's format.
    #[error("`{line}` is not a public key")]
    NotAKey {
        /// The line, as it is.
        line: String,
        /// What is wrong with it.
        #[source]
        source: russh::keys::ssh_key::Error,
    },
    /// A key of another kind.
    #[error("`{0}` is not an Ed25519 key")]
    Kind(String),
}

/// What a login allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    pub(crate) terminal: bool,
}

impl Access {
    /// From lines of OpenSSH's public keys: `ssh-ed25519 AAAA… comment`.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn read<'a>(
        keys: impl IntoIterator<Item = &'a str>,
        authorities: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, AccessError> {
        Ok(Self {
            keys: keys.into_iter().map(read).collect::<Result<_, _>>()?,
            authorities: authorities
                .into_iter()
                .map(read)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Nobody may.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.authorities.is_empty()
    }

    /// Whether it is worth signing with this key: it may be that of a certificate.
    pub(crate) fn may_know(&self, user: &str, key: &PublicKey) -> bool {
        let known = self.keys.contains(key.key_data()) || !self.authorities.is_empty();
        user == USER && known
    }

    /// Whoever has signed with this key.
    pub(crate) fn of_key(&self, user: &str, key: &PublicKey) -> Option<Allowed> {
        let known = user == USER && self.keys.contains(key.key_data());
        known.then_some(Allowed { terminal: true })
    }

    /// Whoever has signed with the key of this certificate.
    pub(crate) fn of_certificate(
        &self,
        user: &str,
        certificate: &Certificate,
        now: SystemTime,
    ) -> Option<Allowed> {
        let known = self.authorities.contains(certificate.signature_key());
        // As sshd has it: one that names nobody is for nobody.
        let mut principals = certificate.valid_principals().iter();
        let named = user == USER && principals.any(|name| name == user);
        let from = certificate.valid_after_time();
        let until = certificate.valid_before_time();
        let now = from.is_none_or(|from| from <= now) && until.is_none_or(|until| now < until);
        let good = known
            && named
            && now
            && certificate.cert_type().is_user()
            // Each of them forbids something, and none is known here.
            && certificate.critical_options().is_empty()
            && certificate.verify_signature().is_ok();
        good.then(|| Allowed {
            terminal: certificate.extensions().get(TERMINAL).is_some(),
        })
    }
}

fn read(line: &str) -> Result<KeyData, AccessError> {
    let key = PublicKey::from_openssh(line.trim()).map_err(|source| AccessError::NotAKey {
        line: line.to_owned(),
        source,
    })?;
    if key.algorithm() == Algorithm::Ed25519 {
        Ok(key.key_data().clone())
    } else {
        Err(AccessError::Kind(line.to_owned()))
    }
}

#[cfg(test)]
mod tests;
