//! Pushing a manifest.
//!
//! What it needs is looked at after the intent to need it was written, and is durable before the
//! manifest is. The manifest is one record, and the tag comes last: at no moment does a tag name a
//! manifest that is not whole, whatever is killed, full or collected meanwhile.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use super::super::body;
use super::super::referrers;
use super::super::route;
use super::super::{Answer, CONTENT_DIGEST, Context, empty, query, set};
use crate::collect::Intent;
use crate::crash::crash_point;
use crate::digest::{Algorithm, Digest};
use crate::error::{ApiError, Code};
use crate::layout;
use crate::manifest::{self, MAX_MANIFEST, Manifest, Stored};
use crate::names::{Reference, RepositoryName, Tag};
use crate::registry::Inner;
use crate::storage::Keep;

const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
/// Most tags in one push.
const MAX_TAGS: usize = 100;
const TAGS_A_HEADER: usize = 10;
/// Most missing blobs that an answer names.
const MAX_NAMED: usize = 10;

/// `PUT …/manifests/<reference>`.
pub(in super::super) async fn put(
    context: &Context,
    body: Body,
    repository: &RepositoryName,
    reference: &Reference,
) -> Answer {
    let registry = context.registry.clone();
    let tags = tags(context, reference)?;
    let content_type = context.header(&header::CONTENT_TYPE).map(str::to_owned);
    let content = content(context, body).await?;
    let digest = match reference {
        Reference::Tag(_) => Digest::of(Algorithm::Sha256, &content),
        Reference::Digest(digest) => {
            let actual = Digest::of(digest.algorithm(), &content);
            if actual != *digest {
                let message = format!("the manifest has the digest {actual}");
                return Err(ApiError::bad(Code::DigestInvalid, message));
            }
            actual
        }
    };
    let manifest = manifest::parse(&content, content_type.as_deref())
        .map_err(|problem| ApiError::bad(Code::ManifestInvalid, problem))?;
    registry.options.limits.check_image(manifest.image_size())?;
    let stored = Stored {
        media_type: manifest.media_type.clone(),
        content,
    };
    let push = Push {
        registry: &registry,
        repository,
        digest: &digest,
        manifest: &manifest,
        stored: &stored,
    };
    push.run(&tags).await?;
    let mut response = empty(StatusCode::CREATED);
    let headers = response.headers_mut();
    let location = format!("/v2/{repository}/manifests/{digest}");
    set(headers, header::LOCATION, &location);
    set(headers, CONTENT_DIGEST, &digest.to_string());
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    if let Some(subject) = &manifest.subject {
        set(headers, OCI_SUBJECT, &subject.to_string());
    }
    if matches!(reference, Reference::Digest(_)) {
        // Clients take only so many headers, and headers only so long.
        for tags in tags.chunks(TAGS_A_HEADER) {
            let names: Vec<_> = tags.iter().map(Tag::as_str).collect();
            if let Ok(value) = HeaderValue::from_str(&names.join(", ")) {
                headers.append(OCI_TAG, value);
            }
        }
    }
    Ok(response)
}

/// The tag of the path, or those of the parameters.
fn tags(context: &Context, reference: &Reference) -> Result<Vec<Tag>, ApiError> {
    if let Reference::Tag(tag) = reference {
        return Ok(vec![tag.clone()]);
    }
    let named = query(&context.parts).filter(|(key, _)| key == "tag");
    let tags: Vec<_> = named
        .map(|(_, tag)| route::tag(&tag))
        .collect::<Result<_, _>>()?;
    if tags.len() > MAX_TAGS {
        return Err(ApiError::new(
            StatusCode::URI_TOO_LONG,
            Code::TagInvalid,
            format!("more than {MAX_TAGS} tags in one push"),
        ));
    }
    Ok(tags)
}

async fn content(context: &Context, body: Body) -> Result<Bytes, ApiError> {
    let too_long = || {
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            Code::ManifestInvalid,
            format!("a manifest has at most {MAX_MANIFEST} bytes"),
        )
    };
    if context
        .content_length()
        .is_some_and(|length| length > MAX_MANIFEST as u64)
    {
        return Err(too_long());
    }
    let timeout = context.options.body_timeout;
    body::collect(body, MAX_MANIFEST, timeout, too_long).await
}

/// One manifest on its way into a repository.
struct Push<'a> {
    registry: &'a Inner,
    repository: &'a RepositoryName,
    digest: &'a Digest,
    manifest: &'a Manifest,
    stored: &'a Stored,
}

impl Push<'_> {
    async fn run(&self, tags: &[Tag]) -> Result<(), ApiError> {
        let _lock = self.registry.lock(self.repository).await;
        let needed = self.manifest.references().chain([self.digest]);
        let intent = Intent::write(self.registry, needed.cloned()).await?;
        crash_point("registry.manifest.intended");
        let outcome = self.write(&intent, tags).await;
        intent.end(self.registry).await;
        outcome
    }

    async fn write(&self, intent: &Intent, tags: &[Tag]) -> Result<(), ApiError> {
        self.check_blobs().await?;
        let (storage, repository) = (&self.registry.storage, self.repository);
        self.registry.catalogue(repository).await?;
        storage.settle(&layout::links(repository)).await?;
        intent.check()?;
        let record = layout::manifest(repository, self.digest);
        storage
            .put(&record, self.stored.encode(), Keep::Durable)
            .await?;
        crash_point("registry.manifest.stored");
        if let Some(subject) = &self.manifest.subject {
            let referrer = layout::referrer(repository, subject, self.digest);
            let size = self.stored.content.len();
            let descriptor = referrers::descriptor(self.manifest, self.digest, size);
            storage.put(&referrer, descriptor, Keep::Durable).await?;
        }
        crash_point("registry.manifest.referrer");
        for tag in tags {
            let digest = Bytes::from(self.digest.to_string());
            storage
                .put(&layout::tag(repository, tag), digest, Keep::Durable)
                .await?;
        }
        crash_point("registry.manifest.tagged");
        // It is wanted again.
        storage
            .delete(&layout::untagged(repository, self.digest))
            .await?;
        Ok(())
    }

    /// Every blob must be in the repository, with the size that the manifest says.
    async fn check_blobs(&self) -> Result<(), ApiError> {
        let mut missing = Vec::new();
        for (digest, size) in &self.manifest.blobs {
            match self.registry.blob_in(self.repository, digest).await? {
                Some(blob) if blob.size == *size => {}
                Some(blob) => {
                    let message = format!(
                        "the manifest gives {digest} {size} bytes, it has {}",
                        blob.size
                    );
                    return Err(ApiError::bad(Code::SizeInvalid, message));
                }
                None if missing.len() == MAX_NAMED => break,
                None => missing.push(digest.to_string()),
            }
        }
        if missing.is_empty() || self.registry.options.sparse_images {
            return Ok(());
        }
        let message = format!(
            "push the blobs before the manifest; missing: {}",
            missing.join(", ")
        );
        let detail = json!({"missing": missing});
        Err(ApiError::bad(Code::ManifestBlobUnknown, message).detail(detail))
    }
}
