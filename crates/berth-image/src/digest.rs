//! Content digests: the names of blobs, layers and images.
//!
//! Invariant: a [`Digest`] is always `sha256:` and 64 lower-case hex digits, so it is safe as a part
//! of a path.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::ImageError;

/// `sha256:<64 hex>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Length of the hex part of a SHA-256 digest.
pub(crate) const HEX_LEN: usize = 64;
const PREFIX: &str = "sha256:";

impl Digest {
    /// Digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hasher(Sha256::new_with_prefix(bytes))
    }

    /// Hands the bytes on if this is their digest; `what` names them in the error.
    pub(crate) fn check(&self, bytes: Vec<u8>, what: &str) -> Result<Vec<u8>, ImageError> {
        let actual = Self::of(&bytes);
        if actual == *self {
            return Ok(bytes);
        }
        Err(ImageError::DigestMismatch {
            what: what.to_owned(),
            expected: self.clone(),
            actual,
        })
    }

    /// The digest of everything that was fed to `hasher`.
    pub fn from_hasher(hasher: Sha256) -> Self {
        Self(format!("{PREFIX}{:x}", hasher.finalize()))
    }

    /// The 64 hex digits without the algorithm.
    pub fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }

    /// The first twelve hex digits, as Docker shows image ids.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }

    /// `sha256:<64 hex>`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `text` could be the beginning (or all) of a digest's hex part.
pub(crate) fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl FromStr for Digest {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        match text.strip_prefix(PREFIX) {
            Some(hex) if hex.len() == HEX_LEN && is_hex(hex) => Ok(Self(text.to_owned())),
            _ => Err(ImageError::InvalidDigest(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self, ImageError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_parsed_strictly() {
        let good = Digest::of(b"");
        assert_eq!(
            good.as_str(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(good.short(), "e3b0c44298fc");
        assert_eq!(good.as_str().parse::<Digest>().unwrap(), good);
        for bad in [
            "",
            "sha256:",
            "sha256:../../etc/passwd",
            &good.as_str().to_uppercase(),
            good.hex(),
            &good.as_str()[..70],
            &format!("{good}0"),
            &good.as_str().replace("sha256", "sha512"),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
