//! Digests of blobs, and hashing as bytes arrive.
//!
//! `berth-image` knows only SHA-256, as its store does; a registry must also take SHA-512 (image
//! specification, "Registered algorithms"). Invariant: a [`Digest`] is a registered algorithm and
//! lower-case hex of its length, so it is safe as a part of a storage key.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256, Sha512};

/// A registered algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// `sha256`, what everybody uses.
    Sha256,
    /// `sha512`.
    Sha512,
}

impl Algorithm {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// As it stands before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The algorithm of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }

    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// `sha256:<64 hex>` or `sha512:<128 hex>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

impl Digest {
    /// Digest of these bytes.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// Which algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What stands after the colon.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// With a dash instead of the colon: one part of a storage key.
    pub(crate) fn key(&self) -> String {
        format!("{}-{}", self.algorithm.name(), self.hex)
    }

    /// Of a part of a storage key.
    pub(crate) fn from_key(key: &str) -> Option<Self> {
        let (algorithm, hex) = key.split_once('-')?;
        Self::from_parts(algorithm, hex)
    }

    pub(crate) fn from_parts(algorithm: &str, hex: &str) -> Option<Self> {
        let algorithm = Algorithm::named(algorithm)?;
        let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        (hex.len() == algorithm.hex_len() && hex.bytes().all(is_hex)).then(|| Self {
            algorithm,
            hex: hex.to_owned(),
        })
    }
}

/// Not a digest of a registered algorithm.
#[derive(Debug, thiserror::Error)]
#[error("not a sha256 or sha512 digest")]
pub struct InvalidDigest;

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        text.split_once(':')
            .and_then(|(algorithm, hex)| Self::from_parts(algorithm, hex))
            .ok_or(InvalidDigest)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

/// A hash under way.
#[derive(Clone, Debug)]
pub enum Hasher {
    /// SHA-256.
    Sha256(Sha256),
    /// SHA-512.
    Sha512(Sha512),
}

impl Hasher {
    /// Of nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    /// Which algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Takes more bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all that was taken in.
    pub fn finish(self) -> Digest {
        let algorithm = self.algorithm();
        let hex = match self {
            Self::Sha256(hasher) => format!("{:x}", hasher.finalize()),
            Self::Sha512(hasher) => format!("{:x}", hasher.finalize()),
        };
        Digest { algorithm, hex }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_parsed_strictly_and_survive_as_keys() {
        for algorithm in Algorithm::ALL {
            let digest = Digest::of(algorithm, b"");
            assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
            assert_eq!(Digest::from_key(&digest.key()), Some(digest.clone()));
            for bad in [
                digest.to_string().to_uppercase(),
                digest.hex().to_owned(),
                format!("{digest}0"),
                digest.to_string()[..70].to_owned(),
                format!("sha1:{}", digest.hex()),
                format!("{}:{}", algorithm.name(), "../".repeat(40)),
            ] {
                assert!(bad.parse::<Digest>().is_err(), "{bad}");
            }
        }
        for bad in ["", ":", "sha256:", "sha256", "sha512:e3b0", "md5:00"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
