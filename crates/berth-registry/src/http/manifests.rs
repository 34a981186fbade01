//! Manifests and tags.

mod put;

use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

use super::{Answer, CONTENT_DIGEST, Context, empty, set, typed};
use crate::crash::crash_point;
use crate::digest::Digest;
use crate::error::{ApiError, Code};
use crate::layout;
use crate::manifest::{Manifest, Stored};
use crate::names::{Reference, RepositoryName, Tag};
use crate::registry::Inner;
use crate::storage::{Keep, StorageError};

pub(super) use put::put;

fn unknown(reference: &Reference) -> ApiError {
    let message = format!("this repository has no manifest `{reference}`");
    ApiError::missing(Code::ManifestUnknown, message)
}

impl Inner {
    /// The digest that a tag names.
    pub(crate) async fn tagged(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<Digest>, StorageError> {
        let record = self.storage.get(&layout::tag(repository, tag)).await?;
        Ok(record.and_then(|record| std::str::from_utf8(&record).ok()?.parse().ok()))
    }

    /// A manifest of a repository.
    pub(crate) async fn stored(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Stored>, StorageError> {
        let record = self
            .storage
            .get(&layout::manifest(repository, digest))
            .await?;
        Ok(record.as_ref().and_then(Stored::decode))
    }

    /// The tags of a repository, by name.
    pub(crate) async fn tags(&self, repository: &RepositoryName) -> Result<Vec<Tag>, StorageError> {
        let entries = self.storage.list(&layout::tags(repository)).await?;
        Ok(entries
            .iter()
            .filter_map(|entry| Tag::parse(&entry.name))
            .collect())
    }

    /// The tags that name this manifest.
    pub(crate) async fn tags_of(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<Tag>, StorageError> {
        let mut found = Vec::new();
        for tag in self.tags(repository).await? {
            if self.tagged(repository, &tag).await?.as_ref() == Some(digest) {
                found.push(tag);
            }
        }
        Ok(found)
    }

    /// Removes a manifest and what names it, in the order in which nothing ever names what is not
    /// there. The caller has the repository's lock.
    pub(crate) async fn remove_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), StorageError> {
        for tag in self.tags_of(repository, digest).await? {
            self.storage.delete(&layout::tag(repository, &tag)).await?;
        }
        crash_point("registry.delete.untagged");
        let stored = self.stored(repository, digest).await?;
        let parsed = stored.and_then(|stored| stored.parse().ok());
        if let Some(parsed) = parsed {
            self.orphan(repository, digest, &parsed).await?;
            if let Some(subject) = &parsed.subject {
                let referrer = layout::referrer(repository, subject, digest);
                self.storage.delete(&referrer).await?;
            }
        }
        self.storage
            .delete(&layout::manifest(repository, digest))
            .await?;
        crash_point("registry.delete.record");
        self.storage
            .delete(&layout::untagged(repository, digest))
            .await?;
        Ok(())
    }

    /// Leaves to the collector what only made sense with a manifest that goes: its children, and the
    /// manifests about it.
    async fn orphan(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        manifest: &Manifest,
    ) -> Result<(), StorageError> {
        let about = self
            .storage
            .list(&layout::referrers(repository, digest))
            .await?;
        let about = about
            .iter()
            .filter_map(|entry| Digest::from_key(&entry.name));
        for orphan in manifest.children.iter().cloned().chain(about) {
            let record = layout::manifest(repository, &orphan);
            if self.storage.modified(&record).await?.is_some() {
                let mark = layout::untagged(repository, &orphan);
                self.storage
                    .put(&mark, bytes::Bytes::new(), Keep::Volatile)
                    .await?;
            }
        }
        Ok(())
    }
}

/// `GET` and `HEAD …/manifests/<reference>`.
pub(super) async fn read(
    context: &Context,
    repository: &RepositoryName,
    reference: &Reference,
) -> Answer {
    let digest = match reference {
        Reference::Digest(digest) => Some(digest.clone()),
        Reference::Tag(tag) => context.tagged(repository, tag).await?,
    };
    let digest = digest.ok_or_else(|| unknown(reference))?;
    let stored = context.stored(repository, &digest).await?;
    let stored = stored.ok_or_else(|| unknown(reference))?;
    let etag = format!("\"{digest}\"");
    let mut response = if context.header(&header::IF_NONE_MATCH) == Some(etag.as_str()) {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        typed(&stored.media_type, stored.content)
    };
    let headers = response.headers_mut();
    set(headers, header::ETAG, &etag);
    set(headers, CONTENT_DIGEST, &digest.to_string());
    Ok(response)
}

/// `DELETE …/manifests/<reference>`: a tag alone, or a manifest with all its tags.
pub(super) async fn delete(
    context: &Context,
    repository: &RepositoryName,
    reference: &Reference,
) -> Answer {
    let _lock = context.lock(repository).await;
    match reference {
        Reference::Tag(tag) => {
            let digest = context.tagged(repository, tag).await?;
            let digest = digest.ok_or_else(|| unknown(reference))?;
            if context.tags_of(repository, &digest).await? == [tag.clone()] {
                // Its user has given it up: the collector may have it.
                let mark = layout::untagged(repository, &digest);
                context
                    .storage
                    .put(&mark, bytes::Bytes::new(), Keep::Volatile)
                    .await?;
            }
            context
                .storage
                .delete(&layout::tag(repository, tag))
                .await?;
            crash_point("registry.delete.untagged");
        }
        Reference::Digest(digest) => {
            let manifest = layout::manifest(repository, digest);
            if context.storage.modified(&manifest).await?.is_none() {
                return Err(unknown(reference));
            }
            context.remove_manifest(repository, digest).await?;
        }
    }
    Ok(accepted())
}

fn accepted() -> Response {
    let mut response = empty(StatusCode::ACCEPTED);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    response
}
