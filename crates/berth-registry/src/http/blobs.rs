//! Blobs on their way out.

use std::ops::Range;

use axum::body::Body;
use axum::response::Response;
use futures_util::TryStreamExt as _;
use http::{HeaderValue, Method, StatusCode, header};

use super::{Answer, CONTENT_DIGEST, Context, empty, set};
use crate::digest::Digest;
use crate::error::{ApiError, Code};
use crate::layout;
use crate::manifest::Stored;
use crate::names::RepositoryName;

fn unknown(digest: &Digest) -> ApiError {
    let message = format!("this repository has no blob {digest}");
    ApiError::missing(Code::BlobUnknown, message)
}

/// `GET` and `HEAD …/blobs/<digest>`.
pub(super) async fn read(
    context: &Context,
    repository: &RepositoryName,
    digest: &Digest,
) -> Answer {
    let head = context.method() == Method::HEAD;
    let Some(blob) = context.blob_in(repository, digest).await? else {
        return Err(unknown(digest));
    };
    if head && context.access.actions(repository).push {
        // A client that is told that it need not upload this relies on it from now on.
        context
            .storage
            .touch(&layout::link(repository, digest))
            .await?;
        if context.storage.blob(digest).await?.is_none() {
            return Err(unknown(digest));
        }
    }
    let wanted = context.header(&header::RANGE);
    let part = wanted.and_then(|wanted| part(wanted, blob.size));
    let (range, partial) = match part {
        None => (0..blob.size, false),
        Some(Some(range)) => (range, true),
        Some(None) => {
            return Err(ApiError::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                Code::RangeInvalid,
                format!("the blob has {} bytes", blob.size),
            )
            .header(header::CONTENT_RANGE, &format!("bytes */{}", blob.size)));
        }
    };
    let mut response = if head {
        empty(StatusCode::OK)
    } else {
        let stream = context.storage.read_blob(digest, range.clone()).await?;
        let stream = stream.ok_or_else(|| unknown(digest))?;
        // The log has the reason; the client sees that the length is wrong.
        Response::new(Body::from_stream(stream.map_err(axum::Error::new)))
    };
    describe(&mut response, digest, &range);
    if partial {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let shown = format!("bytes {}-{}/{}", range.start, range.end - 1, blob.size);
        set(response.headers_mut(), header::CONTENT_RANGE, &shown);
    }
    Ok(response)
}

fn describe(response: &mut Response, digest: &Digest, range: &Range<u64>) {
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(
        header::CONTENT_LENGTH,
        HeaderValue::from(range.end - range.start),
    );
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    set(headers, header::ETAG, &format!("\"{digest}\""));
    set(headers, CONTENT_DIGEST, &digest.to_string());
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("max-age=31536000, immutable"),
    );
}

/// The part that a `Range` header wants: `None` if it is not one we understand (then all is sent, as
/// RFC 9110 says), `Some(None)` if there is no such part.
fn part(text: &str, size: u64) -> Option<Option<Range<u64>>> {
    let (first, last) = text.strip_prefix("bytes=")?.trim().split_once('-')?;
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !digits(first) || !digits(last) {
        return None;
    }
    // A number that is too large is larger than any blob.
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    let range = match (first, last) {
        ("", "") => return None,
        ("", last) => size.saturating_sub(number(last))..size,
        (first, "") => number(first)..size,
        (first, last) => number(first)..number(last).saturating_add(1).min(size),
    };
    Some((range.start < range.end).then_some(range))
}

/// `DELETE …/blobs/<digest>`: it is no longer one of the repository's. Its bytes go with the garbage.
pub(super) async fn delete(
    context: &Context,
    repository: &RepositoryName,
    digest: &Digest,
) -> Answer {
    let _lock = context.lock(repository).await;
    if context.blob_in(repository, digest).await?.is_none() {
        return Err(unknown(digest));
    }
    if let Some(user) = user_of(context, repository, digest).await? {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            Code::Denied,
            format!("the manifest {user} needs this blob; delete that first"),
        ));
    }
    context
        .storage
        .delete(&layout::link(repository, digest))
        .await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// A manifest of the repository that needs the blob.
async fn user_of(
    context: &Context,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Option<Digest>, ApiError> {
    for entry in context.storage.list(&layout::manifests(repository)).await? {
        let Some(manifest) = Digest::from_key(&entry.name) else {
            continue;
        };
        let record = context
            .storage
            .get(&layout::manifest(repository, &manifest))
            .await?;
        let stored = record.as_ref().and_then(Stored::decode);
        let parsed = stored.and_then(|stored| stored.parse().ok());
        if parsed.is_some_and(|parsed| parsed.references().any(|used| used == digest)) {
            return Ok(Some(manifest));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_or_refused_as_http_says() {
        let cases: &[(&str, Option<Option<Range<u64>>>)] = &[
            ("bytes=0-9", Some(Some(0..10))),
            ("bytes=5-", Some(Some(5..100))),
            ("bytes=-5", Some(Some(95..100))),
            ("bytes=-500", Some(Some(0..100))),
            ("bytes=90-500", Some(Some(90..100))),
            ("bytes=0-99999999999999999999999", Some(Some(0..100))),
            ("bytes=100-", Some(None)),
            ("bytes=100-200", Some(None)),
            ("bytes=99999999999999999999999-", Some(None)),
            ("bytes=9-0", Some(None)),
            ("bytes=-0", Some(None)),
            ("bytes=-", None),
            ("bytes=a-b", None),
            ("bytes=0-1,3-4", None),
            ("items=0-1", None),
            ("bytes=+1-2", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(part(text, 100), *expected, "{text}");
        }
        assert_eq!(part("bytes=0-0", 0), Some(None));
    }
}
