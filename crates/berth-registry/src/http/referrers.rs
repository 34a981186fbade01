//! Referrers: the manifests that say of another one that they are about it.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use serde_json::{Value, json};

use super::lists::{self, Page};
use super::{Answer, Context, set, typed};
use crate::digest::Digest;
use crate::layout;
use crate::manifest::{INDEX_MEDIA_TYPE, MAX_MANIFEST, Manifest};
use crate::names::RepositoryName;

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
/// Bytes of descriptors after which an answer goes on in the next page.
const PAGE_BYTES: usize = MAX_MANIFEST / 2;

/// How a manifest stands in the list.
pub(super) fn descriptor(manifest: &Manifest, digest: &Digest, size: usize) -> Bytes {
    let mut descriptor = json!({
        "mediaType": manifest.media_type,
        "digest": digest.to_string(),
        "size": size,
    });
    if let Some(artifact_type) = &manifest.artifact_type {
        descriptor["artifactType"] = json!(artifact_type);
    }
    if let Some(annotations) = &manifest.annotations {
        descriptor["annotations"] = json!(annotations);
    }
    descriptor.to_string().into()
}

/// `GET …/referrers/<digest>`.
pub(super) async fn list(
    context: &Context,
    repository: &RepositoryName,
    subject: &Digest,
) -> Answer {
    let wanted = context.query("artifactType");
    let page = Page::of(context)?;
    let key = layout::referrers(repository, subject);
    let entries = context.storage.list(&key).await?;
    let names: Vec<_> = entries.into_iter().map(|entry| entry.name).collect();
    let (mut manifests, mut bytes, mut next) = (Vec::<Value>::new(), 0, None);
    let names = page.after(names);
    for (index, name) in names.iter().enumerate() {
        let Some(record) = context.storage.get(&format!("{key}/{name}")).await? else {
            continue;
        };
        let Ok(descriptor) = serde_json::from_slice::<Value>(&record) else {
            continue;
        };
        let kind = descriptor["artifactType"].as_str();
        if wanted.is_none() || wanted.as_deref() == kind {
            bytes += record.len();
            manifests.push(descriptor);
        }
        let full = bytes >= PAGE_BYTES || manifests.len() >= page.limit();
        if full && index + 1 < names.len() {
            next = Some(name.clone());
            break;
        }
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": INDEX_MEDIA_TYPE,
        "manifests": manifests,
    });
    let mut response = typed(INDEX_MEDIA_TYPE, index.to_string().into());
    let headers = response.headers_mut();
    if wanted.is_some() {
        headers.insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    if let Some(last) = next {
        let filter = wanted.map(|kind| ("artifactType", kind));
        set(headers, header::LINK, &lists::link(context, &last, filter));
    }
    Ok(response)
}
