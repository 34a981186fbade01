//! What `berth containers registries configure` keeps: one secret for each registry, encrypted.
//!
//! ```text
//! <data>/registries/credentials.json   domain → kind, public half, sealed secret; mode 0600
//! <data>/keys/registries.key           the key, 32 random bytes; mode 0600
//! ```
//!
//! A secret is sealed ([`SealKey`]) and bound to its domain, kind and public half, so that nothing in the
//! file can be exchanged for something else. The file alone (a backup of the data directory without
//! `keys`) gives nothing away.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use berth_store::{SealKey, Sealed};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::CredentialError;
use crate::json_file::{self, FileError};

const VERSION: u32 = 1;

/// The kinds of registries, as wrangler's API names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Amazon ECR: an access key, exchanged for a token of twelve hours.
    #[serde(rename = "ECR")]
    Ecr,
    /// Docker Hub: a user and an access token.
    DockerHub,
    /// Google Artifact Registry: the JSON key of a service account, in base64.
    #[serde(rename = "GAR")]
    Gar,
    /// Any other: a user and a password.
    #[serde(rename = "default")]
    Default,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ecr => "ECR",
            Self::DockerHub => "DockerHub",
            Self::Gar => "GAR",
            Self::Default => "default",
        })
    }
}

/// One registry that is configured.
#[derive(Clone)]
pub struct Configured {
    /// Its host, as in image names.
    pub domain: String,
    /// See [`Kind`].
    pub kind: Kind,
    /// User, access key id or e-mail address.
    pub public_credential: String,
    /// Unix seconds.
    pub created: u64,
    secret: String,
}

impl fmt::Debug for Configured {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Configured")
            .field("domain", &self.domain)
            .field("kind", &self.kind)
            .field("public_credential", &self.public_credential)
            .finish_non_exhaustive()
    }
}

impl Configured {
    pub(crate) fn reveal(&self) -> &str {
        &self.secret
    }

    pub(crate) fn source(&self) -> String {
        format!("`berth containers registries configure {}`", self.domain)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    registries: BTreeMap<String, Entry>,
}

/// A registry without its secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    kind: Kind,
    public_credential: String,
    created: u64,
    /// Where the secret is from, for whoever wants to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    sealed: Sealed,
}

/// The secrets of one data directory.
#[derive(Clone, Debug)]
pub struct Vault {
    path: PathBuf,
    key_path: PathBuf,
}

impl Vault {
    /// That of a data directory; nothing is made before something is kept.
    pub fn open(data: &Path) -> Self {
        Self {
            path: data.join("registries/credentials.json"),
            key_path: data.join("keys/registries.key"),
        }
    }

    /// One registry with its secret.
    pub fn get(&self, domain: &str) -> Result<Option<Configured>, CredentialError> {
        match self.read()?.registries.remove(domain) {
            Some(entry) => self.unseal(domain, entry).map(Some),
            None => Ok(None),
        }
    }

    /// What is configured, without secrets: domain, kind, public half, Unix seconds.
    pub fn list(&self) -> Result<Vec<(String, Kind, String, u64)>, CredentialError> {
        let file = self.read()?;
        let entries = file.registries.into_iter();
        Ok(entries
            .map(|(domain, entry)| (domain, entry.kind, entry.public_credential, entry.created))
            .collect())
    }

    /// Where the secret of a registry is from, as it was said when it was added.
    pub fn origin(&self, domain: &str) -> Result<Option<String>, CredentialError> {
        let entry = self.read()?.registries.remove(domain);
        Ok(entry.and_then(|entry| entry.origin))
    }

    /// Keeps the secret of a registry; `false`: there is one already, and nothing was changed.
    pub fn add(
        &self,
        domain: &str,
        kind: Kind,
        public_credential: &str,
        secret: &str,
    ) -> Result<bool, CredentialError> {
        self.add_from(domain, kind, public_credential, secret, None)
    }

    /// The same, with where the secret is from.
    pub fn add_from(
        &self,
        domain: &str,
        kind: Kind,
        public_credential: &str,
        secret: &str,
        origin: Option<String>,
    ) -> Result<bool, CredentialError> {
        let _lock = self.lock()?;
        let mut file = self.read()?;
        if file.registries.contains_key(domain) {
            return Ok(false);
        }
        let owner = associated(domain, kind, public_credential);
        let key = SealKey::open(&self.key_path)?;
        let sealed = key.seal(&owner, secret.as_bytes())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let entry = Entry {
            kind,
            public_credential: public_credential.to_owned(),
            created: now.map_or(0, |now| now.as_secs()),
            origin,
            sealed,
        };
        file.registries.insert(domain.to_owned(), entry);
        self.write(&file)?;
        Ok(true)
    }

    /// Forgets a registry; whether it was there.
    pub fn remove(&self, domain: &str) -> Result<bool, CredentialError> {
        if !self.path.exists() {
            return Ok(false);
        }
        let _lock = self.lock()?;
        let mut file = self.read()?;
        let known = file.registries.remove(domain).is_some();
        if known {
            self.write(&file)?;
        }
        Ok(known)
    }

    fn unseal(&self, domain: &str, entry: Entry) -> Result<Configured, CredentialError> {
        let sealed = || CredentialError::Sealed {
            domain: domain.to_owned(),
            path: self.path.clone(),
        };
        if !self.key_path.exists() {
            return Err(sealed());
        }
        let owner = associated(domain, entry.kind, &entry.public_credential);
        let key = SealKey::open(&self.key_path)?;
        let secret = key
            .open_sealed(&owner, &entry.sealed)
            .map_err(|_| sealed())?;
        Ok(Configured {
            domain: domain.to_owned(),
            kind: entry.kind,
            public_credential: entry.public_credential,
            created: entry.created,
            secret: String::from_utf8(secret).map_err(|_| sealed())?,
        })
    }

    fn read(&self) -> Result<File, CredentialError> {
        let Some(bytes) = json_file::read(&self.path)? else {
            return Ok(File {
                version: VERSION,
                registries: BTreeMap::new(),
            });
        };
        let file: File = json_file::parse(&self.path, &bytes)?;
        if file.version != VERSION {
            let problem = format!("is {}, this program knows {VERSION}", file.version);
            return Err(FileError::field(&self.path, "version", problem).into());
        }
        Ok(file)
    }

    fn write(&self, file: &File) -> Result<(), CredentialError> {
        let text = serde_json::to_vec_pretty(file).map_err(|source| FileError::Syntax {
            path: self.path.clone(),
            source,
        })?;
        Ok(json_file::replace(&self.path, &text)?)
    }

    /// Held while something is changed.
    fn lock(&self) -> Result<std::fs::File, CredentialError> {
        let path = json_file::private_directory_of(&self.path)?.join("lock");
        let open = || -> std::io::Result<std::fs::File> {
            let file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)?;
            rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        };
        Ok(open().map_err(FileError::io("lock", &path))?)
    }
}

/// What a sealed secret belongs to.
fn associated(domain: &str, kind: Kind, public_credential: &str) -> String {
    format!("{VERSION}\0{domain}\0{kind}\0{public_credential}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn secrets_are_kept_sealed_and_come_back() {
        let data = tempfile::tempdir().unwrap();
        let vault = Vault::open(data.path());
        assert!(vault.get("x.io").unwrap().is_none());
        assert!(!vault.remove("x.io").unwrap());
        assert!(vault.add("x.io", Kind::Default, "me", "hunter2-é").unwrap());
        assert!(!vault.add("x.io", Kind::Default, "me", "other").unwrap());
        let found = vault.get("x.io").unwrap().unwrap();
        assert_eq!(
            (found.reveal(), &*found.public_credential),
            ("hunter2-é", "me")
        );
        assert!(!format!("{found:?}").contains("hunter2"));
        let listed = vault.list().unwrap();
        assert_eq!(listed.len(), 1);
        for path in [&vault.path, &vault.key_path] {
            let bytes = fs_err::read(path).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"));
            let mode = fs_err::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        }
        assert!(vault.remove("x.io").unwrap());
        assert!(vault.get("x.io").unwrap().is_none());
    }

    #[test]
    fn a_sealed_secret_belongs_to_its_registry_and_its_key() {
        let data = tempfile::tempdir().unwrap();
        let vault = Vault::open(data.path());
        vault.add("a.io", Kind::Default, "me", "secret").unwrap();
        vault.add("b.io", Kind::Default, "me", "other").unwrap();
        let text = fs_err::read_to_string(&vault.path).unwrap();
        let swapped = text
            .replace("a.io", "c.io")
            .replace("b.io", "a.io")
            .replace("c.io", "b.io");
        fs_err::write(&vault.path, swapped).unwrap();
        assert!(matches!(
            vault.get("a.io"),
            Err(CredentialError::Sealed { .. })
        ));
        fs_err::write(&vault.path, text).unwrap();
        assert!(vault.get("a.io").unwrap().is_some());
        let mode = std::fs::Permissions::from_mode(0o644);
        fs_err::set_permissions(&vault.key_path, mode).unwrap();
        assert!(matches!(vault.get("a.io"), Err(CredentialError::Key(_))));
        fs_err::remove_file(&vault.key_path).unwrap();
        assert!(matches!(
            vault.get("a.io"),
            Err(CredentialError::Sealed { .. })
        ));
        // A new key does not open old secrets.
        vault.add("d.io", Kind::Default, "me", "x").unwrap();
        assert!(matches!(
            vault.get("a.io"),
            Err(CredentialError::Sealed { .. })
        ));
        assert!(vault.get("d.io").unwrap().is_some());
    }
}
