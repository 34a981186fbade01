//! What is not needed goes, in batches that hold pushes up only shortly.

use std::collections::{BTreeMap, BTreeSet};

use super::Collected;
use super::intent::Pending;
use super::mark::{Marks, Repository, older};
use crate::crash::crash_point;
use crate::digest::Digest;
use crate::layout;
use crate::names::RepositoryName;
use crate::registry::Inner;
use crate::storage::StorageError;

/// Most removals while pushes that need the same are held up.
const BATCH: usize = 500;

type Result<T, E = StorageError> = std::result::Result<T, E>;

/// Uploads that nobody continued.
pub(super) async fn uploads(registry: &Inner, collected: &mut Collected) -> Result<()> {
    let expiry = registry.options.collect.upload_expiry;
    for (id, info) in registry.storage.uploads().await? {
        if older(info.modified, expiry)
            && !registry.sessions.is_held(&id)
            && registry.storage.delete_upload(&id).await?
        {
            registry.sessions.forget(&id);
            collected.uploads += 1;
            collected.bytes += info.size;
        }
    }
    Ok(())
}

/// Manifests that nobody wants. Says whether there were any: what they held up may be next.
pub(super) async fn manifests(
    registry: &Inner,
    marks: &mut Marks,
    collected: &mut Collected,
) -> Result<bool> {
    let mut unwanted = Vec::new();
    for (name, repository) in &marks.repositories {
        for digest in repository.manifests.keys() {
            if is_unwanted(registry, name, repository, digest).await? {
                unwanted.push((name.clone(), digest.clone()));
            }
        }
    }
    marks.refresh(registry, std::iter::empty()).await?;
    unwanted.retain(|(_, digest)| !marks.is_intended(digest));
    let before = collected.manifests;
    for batch in unwanted.chunks(BATCH) {
        let pending = Pending::write(registry, batch.iter().map(|(_, digest)| digest)).await?;
        let names: BTreeSet<_> = batch.iter().map(|(name, _)| name).collect();
        marks.refresh(registry, names.into_iter()).await?;
        for (name, digest) in batch {
            let _lock = registry.lock(name).await;
            let repository = marks.repositories.get(name);
            let unwanted = match repository {
                Some(repository) => is_unwanted(registry, name, repository, digest).await?,
                None => false,
            };
            // A tag comes only with a push, and that would have told its intent.
            if unwanted && !marks.is_intended(digest) && pending.is_valid() {
                registry.remove_manifest(name, digest).await?;
                collected.manifests += 1;
            }
        }
        pending.end(registry).await;
    }
    Ok(collected.manifests > before)
}

async fn is_unwanted(
    registry: &Inner,
    name: &RepositoryName,
    repository: &Repository,
    digest: &Digest,
) -> Result<bool> {
    let Some(came) = repository.manifests.get(digest) else {
        return Ok(false);
    };
    if repository.tagged.contains(digest)
        || repository.children.contains(digest)
        || !repository.understood
    {
        return Ok(false);
    }
    let untagged_after = registry.options.collect.untagged_after;
    if untagged_after.is_some_and(|age| older(*came, age)) {
        return Ok(true);
    }
    let mark = layout::untagged(name, digest);
    Ok(registry.storage.modified(&mark).await?.is_some())
}

/// Links to blobs that no manifest of their repository needs.
pub(super) async fn links(
    registry: &Inner,
    marks: &mut Marks,
    collected: &mut Collected,
) -> Result<()> {
    let mut unneeded = Vec::new();
    for (name, repository) in &marks.repositories {
        let grace = registry.options.collect.grace;
        for entry in registry.storage.list(&layout::links(name)).await? {
            let digest = Digest::from_key(&entry.name);
            let Some(digest) = digest.filter(|_| older(entry.modified, grace)) else {
                continue;
            };
            if repository.understood && !repository.needed.contains(&digest) {
                unneeded.push((name.clone(), digest));
            }
        }
    }
    // What is intended already is not held up: pushes get through however often garbage is collected.
    marks.refresh(registry, std::iter::empty()).await?;
    unneeded.retain(|(_, digest)| !marks.is_intended(digest));
    for batch in unneeded.chunks(BATCH) {
        let pending = Pending::write(registry, batch.iter().map(|(_, digest)| digest)).await?;
        let names: BTreeSet<_> = batch.iter().map(|(name, _)| name).collect();
        marks.refresh(registry, names.into_iter()).await?;
        for (name, digest) in batch {
            if pending.is_valid()
                && !marks.is_intended(digest)
                && marks
                    .repositories
                    .get(name)
                    .is_some_and(|r| r.understood && !r.needed.contains(digest))
                && is_old(registry, name, digest).await?
                && registry.storage.delete(&layout::link(name, digest)).await?
            {
                collected.links += 1;
            }
        }
        crash_point("registry.gc.unlinked");
        pending.end(registry).await;
    }
    Ok(())
}

/// Whether a link is (still) there and old.
async fn is_old(registry: &Inner, name: &RepositoryName, digest: &Digest) -> Result<bool> {
    let modified = registry
        .storage
        .modified(&layout::link(name, digest))
        .await?;
    let grace = registry.options.collect.grace;
    Ok(modified.is_some_and(|modified| older(modified, grace)))
}

/// Blobs that no repository has.
pub(super) async fn blobs(
    registry: &Inner,
    marks: &mut Marks,
    collected: &mut Collected,
) -> Result<()> {
    let grace = registry.options.collect.grace;
    let linked = linked(registry, marks).await?;
    let mut unlinked = BTreeMap::new();
    for (digest, info) in registry.storage.blobs().await? {
        if older(info.modified, grace) && !linked.contains(&digest) {
            unlinked.insert(digest, info.size);
        }
    }
    marks.refresh(registry, std::iter::empty()).await?;
    unlinked.retain(|digest, _| !marks.is_intended(digest));
    let unlinked: Vec<_> = unlinked.into_iter().collect();
    for batch in unlinked.chunks(BATCH) {
        let pending = Pending::write(registry, batch.iter().map(|(digest, _)| digest)).await?;
        marks.read(registry).await?;
        marks.refresh(registry, std::iter::empty()).await?;
        let linked = self::linked(registry, marks).await?;
        for (digest, size) in batch {
            let needed = linked.contains(digest) || marks.is_intended(digest);
            if !needed && pending.is_valid() && is_old_blob(registry, digest).await? {
                registry.storage.delete_blob(digest).await?;
                crash_point("registry.gc.blob");
                collected.blobs += 1;
                collected.bytes += size;
            }
        }
        pending.end(registry).await;
    }
    Ok(())
}

async fn is_old_blob(registry: &Inner, digest: &Digest) -> Result<bool> {
    let info = registry.storage.blob(digest).await?;
    let grace = registry.options.collect.grace;
    Ok(info.is_some_and(|info| older(info.modified, grace)))
}

/// All blobs that any repository has, or that any manifest needs.
async fn linked(registry: &Inner, marks: &Marks) -> Result<BTreeSet<Digest>> {
    let mut linked = BTreeSet::new();
    for (name, repository) in &marks.repositories {
        let entries = registry.storage.list(&layout::links(name)).await?;
        linked.extend(
            entries
                .iter()
                .filter_map(|entry| Digest::from_key(&entry.name)),
        );
        linked.extend(repository.needed.iter().cloned());
    }
    Ok(linked)
}
