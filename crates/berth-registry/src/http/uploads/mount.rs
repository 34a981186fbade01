//! Mounting: a blob of one repository becomes one of another without its bytes being sent.
//!
//! Only with read access to the source; otherwise, and when there is no such blob, an upload begins,
//! as if nothing had been asked: nothing is told of repositories that may not be read. A token that
//! nobody asked for that access is refused once, with the scope to ask for, before it comes here.

use super::super::Context;
use super::super::route;
use crate::digest::Digest;
use crate::error::ApiError;
use crate::names::RepositoryName;

/// Most repositories that are searched when no source is named.
const MAX_SEARCHED: usize = 1000;

/// Whether it could be mounted.
pub(super) async fn mount(
    context: &Context,
    to: &RepositoryName,
    digest: &Digest,
    from: Option<&str>,
) -> Result<bool, ApiError> {
    // It is young before it is looked at, so that no collector removes it in between.
    let found = match from {
        Some(from) => {
            let from = route::repository(from)?;
            context.access.actions(&from).pull && context.blob_in(&from, digest).await?.is_some()
        }
        None => somewhere(context, digest).await?,
    };
    if !found {
        return Ok(false);
    }
    context.link(to, digest).await?;
    Ok(context.storage.blob(digest).await?.is_some())
}

/// Whether any repository that may be read has the blob.
async fn somewhere(context: &Context, digest: &Digest) -> Result<bool, ApiError> {
    if context.storage.blob(digest).await?.is_none() {
        return Ok(false);
    }
    let readable = |name: &RepositoryName| context.access.actions(name).pull;
    let names = context.repositories().await?;
    for name in names
        .iter()
        .filter(|name| readable(name))
        .take(MAX_SEARCHED)
    {
        if context.blob_in(name, digest).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
