//! Blobs on their way in: whole, streamed or in chunks, resumed, cancelled, mounted.

mod mount;
mod range;

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use super::body::{self, Bounds, Counted};
use super::{Answer, CONTENT_DIGEST, Context, blob_location, empty, route, set};
use crate::crash::crash_point;
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{ApiError, Code};
use crate::names::RepositoryName;
use crate::sessions::Held;
use crate::storage::{AppendError, BodyError, UploadId};
use range::ContentRange;

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// A blob up to this size that comes with its digest in one request is never a file of its own before.
const SMALL: u64 = 1024 * 1024;

fn location(repository: &RepositoryName, id: &UploadId) -> String {
    format!("/v2/{repository}/blobs/uploads/{}", id.token())
}

/// What an upload has, as Docker writes it: nothing is `0-0` too.
fn have(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}

/// An answer about an upload that goes on.
fn going_on(status: StatusCode, repository: &RepositoryName, id: &UploadId, size: u64) -> Response {
    let mut response = empty(status);
    let headers = response.headers_mut();
    set(headers, header::LOCATION, &location(repository, id));
    set(headers, header::RANGE, &have(size));
    set(headers, UPLOAD_UUID, &id.token());
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    response
}

/// 201: the blob is one of the repository's.
fn created(repository: &RepositoryName, digest: &Digest) -> Response {
    let mut response = empty(StatusCode::CREATED);
    let headers = response.headers_mut();
    set(
        headers,
        header::LOCATION,
        &blob_location(repository, digest),
    );
    set(headers, CONTENT_DIGEST, &digest.to_string());
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
    response
}

fn unknown() -> ApiError {
    ApiError::missing(
        Code::BlobUploadUnknown,
        "there is no such upload; begin a new one",
    )
}

/// `POST …/blobs/uploads/`: begins an upload, mounts a blob, or takes a whole one.
pub(super) async fn begin(context: &Context, body: Body, repository: &RepositoryName) -> Answer {
    if let Some(wanted) = context.query("mount") {
        let wanted = route::digest(&wanted)?;
        let from = context.query("from").filter(|from| !from.is_empty());
        if mount::mount(context, repository, &wanted, from.as_deref()).await? {
            return Ok(created(repository, &wanted));
        }
    }
    if let Some(digest) = context.query("digest") {
        let digest = route::digest(&digest)?;
        return whole(context, body, repository, &digest).await;
    }
    let algorithm = match context.query("digest-algorithm") {
        None => Algorithm::Sha256,
        Some(name) => Algorithm::named(&name).ok_or_else(|| {
            ApiError::bad(
                Code::DigestInvalid,
                "`digest-algorithm` must be sha256 or sha512",
            )
        })?,
    };
    let id = create(context, repository, algorithm).await?;
    crash_point("registry.upload.created");
    Ok(going_on(StatusCode::ACCEPTED, repository, &id, 0))
}

async fn create(
    context: &Context,
    repository: &RepositoryName,
    algorithm: Algorithm,
) -> Result<UploadId, ApiError> {
    let id = UploadId::new(repository);
    context.storage.create_upload(&id).await?;
    context.sessions.begin(&id, Hasher::new(algorithm));
    Ok(id)
}

/// A blob in one request.
async fn whole(
    context: &Context,
    body: Body,
    repository: &RepositoryName,
    digest: &Digest,
) -> Answer {
    let length = context.content_length();
    if let Some(length) = length {
        context.options.limits.check_image(length)?;
    }
    if length.is_some_and(|length| length <= SMALL) {
        return small(context, body, repository, digest).await;
    }
    let id = create(context, repository, digest.algorithm()).await?;
    complete(context, body, repository, &id, digest, true).await
}

/// A short blob in one request: never an upload.
async fn small(
    context: &Context,
    body: Body,
    repository: &RepositoryName,
    digest: &Digest,
) -> Answer {
    let registry = context.registry.clone();
    let limit = usize::try_from(SMALL).unwrap_or(usize::MAX);
    let timeout = registry.options.body_timeout;
    let too_long = || ApiError::bad(Code::SizeInvalid, "the body is longer than it says");
    let content = body::collect(body, limit, timeout, too_long).await?;
    if Digest::of(digest.algorithm(), &content) != *digest {
        return Err(mismatch(digest));
    }
    let size = content.len() as u64;
    if registry.storage.blob(digest).await?.is_none() {
        registry.take(size).await?;
        if let Err(error) = registry.storage.put_blob(digest, content).await {
            registry.usage.give(size);
            return Err(error.into());
        }
    }
    registry.link(repository, digest).await?;
    crash_point("registry.blob.linked");
    Ok(created(repository, digest))
}

fn mismatch(digest: &Digest) -> ApiError {
    let message = format!("what was uploaded does not have the digest {digest}");
    ApiError::bad(Code::DigestInvalid, message)
}

/// Takes an upload over and learns its size.
async fn hold(context: &Context, id: &UploadId) -> Result<(Held, u64), ApiError> {
    let mut held = context.sessions.hold(id).await;
    if let Some((size, _)) = held.progress.known
        && !context.storage.is_shared()
    {
        return Ok((held, size));
    }
    // It is of a process before this one, or another one may have continued it.
    let Some(size) = context.storage.upload_size(id).await? else {
        context.sessions.forget(id);
        return Err(unknown());
    };
    let is_news = held
        .progress
        .known
        .as_ref()
        .is_none_or(|(known, _)| *known != size);
    if is_news {
        let hasher = (size == 0).then(|| Hasher::new(Algorithm::Sha256));
        held.progress.known = Some((size, hasher));
    }
    Ok((held, size))
}

/// `GET <location>`.
pub(super) async fn status(
    context: &Context,
    repository: &RepositoryName,
    id: &UploadId,
) -> Answer {
    let (_held, size) = hold(context, id).await?;
    Ok(going_on(StatusCode::NO_CONTENT, repository, id, size))
}

/// `DELETE <location>`.
pub(super) async fn cancel(context: &Context, id: &UploadId) -> Answer {
    let (_held, size) = hold(context, id).await?;
    remove(context, id, size).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn remove(context: &Context, id: &UploadId, size: u64) -> Result<(), ApiError> {
    context.sessions.forget(id);
    if context.storage.delete_upload(id).await? {
        context.usage.give(size);
    }
    Ok(())
}

/// `PATCH <location>`: more bytes.
pub(super) async fn patch(
    context: &Context,
    body: Body,
    repository: &RepositoryName,
    id: &UploadId,
) -> Answer {
    let (mut held, size) = hold(context, id).await?;
    let size = append(context, repository, id, &mut held, size, body).await?;
    Ok(going_on(StatusCode::ACCEPTED, repository, id, size))
}

/// Adds a request's body to an upload of `size` bytes; gives the new size.
async fn append(
    context: &Context,
    repository: &RepositoryName,
    id: &UploadId,
    held: &mut Held,
    size: u64,
    body: Body,
) -> Result<u64, ApiError> {
    let range = context
        .header(&header::CONTENT_RANGE)
        .map(ContentRange::parse)
        .transpose()?;
    let length = context.content_length();
    if let Some(range) = range {
        if range.start != size {
            return Err(out_of_order(repository, id, size));
        }
        if length.is_some_and(|length| length != range.length()) {
            return Err(wrong_length());
        }
    }
    let declared = range.map(range::ContentRange::length).or(length);
    let counted = Arc::new(Counted::default());
    if let Some(declared) = declared {
        let limits = &context.options.limits;
        limits.check_image(size.saturating_add(declared))?;
        context.take(declared).await?;
        counted.add(declared);
    }
    let bounds = Bounds {
        registry: context.registry.clone(),
        before: size,
        counted: counted.clone(),
        declared: range.map(range::ContentRange::length),
        ended: held.ended.clone(),
    };
    let hasher = held.progress.known.take().and_then(|(_, hasher)| hasher);
    let stream = body::bounded(body, bounds);
    let appended = context.storage.append(id, size, stream, hasher).await;
    held.progress.known = Some((appended.size, appended.hasher));
    let received = appended.size.saturating_sub(size);
    context.usage.give(counted.get().saturating_sub(received));
    match appended.outcome {
        Ok(()) => {}
        Err(AppendError::Storage(error)) => return Err(error.into()),
        Err(AppendError::Body(BodyError::Refused(error))) => return Err(error),
        Err(AppendError::Body(BodyError::Broken)) => return Err(broken(appended.size)),
    }
    if range.is_some_and(|range| range.length() != received) {
        return Err(wrong_length());
    }
    Ok(appended.size)
}

fn broken(size: u64) -> ApiError {
    let message = "the body broke off; what was sent is kept, resume from there";
    ApiError::bad(Code::BlobUploadInvalid, message).detail(json!({"size": size}))
}

fn wrong_length() -> ApiError {
    ApiError::bad(
        Code::SizeInvalid,
        "the body does not have the length that `Content-Range` says",
    )
}

fn out_of_order(repository: &RepositoryName, id: &UploadId, size: u64) -> ApiError {
    let message = format!("this upload has {size} bytes; the next chunk must begin there");
    ApiError::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        Code::RangeInvalid,
        message,
    )
    .header(header::LOCATION, &location(repository, id))
    .header(header::RANGE, &have(size))
    .header(UPLOAD_UUID, &id.token())
}

/// `PUT <location>?digest=`: the last bytes, if any, and the digest of all.
pub(super) async fn finish(
    context: &Context,
    body: Body,
    repository: &RepositoryName,
    id: &UploadId,
) -> Answer {
    let digest = context
        .query("digest")
        .ok_or_else(|| ApiError::bad(Code::DigestInvalid, "the parameter `digest` is missing"))?;
    let digest = route::digest(&digest)?;
    complete(context, body, repository, id, &digest, false).await
}

/// Takes the rest of an upload and makes it a blob. Nobody knows of an upload that is `sole`: it does
/// not outlive this request.
async fn complete(
    context: &Context,
    body: Body,
    repository: &RepositoryName,
    id: &UploadId,
    digest: &Digest,
    sole: bool,
) -> Answer {
    let (mut held, size) = match hold(context, id).await {
        Ok(held) => held,
        // The answer to the same request may have been lost.
        Err(error) if error.status() == StatusCode::NOT_FOUND => {
            return match context.blob_in(repository, digest).await? {
                Some(_) => Ok(created(repository, digest)),
                None => Err(error),
            };
        }
        Err(error) => return Err(error),
    };
    let size = match append(context, repository, id, &mut held, size, body).await {
        Ok(size) => size,
        Err(error) => {
            if sole {
                let size = held.progress.known.as_ref().map_or(0, |(size, _)| *size);
                remove(context, id, size).await?;
            }
            return Err(error);
        }
    };
    let hasher = held
        .progress
        .known
        .as_ref()
        .and_then(|(_, hasher)| hasher.clone());
    let actual = match hasher.filter(|hasher| hasher.algorithm() == digest.algorithm()) {
        Some(hasher) => hasher.finish(),
        None => {
            let hasher = Hasher::new(digest.algorithm());
            context.storage.hash_upload(id, hasher).await?
        }
    };
    if actual != *digest {
        remove(context, id, size).await?;
        return Err(mismatch(digest));
    }
    crash_point("registry.blob.hashed");
    if context.storage.blob(digest).await?.is_some() {
        // Somebody has uploaded the same. It is made young before it is relied on.
        context.link(repository, digest).await?;
        if context.storage.blob(digest).await?.is_some() {
            remove(context, id, size).await?;
            return Ok(created(repository, digest));
        }
    }
    if let Err(error) = context.storage.commit_upload(id, digest).await {
        if sole {
            remove(context, id, size).await?;
        }
        return Err(error.into());
    }
    context.sessions.forget(id);
    context.link(repository, digest).await?;
    crash_point("registry.blob.linked");
    Ok(created(repository, digest))
}
