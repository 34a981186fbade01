//! API tokens: what a client shows, what is kept of it, and what it may.
//!
//! A token is `berth_` and 43 characters (256 random bits). Kept is its SHA-256 digest, which is the
//! record's key: nobody finds a token by trying, so nothing slower is needed, and the time that a
//! look-up takes says nothing about another token.

use std::fmt::Write as _;

use rand::TryRngCore as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::ControlError;

/// The kind of record.
pub(crate) const KIND: &str = "token";
const PREFIX: &str = "berth_";
const RANDOM_BYTES: usize = 32;

/// What somebody with a token may do. A later one includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// See what there is, apart from secrets.
    Read,
    /// Change what is deployed.
    Deploy,
    /// Make and revoke tokens.
    Admin,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Read => "read",
            Self::Deploy => "deploy",
            Self::Admin => "admin",
        })
    }
}

/// What is kept of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Names it without giving it away.
    pub id: String,
    /// What it is for, for people.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When it ends, RFC 3339; `None`: when it is revoked.
    pub expires: Option<String>,
    /// When it was shown last, RFC 3339, to about a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<String>,
}

impl Token {
    /// Whether it may be used now.
    pub fn is_valid(&self) -> bool {
        let expires = self.expires.as_deref();
        !expires.is_some_and(crate::clock::is_past)
    }
}

impl std::str::FromStr for Scope {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "read" => Ok(Self::Read),
            "deploy" => Ok(Self::Deploy),
            "admin" => Ok(Self::Admin),
            _ => Err(()),
        }
    }
}

/// A new token's text.
pub(crate) fn generate() -> Result<String, ControlError> {
    let mut bytes = [0; RANDOM_BYTES];
    rand::rngs::OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| ControlError::NoRandom(error.to_string()))?;
    Ok(format!("{PREFIX}{}", base62(&bytes)))
}

/// The key of a token's record.
pub(crate) fn digest(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Letters and digits, so that a double click selects all of it.
fn base62(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut number = bytes.to_vec();
    let mut text = String::new();
    for _ in 0..43 {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = rest << 8 | u32::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or(0);
            rest = value % 62;
        }
        text.push(char::from(DIGITS[rest as usize]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_and_differ() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), PREFIX.len() + 43);
        assert!(
            one[PREFIX.len()..]
                .chars()
                .all(|char| char.is_ascii_alphanumeric())
        );
        assert_eq!(digest("x").len(), 64);
        assert_ne!(digest(&one), digest(&other));
    }

    #[test]
    fn all_bits_are_in_the_text() {
        let mut bytes = [0; 32];
        let zero = base62(&bytes);
        let mut seen = std::collections::HashSet::from([zero]);
        for bit in 0..256 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(seen.insert(base62(&bytes)), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_scope_includes_those_before_it() {
        assert!(Scope::Admin > Scope::Deploy && Scope::Deploy > Scope::Read);
    }
}
