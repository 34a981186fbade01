//! Checksums: computed while bytes pass, compared with what a client says.

use std::collections::BTreeMap;
use std::fmt;

use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};

use crate::R2Error;

/// A checksum's algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// Of every object.
    Md5,
    /// 20 bytes.
    Sha1,
    /// 32 bytes.
    Sha256,
    /// 48 bytes.
    Sha384,
    /// 64 bytes.
    Sha512,
    /// CRC-32 of ISO/HDLC, big-endian.
    Crc32,
    /// CRC-32 of iSCSI, big-endian.
    Crc32c,
    /// CRC-64 of NVMe, big-endian.
    Crc64Nvme,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
        })
    }
}

impl Algorithm {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Md5,
        Self::Sha1,
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
    ];

    /// Bytes of a checksum.
    pub fn bytes(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
        }
    }

    fn crc(self) -> Option<crc_fast::CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(crc_fast::CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(crc_fast::CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(crc_fast::CrcAlgorithm::Crc64Nvme),
            _ => None,
        }
    }

    /// The checksum of one piece after another, where it can be told from theirs: `(checksum, bytes)`.
    pub(crate) fn combine(self, parts: &[(&[u8], u64)]) -> Option<Vec<u8>> {
        let crc = self.crc()?;
        let mut whole = 0;
        for (index, (sum, size)) in parts.iter().enumerate() {
            let sum = sum
                .iter()
                .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
            whole = if index == 0 {
                sum
            } else {
                crc_fast::checksum_combine(crc, whole, sum, *size)
            };
        }
        Some(big_endian(whole, self.bytes()))
    }
}

fn big_endian(value: u64, bytes: usize) -> Vec<u8> {
    value.to_be_bytes()[8 - bytes..].to_vec()
}

/// Checksums by algorithm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums(pub BTreeMap<Algorithm, Vec<u8>>);

impl Sums {
    /// One.
    pub fn get(&self, algorithm: Algorithm) -> Option<&[u8]> {
        self.0.get(&algorithm).map(Vec::as_slice)
    }

    /// Whether these, which are of the bytes, are what a client says of them.
    pub(crate) fn compare(&self, expected: &Self) -> Result<(), R2Error> {
        for (algorithm, given) in &expected.0 {
            if let Some(found) = self.get(*algorithm)
                && found != given
            {
                return Err(R2Error::Digest {
                    algorithm: *algorithm,
                    given: hex(given),
                    found: hex(found),
                });
            }
        }
        Ok(())
    }

    pub(crate) fn to_json(&self) -> String {
        let named: BTreeMap<Algorithm, String> =
            self.0.iter().map(|(name, sum)| (*name, hex(sum))).collect();
        // Words and hexadecimal: nothing that JSON does not have.
        serde_json::to_string(&named).unwrap_or_default()
    }

    pub(crate) fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let named: BTreeMap<Algorithm, String> = serde_json::from_str(text)?;
        let sums = named.into_iter();
        Ok(Self(
            sums.filter_map(|(name, sum)| Some((name, unhex(&sum)?)))
                .collect(),
        ))
    }
}

/// In lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
    }
    text
}

/// Of hexadecimal.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|char| char.to_digit(16)).collect();
    let digits = digits?;
    let pairs = digits.chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(high * 16 + low).ok(),
            _ => None,
        })
        .collect()
}

/// The entity tag of an object in parts: MD5 of the parts' MD5s, and how many they are.
pub(crate) fn etag_of_parts<'a>(etags: impl ExactSizeIterator<Item = &'a str>) -> String {
    let count = etags.len();
    let mut whole = Md5::new();
    for etag in etags {
        whole.update(unhex(etag).unwrap_or_default());
    }
    format!("{}-{count}", hex(&whole.finalize()))
}

/// Computes MD5 and what else is wanted.
pub(crate) struct Hasher {
    md5: Md5,
    others: Vec<(Algorithm, Other)>,
}

enum Other {
    Ring(Box<ring::digest::Context>),
    Crc(Box<crc_fast::Digest>),
}

impl Hasher {
    pub(crate) fn new(wanted: impl IntoIterator<Item = Algorithm>) -> Self {
        let mut others: Vec<(Algorithm, Other)> = Vec::new();
        for algorithm in wanted {
            if others.iter().any(|(there, _)| *there == algorithm) {
                continue;
            }
            let ring = |algorithm| Other::Ring(Box::new(ring::digest::Context::new(algorithm)));
            let other = match algorithm {
                Algorithm::Md5 => continue,
                Algorithm::Sha1 => ring(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY),
                Algorithm::Sha256 => ring(&ring::digest::SHA256),
                Algorithm::Sha384 => ring(&ring::digest::SHA384),
                Algorithm::Sha512 => ring(&ring::digest::SHA512),
                Algorithm::Crc32 | Algorithm::Crc32c | Algorithm::Crc64Nvme => {
                    let Some(crc) = algorithm.crc() else { continue };
                    Other::Crc(Box::new(crc_fast::Digest::new(crc)))
                }
            };
            others.push((algorithm, other));
        }
        Self {
            md5: Md5::new(),
            others,
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        for (_, other) in &mut self.others {
            match other {
                Other::Ring(context) => context.update(bytes),
                Other::Crc(digest) => digest.update(bytes),
            }
        }
    }

    pub(crate) fn finish(self) -> Sums {
        let mut sums = BTreeMap::from([(Algorithm::Md5, self.md5.finalize().to_vec())]);
        for (algorithm, other) in self.others {
            let sum = match other {
                Other::Ring(context) => context.finish().as_ref().to_vec(),
                Other::Crc(digest) => big_endian(digest.finalize(), algorithm.bytes()),
            };
            sums.insert(algorithm, sum);
        }
        Sums(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(bytes: &[u8]) -> Sums {
        let mut hasher = Hasher::new(Algorithm::ALL);
        for piece in bytes.chunks(7) {
            hasher.update(piece);
        }
        hasher.finish()
    }

    /// Check values: RFC 1321, FIPS 180, the CRC catalogue.
    #[test]
    fn known_values() {
        let check = sums(b"123456789");
        for (algorithm, expected) in [
            (Algorithm::Md5, "25f9e794323b453885f5181f1b624d0b"),
            (Algorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (Algorithm::Crc32, "cbf43926"),
            (Algorithm::Crc32c, "e3069283"),
            (Algorithm::Crc64Nvme, "ae8b14860a799888"),
        ] {
            assert_eq!(hex(check.get(algorithm).unwrap()), expected, "{algorithm}");
        }
        for algorithm in Algorithm::ALL {
            assert_eq!(check.get(algorithm).unwrap().len(), algorithm.bytes());
        }
        assert_eq!(Sums::from_json(&check.to_json()).unwrap(), check);
    }

    #[test]
    fn sums_of_pieces_make_that_of_the_whole() {
        let bytes: Vec<u8> = (0..1000_u32).map(|at| (at * 7 % 251) as u8).collect();
        let pieces = [&bytes[..400], &bytes[400..401], &bytes[401..]];
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let each: Vec<_> = pieces
                .iter()
                .map(|piece| (sums(piece), piece.len() as u64))
                .collect();
            let each: Vec<_> = each
                .iter()
                .map(|(sums, size)| (sums.get(algorithm).unwrap(), *size))
                .collect();
            let whole = algorithm.combine(&each).unwrap();
            assert_eq!(
                Some(whole.as_slice()),
                sums(&bytes).get(algorithm),
                "{algorithm}"
            );
        }
        assert!(Algorithm::Sha256.combine(&[]).is_none());
    }

    #[test]
    fn hexadecimal() {
        assert_eq!(unhex("00fFa1"), Some(vec![0, 255, 0xa1]));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("0g"), None);
        assert_eq!(hex(&[0, 255, 0xa1]), "00ffa1");
    }
}
