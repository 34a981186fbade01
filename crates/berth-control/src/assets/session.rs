//! Upload sessions: a client says which files its assets are, uploads those that are not here yet, and
//! gets a token with which a version takes them.
//!
//! wrangler authenticates the files by the session's token alone, so that it must not be forged; and it
//! looks into it as into a JWT, so that it has the form of one. The third part is the second one sealed
//! with the key of the data directory.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_store::{SealError, SealKey, Sealed};
use serde::{Deserialize, Serialize};

use super::{Asset, AssetsError, MOST_BYTES, MOST_FILES, Manifest};

/// The kind of record.
pub(crate) const KIND: &str = "assets-session";
/// Seconds for which a session may be used.
const LIFE: u64 = 3600;
/// What its tokens are sealed for.
const OWNER: &str = "an upload of assets";
/// `{"alg":"none","typ":"JWT"}`: only the server itself can check it.
const HEADER: &str = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
/// Files and bytes of one request at most, as asked for.
const BUCKET_FILES: usize = 500;
const BUCKET_BYTES: u64 = 20 << 20;

/// A client's manifest: path → file.
pub type Announced = BTreeMap<String, AnnouncedFile>;

/// A file that a client has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncedFile {
    /// By which it is uploaded.
    pub hash: String,
    /// Bytes.
    pub size: u64,
}

/// A session, as it is recorded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    /// Whose assets they are to be.
    pub(crate) worker: String,
    /// Seconds since 1970.
    pub(crate) expires: u64,
    /// Path (as kept) → file.
    pub(crate) announced: Announced,
    /// Hash → what is here.
    pub(crate) present: BTreeMap<String, Asset>,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// The session's id.
    pub(crate) sub: String,
    /// Everything is there: it can be given to a version.
    pub(crate) complete: bool,
    /// Seconds since 1970.
    pub(crate) exp: u64,
}

impl Session {
    /// # Errors
    /// A path, hash or size that cannot be.
    pub(crate) fn new(
        worker: &str,
        announced: Announced,
        known: &BTreeMap<(String, u64), Asset>,
    ) -> Result<Self, AssetsError> {
        if announced.len() > MOST_FILES {
            return Err(AssetsError::TooMany(announced.len()));
        }
        let mut session = Self {
            worker: worker.to_owned(),
            expires: now() + LIFE,
            announced: BTreeMap::new(),
            present: BTreeMap::new(),
        };
        for (sent, file) in announced {
            let path = super::path(&sent)?;
            let digits = file.hash.bytes().all(|byte| byte.is_ascii_hexdigit());
            if file.hash.len() != 32 || !digits {
                return Err(AssetsError::Hash(file.hash));
            }
            if file.size > MOST_BYTES {
                let size = file.size;
                return Err(AssetsError::TooLarge { path, size });
            }
            if let Some(asset) = known.get(&(file.hash.clone(), file.size)) {
                session.present.insert(file.hash.clone(), asset.clone());
            }
            if session.announced.insert(path, file).is_some() {
                return Err(AssetsError::Path(sent, "it is there twice"));
            }
        }
        session.no_file_is_a_directory()?;
        Ok(session)
    }

    /// `a` and `a/b` cannot both be files.
    fn no_file_is_a_directory(&self) -> Result<(), AssetsError> {
        for path in self.announced.keys() {
            for (end, _) in path.match_indices('/') {
                if self.announced.contains_key(&path[..end]) {
                    let path = format!("/{}", &path[..end]);
                    return Err(AssetsError::Path(path, "it is a directory, too"));
                }
            }
        }
        Ok(())
    }

    /// Hashes that are to be uploaded, as many as go into a request each.
    pub(crate) fn buckets(&self) -> Vec<Vec<String>> {
        let mut missing = BTreeMap::new();
        for file in self.announced.values() {
            if !self.present.contains_key(&file.hash) {
                missing.insert(&file.hash, file.size);
            }
        }
        let mut buckets: Vec<Vec<String>> = Vec::new();
        let mut room = 0;
        for (hash, size) in missing {
            match buckets.last_mut() {
                Some(bucket) if size <= room && bucket.len() < BUCKET_FILES => {
                    bucket.push(hash.clone());
                    room -= size;
                }
                _ => {
                    buckets.push(vec![hash.clone()]);
                    room = BUCKET_BYTES.saturating_sub(size);
                }
            }
        }
        buckets
    }

    /// Whether everything is there.
    pub(crate) fn is_complete(&self) -> bool {
        let mut files = self.announced.values();
        files.all(|file| self.present.contains_key(&file.hash))
    }

    /// Size of the file of a hash, as announced.
    pub(crate) fn wanted(&self, hash: &str) -> Option<u64> {
        let mut files = self.announced.values();
        Some(files.find(|file| file.hash == hash)?.size)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.expires <= now()
    }

    /// Whether nobody can be in the middle of using it either.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.expires + LIFE <= now()
    }

    /// The manifest, once everything is there.
    ///
    /// # Errors
    /// [`AssetsError::Missing`].
    pub(crate) fn manifest(&self) -> Result<Manifest, AssetsError> {
        let mut missing = 0;
        let mut manifest = Manifest::default();
        for (path, file) in &self.announced {
            match self.present.get(&file.hash) {
                Some(asset) => {
                    manifest.files.insert(path.clone(), asset.clone());
                }
                None => missing += 1,
            }
        }
        if missing > 0 {
            return Err(AssetsError::Missing(missing));
        }
        Ok(manifest)
    }
}

impl Claims {
    /// The token that says it.
    ///
    /// # Errors
    /// No random numbers.
    pub(crate) fn token(&self, key: &SealKey) -> Result<String, SealError> {
        // Only strings that are no UTF-8 cannot be written, and these are.
        let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default());
        let sealed = key.seal(OWNER, claims.as_bytes())?;
        let sealed = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&sealed).unwrap_or_default());
        Ok(format!("{HEADER}.{claims}.{sealed}"))
    }

    /// What a token says, if this server made it and its time is not over.
    pub(crate) fn read(token: &str, key: &SealKey) -> Option<Self> {
        let mut parts = token.split('.').skip(1);
        let (claims, sealed) = (parts.next()?, parts.next()?);
        let sealed: Sealed = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(sealed).ok()?).ok()?;
        if key.open_sealed(OWNER, &sealed).ok()? != claims.as_bytes() {
            return None;
        }
        let claims: Self = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        (claims.exp > now()).then_some(claims)
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(hash: &str, size: u64) -> AnnouncedFile {
        let hash = hash.repeat(32);
        AnnouncedFile { hash, size }
    }

    #[test]
    fn what_is_missing_is_asked_for_once() {
        let announced = Announced::from([
            ("/a".to_owned(), file("a", 1)),
            ("/b/c".to_owned(), file("a", 1)),
            ("/d".to_owned(), file("b", 2)),
            ("/e".to_owned(), file("c", BUCKET_BYTES)),
        ]);
        let here = Asset {
            hash: "b".repeat(32),
            digest: "1".repeat(64),
            size: 2,
        };
        let known = BTreeMap::from([((here.hash.clone(), here.size), here.clone())]);
        let mut session = Session::new("app", announced, &known).unwrap();
        let buckets = session.buckets();
        assert_eq!(buckets, [["a".repeat(32)], ["c".repeat(32)]]);
        assert!(matches!(session.manifest(), Err(AssetsError::Missing(3))));
        for hash in ["a", "c"] {
            let asset = Asset {
                hash: hash.repeat(32),
                ..here.clone()
            };
            session.present.insert(asset.hash.clone(), asset);
        }
        assert!(session.is_complete() && session.buckets().is_empty());
        assert_eq!(session.manifest().unwrap().files.len(), 4);
    }

    #[test]
    fn what_cannot_be_a_directory_of_files_is_refused() {
        let both = Announced::from([
            ("/a".to_owned(), file("a", 1)),
            ("/a/b".to_owned(), file("a", 1)),
        ]);
        let huge = Announced::from([("/a".to_owned(), file("a", MOST_BYTES + 1))]);
        let odd = Announced::from([("/a".to_owned(), file("z", 1))]);
        let twice = Announced::from([
            ("/%61".to_owned(), file("a", 1)),
            ("/a".to_owned(), file("a", 1)),
        ]);
        for announced in [both, huge, odd, twice] {
            assert!(Session::new("app", announced.clone(), &BTreeMap::new()).is_err());
        }
    }

    #[test]
    fn a_token_is_only_the_servers_own() {
        let directory = tempfile::tempdir().unwrap();
        let key = SealKey::open(&directory.path().join("one")).unwrap();
        let other = SealKey::open(&directory.path().join("other")).unwrap();
        let claims = Claims {
            sub: "x".to_owned(),
            complete: false,
            exp: now() + 60,
        };
        let token = claims.token(&key).unwrap();
        assert_eq!(Claims::read(&token, &key), Some(claims.clone()));
        assert_eq!(Claims::read(&token, &other), None);
        let mut parts: Vec<&str> = token.split('.').collect();
        let forged = URL_SAFE_NO_PAD.encode(format!(
            r#"{{"sub":"x","complete":true,"exp":{}}}"#,
            claims.exp
        ));
        parts[1] = &forged;
        assert_eq!(Claims::read(&parts.join("."), &key), None);
        let over = Claims { exp: 1, ..claims };
        assert_eq!(Claims::read(&over.token(&key).unwrap(), &key), None);
        for text in ["", "a.b.c", "...."] {
            assert_eq!(Claims::read(text, &key), None);
        }
    }
}
