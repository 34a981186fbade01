//! `images.json`: which names and ids lead to which manifests.
//!
//! It is read as a whole without a lock and replaced as a whole by `rename` under `images.lock`, so a
//! reader sees one state or the next.

use std::collections::BTreeMap;
use std::io::Write as _;

use fs_err as fs;
use fs_err::File;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::{ImageStore, flock, open_lock};
use crate::digest::is_hex;
use crate::{Digest, ImageError, Reference};

const VERSION: u32 = 1;
/// Fewest hex digits that are taken for the beginning of an id.
const MIN_PREFIX: usize = 12;

/// The index.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Index {
    version: u32,
    /// Canonical name, or `<repository>@<digest>` of one that was asked for like this, → image id.
    pub(super) names: BTreeMap<String, Digest>,
    /// Image id → what belongs to it. Images without a name stay until they are collected.
    pub(super) images: BTreeMap<Digest, Record>,
}

/// What the index knows of one image.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// Digest of its manifest.
    pub(super) manifest: Digest,
    /// Unix seconds, from the configuration.
    pub(super) created: u64,
    /// Digests of the indexes it came from and of its other manifests, by which `name@sha256:…` may ask
    /// for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) aliases: Vec<Digest>,
    /// `host/repository` → the digest under which that repository has it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) repositories: BTreeMap<String, Digest>,
}

impl Record {
    /// Another manifest from now on; the former one still leads here.
    pub(super) fn change_manifest(&mut self, manifest: &Digest) {
        let former = std::mem::replace(&mut self.manifest, manifest.clone());
        if !self.aliases.contains(&former) {
            self.aliases.push(former);
        }
        self.aliases.retain(|alias| alias != manifest);
    }

    fn is_called(&self, digest: &Digest) -> bool {
        self.manifest == *digest
            || self.aliases.contains(digest)
            || self.repositories.values().any(|known| known == digest)
    }
}

impl Index {
    /// The manifest that a reference leads to.
    pub(super) fn find(&self, reference: &str) -> Result<Option<Digest>, ImageError> {
        let id = self.find_id(reference)?;
        Ok(id
            .and_then(|id| self.images.get(id))
            .map(|record| record.manifest.clone()))
    }

    /// Removes a name, or an image with all its names if it was asked for by digest or id.
    pub(super) fn remove(&mut self, reference: &str) -> Result<bool, ImageError> {
        if let Ok(parsed) = reference.parse::<Reference>()
            && parsed.digest().is_none()
            && let Some(id) = self.names.remove(&parsed.canonical())
        {
            self.forget_repository(&id, &parsed);
            return Ok(true);
        }
        let Some(id) = self.find_id(reference)?.cloned() else {
            return Ok(false);
        };
        self.names.retain(|_, named| *named != id);
        self.images.remove(&id);
        Ok(true)
    }

    /// With the last name of a repository goes what the repository calls the image, as in Docker.
    fn forget_repository(&mut self, id: &Digest, removed: &Reference) {
        let repository = format!("{}/{}", removed.host(), removed.repository());
        let of_it = |name: &str| {
            name.strip_prefix(&repository)
                .is_some_and(|rest| rest.starts_with([':', '@']))
        };
        let others = self
            .names
            .iter()
            .any(|(name, named)| named == id && of_it(name));
        if !others && let Some(record) = self.images.get_mut(id) {
            record.repositories.remove(&repository);
        }
    }

    fn find_id(&self, reference: &str) -> Result<Option<&Digest>, ImageError> {
        if let Ok(digest) = reference.parse::<Digest>() {
            return Ok(self.by_digest(&digest));
        }
        match reference.parse::<Reference>() {
            Ok(parsed) => {
                let found = match parsed.digest() {
                    Some(digest) => self.by_digest(digest),
                    None => self.names.get(&parsed.canonical()),
                };
                match found {
                    Some(id) => Ok(Some(id)),
                    None => self.by_prefix(reference),
                }
            }
            Err(error) => match self.by_prefix(reference) {
                Ok(None) => Err(error),
                found => found,
            },
        }
    }

    fn by_digest(&self, digest: &Digest) -> Option<&Digest> {
        if let Some((id, _)) = self.images.get_key_value(digest) {
            return Some(id);
        }
        self.images
            .iter()
            .find(|(_, record)| record.is_called(digest))
            .map(|(id, _)| id)
    }

    fn by_prefix(&self, reference: &str) -> Result<Option<&Digest>, ImageError> {
        let prefix = reference.strip_prefix("sha256:").unwrap_or(reference);
        if prefix.len() < MIN_PREFIX || !is_hex(prefix) {
            return Ok(None);
        }
        let mut found = self.images.keys().filter(|id| id.hex().starts_with(prefix));
        let first = found.next();
        match found.count() {
            0 => Ok(first),
            more => Err(ImageError::AmbiguousId {
                prefix: reference.to_owned(),
                count: more + 1,
            }),
        }
    }
}

impl ImageStore {
    pub(super) fn index(&self) -> Result<Index, ImageError> {
        let path = self.inner.root.join("images.json");
        match fs::read(&path) {
            Ok(bytes) => crate::json::parse(&bytes, format!("`{}`", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Index {
                version: VERSION,
                ..Index::default()
            }),
            Err(error) => Err(ImageError::io("read", &path)(error)),
        }
    }

    /// Held while names or pins are changed.
    pub(super) fn lock_index(&self) -> Result<File, ImageError> {
        let path = self.inner.root.join("images.lock");
        let lock = open_lock(&path)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(ImageError::errno("lock", &path))?;
        Ok(lock)
    }

    /// Changes the index; nothing is written if `change` fails.
    pub(super) fn change_index<T>(
        &self,
        change: impl FnOnce(&mut Index) -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        let _lock = self.lock_index()?;
        let spell = |index: &Index| {
            crate::json::value(index, "the image index").map(crate::json::canonical)
        };
        let mut index = self.index()?;
        let before = spell(&index)?;
        let result = change(&mut index)?;
        let path = self.inner.root.join("images.json");
        let bytes = spell(&index)?;
        if bytes == before {
            return Ok(result);
        }
        let mut file = self.new_blob()?;
        let write = |file: &mut tempfile::NamedTempFile| {
            file.write_all(&bytes)?;
            file.as_file().sync_data()
        };
        write(&mut file).map_err(ImageError::io("write", file.path()))?;
        file.persist(&path)
            .map_err(|error| ImageError::io("replace", &path)(error.error))?;
        Ok(result)
    }
}
