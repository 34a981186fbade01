//! What is needed: manifests of all repositories, read once each, because they never change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use super::intent;
use crate::digest::Digest;
use crate::layout;
use crate::manifest::Manifest;
use crate::names::RepositoryName;
use crate::registry::Inner;
use crate::storage::StorageError;

/// A manifest that could not be read needs what we do not know: nothing of its repository is removed.
type Known = Option<Manifest>;

/// One repository.
#[derive(Debug, Default)]
pub(super) struct Repository {
    /// Its manifests, and when they came.
    pub(super) manifests: BTreeMap<Digest, SystemTime>,
    /// Manifests that a tag names.
    pub(super) tagged: BTreeSet<Digest>,
    /// What its manifests need.
    pub(super) needed: BTreeSet<Digest>,
    /// Manifests of its indexes.
    pub(super) children: BTreeSet<Digest>,
    /// Whether all of its manifests were understood.
    pub(super) understood: bool,
}

/// All repositories.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pub(super) repositories: BTreeMap<RepositoryName, Repository>,
    /// What pushes are about to need, anywhere.
    pub(super) intended: BTreeSet<String>,
    read: HashMap<(RepositoryName, Digest), Known>,
}

impl Marks {
    /// Reads everything again; manifests that were read before are not.
    pub(super) async fn read(&mut self, registry: &Inner) -> Result<(), StorageError> {
        self.repositories.clear();
        for name in registry.repositories().await? {
            self.read_repository(registry, &name).await?;
        }
        Ok(())
    }

    /// Reads intents and these repositories again: what came since is in it afterwards. Intents
    /// first: a push that ends in between has its manifest where it is read next.
    pub(super) async fn refresh(
        &mut self,
        registry: &Inner,
        names: impl Iterator<Item = &RepositoryName>,
    ) -> Result<(), StorageError> {
        self.intended = intent::intended(registry).await?;
        for name in names {
            self.read_repository(registry, name).await?;
        }
        Ok(())
    }

    async fn read_repository(
        &mut self,
        registry: &Inner,
        name: &RepositoryName,
    ) -> Result<(), StorageError> {
        let mut repository = Repository {
            understood: true,
            ..Repository::default()
        };
        for entry in registry.storage.list(&layout::manifests(name)).await? {
            let Some(digest) = Digest::from_key(&entry.name) else {
                continue;
            };
            let key = (name.clone(), digest.clone());
            let known = match self.read.get(&key) {
                Some(known) => known,
                None => {
                    let Some(stored) = registry.stored_or_broken(name, &digest).await? else {
                        continue;
                    };
                    self.read.entry(key).or_insert(stored)
                }
            };
            match known {
                Some(manifest) => {
                    repository.needed.extend(manifest.references().cloned());
                    repository
                        .children
                        .extend(manifest.children.iter().cloned());
                }
                None => repository.understood = false,
            }
            repository.manifests.insert(digest, entry.modified);
        }
        for tag in registry.tags(name).await? {
            repository.tagged.extend(registry.tagged(name, &tag).await?);
        }
        self.repositories.insert(name.clone(), repository);
        Ok(())
    }

    /// Whether a push is about to need this.
    pub(super) fn is_intended(&self, digest: &Digest) -> bool {
        self.intended.contains(&digest.to_string())
    }
}

impl Inner {
    /// A manifest; `None` if it is gone, `Some(None)` if it is not understood.
    async fn stored_or_broken(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Known>, StorageError> {
        let Some(record) = self.storage.get(&layout::manifest(name, digest)).await? else {
            return Ok(None);
        };
        let stored = crate::manifest::Stored::decode(&record);
        let known = stored.and_then(|stored| stored.parse().ok());
        if known.is_none() {
            tracing::error!(%name, %digest, "a stored manifest is not understood; its repository is left alone");
        }
        Ok(Some(known))
    }
}

/// Whether something is older than this.
pub(super) fn older(modified: SystemTime, age: Duration) -> bool {
    // What is from the future is young.
    modified.elapsed().is_ok_and(|elapsed| elapsed >= age)
}
