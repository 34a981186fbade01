//! Which path is which operation. Repository names have slashes, so paths are read from their end.

use http::StatusCode;
use percent_encoding::percent_decode_str;

use crate::digest::Digest;
use crate::error::{ApiError, Code};
use crate::names::{Reference, RepositoryName, Tag};
use crate::storage::UploadId;

/// An operation's object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/v2/`
    Ping,
    /// `/v2/token`, ours
    Token,
    /// `/v2/_catalog`, Docker's
    Catalog,
    /// `/v2/gc/layers`, which wrangler calls
    Collect,
    /// `/v2/<name>/tags/list`
    Tags(RepositoryName),
    /// `/v2/<name>/manifests/<reference>`
    Manifest(RepositoryName, Reference),
    /// `/v2/<name>/blobs/<digest>`
    Blob(RepositoryName, Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(RepositoryName),
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload(RepositoryName, UploadId),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(RepositoryName, Digest),
}

impl Route {
    pub(super) fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Ping | Self::Token | Self::Catalog | Self::Collect => None,
            Self::Tags(name)
            | Self::Manifest(name, _)
            | Self::Blob(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _)
            | Self::Referrers(name, _) => Some(name),
        }
    }
}

pub(super) fn parse(path: &str) -> Result<Route, ApiError> {
    let rest = path.strip_prefix("/v2").unwrap_or_default();
    match rest {
        "" | "/" => return Ok(Route::Ping),
        "/token" => return Ok(Route::Token),
        "/_catalog" => return Ok(Route::Catalog),
        "/gc/layers" => return Ok(Route::Collect),
        _ => {}
    }
    let rest = rest.strip_prefix('/').unwrap_or_default();
    if let Some(name) = rest
        .strip_suffix("/blobs/uploads/")
        .or_else(|| rest.strip_suffix("/blobs/uploads"))
    {
        return Ok(Route::Uploads(repository(name)?));
    }
    let (before, last) = rest.rsplit_once('/').ok_or_else(nowhere)?;
    let last = decoded(last);
    if let Some(name) = before.strip_suffix("/blobs/uploads") {
        let name = repository(name)?;
        let id = UploadId::parse(&last, &name).ok_or_else(|| unknown_upload(&last))?;
        return Ok(Route::Upload(name, id));
    }
    let (name, kind) = before.rsplit_once('/').ok_or_else(nowhere)?;
    match kind {
        "tags" if last == "list" => Ok(Route::Tags(repository(name)?)),
        "manifests" => Ok(Route::Manifest(repository(name)?, reference(&last)?)),
        "blobs" => Ok(Route::Blob(repository(name)?, digest(&last)?)),
        "referrers" => Ok(Route::Referrers(repository(name)?, digest(&last)?)),
        _ => Err(nowhere()),
    }
}

fn nowhere() -> ApiError {
    ApiError::missing(Code::Unsupported, "there is nothing at this address")
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

pub(super) fn repository(text: &str) -> Result<RepositoryName, ApiError> {
    RepositoryName::parse(&decoded(text)).ok_or_else(|| {
        ApiError::bad(
            Code::NameInvalid,
            "a repository's name has lower-case letters, digits and `.`, `_`, `-` between them, in parts joined by `/`",
        )
    })
}

pub(super) fn digest(text: &str) -> Result<Digest, ApiError> {
    text.parse().map_err(|_| {
        ApiError::bad(
            Code::DigestInvalid,
            "expected `sha256:` and 64, or `sha512:` and 128, lower-case hex digits",
        )
    })
}

fn reference(text: &str) -> Result<Reference, ApiError> {
    if text.contains(':') {
        return digest(text).map(Reference::Digest);
    }
    tag(text).map(Reference::Tag)
}

pub(super) fn tag(text: &str) -> Result<Tag, ApiError> {
    Tag::parse(text).ok_or_else(|| {
        ApiError::bad(
            Code::TagInvalid,
            "a tag has at most 128 letters, digits, `_`, `.` and `-`, and begins with none of the last two",
        )
    })
}

fn unknown_upload(_id: &str) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        Code::BlobUploadUnknown,
        "there is no such upload; begin a new one",
    )
}
