//! Lists: tags of a repository, repositories; and the collector, which wrangler calls beside them.

use std::collections::BTreeMap;

use axum::response::Response;
use http::header;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::{Answer, Context, json as json_response, set};
use crate::auth;
use crate::error::{ApiError, Code};
use crate::layout;
use crate::names::RepositoryName;
use crate::registry::Registry;

/// Most entries of an answer, and how many there are if nobody says.
const MAX_PAGE: usize = 1000;

/// The part of a list that is asked for: `?n=<count>&last=<name>`.
pub(super) struct Page {
    limit: Option<usize>,
    last: Option<String>,
}

impl Page {
    pub(super) fn of(context: &Context) -> Result<Self, ApiError> {
        let limit = match context.query("n") {
            None => None,
            Some(n) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => {
                // A number that is too large is more than there is.
                Some(n.parse().unwrap_or(usize::MAX))
            }
            Some(_) => {
                return Err(ApiError::bad(
                    Code::PaginationNumberInvalid,
                    "`n` must be a number",
                ));
            }
        };
        let last = context.query("last").filter(|last| !last.is_empty());
        Ok(Self { limit, last })
    }

    /// Most entries of this page.
    pub(super) fn limit(&self) -> usize {
        self.limit.unwrap_or(MAX_PAGE).min(MAX_PAGE)
    }

    /// What of a sorted list comes after `last`.
    pub(super) fn after(&self, mut names: Vec<String>) -> Vec<String> {
        if let Some(last) = &self.last {
            let begin = names.partition_point(|name| name <= last);
            names.drain(..begin);
        }
        names
    }

    /// This page of a sorted list, and whether there is more.
    fn cut(&self, names: Vec<String>) -> (Vec<String>, bool) {
        let mut names = self.after(names);
        let more = names.len() > self.limit();
        names.truncate(self.limit());
        (names, more)
    }

    /// The link to the page after the one that ends with `last`. None has more if none was wanted.
    fn link(&self, response: &mut Response, context: &Context, names: &[String], more: bool) {
        if let (true, Some(last)) = (more, names.last()) {
            let flag = context.query("tags").map(|tags| ("tags", tags));
            let link = link(context, last, flag);
            set(response.headers_mut(), header::LINK, &link);
        }
    }
}

/// A `Link` header to what comes after `last`.
pub(super) fn link(context: &Context, last: &str, more: Option<(&str, String)>) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut url = format!("{}?last={}", context.parts.uri.path(), encode(last));
    for (name, value) in context.query("n").map(|n| ("n", n)).into_iter().chain(more) {
        url.push_str(&format!("&{name}={}", encode(&value)));
    }
    format!("<{url}>; rel=\"next\"")
}

/// `GET …/tags/list`.
pub(super) async fn tags(context: &Context, repository: &RepositoryName) -> Answer {
    let page = Page::of(context)?;
    let tags = context.tags(repository).await?;
    if tags.is_empty() && !has_manifests(context, repository).await? {
        return Err(ApiError::missing(
            Code::NameUnknown,
            format!("there is no repository `{repository}`"),
        ));
    }
    let names = tags.iter().map(|tag| tag.as_str().to_owned()).collect();
    let (names, more) = page.cut(names);
    let body = json!({"name": repository.as_str(), "tags": names});
    let mut response = json_response(&body);
    page.link(&mut response, context, &names, more);
    Ok(response)
}

async fn has_manifests(context: &Context, repository: &RepositoryName) -> Result<bool, ApiError> {
    let manifests = context.storage.list(&layout::manifests(repository)).await?;
    Ok(!manifests.is_empty())
}

/// `GET /v2/_catalog`: the repositories that may be read and have something; with `?tags=true`, as
/// wrangler asks, a map from each to its tags.
pub(super) async fn catalog(context: &Context) -> Answer {
    let page = Page::of(context)?;
    let with_tags = context.query("tags").is_some_and(|tags| tags == "true");
    let grants = context.access.catalog().unwrap_or_default();
    let mut names: Vec<_> = context.repositories().await?;
    names.retain(|name| auth::actions(grants, name).pull);
    let names = names.iter().map(|name| name.as_str().to_owned()).collect();
    let mut found = BTreeMap::new();
    let mut more = false;
    for name in page.after(names) {
        let Some(repository) = RepositoryName::parse(&name) else {
            continue;
        };
        if found.len() >= page.limit() {
            more = true;
            break;
        }
        let tags = context.tags(&repository).await?;
        // For wrangler a repository without tags has no images.
        let shown = !tags.is_empty() || (!with_tags && has_manifests(context, &repository).await?);
        if shown {
            let tags: Vec<_> = tags.iter().map(|tag| tag.as_str().to_owned()).collect();
            found.insert(name, tags);
        }
    }
    let names: Vec<_> = found.keys().cloned().collect();
    let body = if with_tags {
        json!({"repositories": found})
    } else {
        json!({"repositories": names})
    };
    let mut response = json_response(&body);
    page.link(&mut response, context, &names, more);
    Ok(response)
}

/// `PUT /v2/gc/layers`: wrangler calls it after it has deleted a tag.
pub(super) async fn collect(context: &Context) -> Answer {
    let registry = Registry {
        inner: context.registry.clone(),
    };
    let collected = registry.collect().await?;
    Ok(json_response(&json!({
        "success": true,
        "result": {
            "blobs": collected.blobs,
            "bytes": collected.bytes,
            "manifests": collected.manifests,
            "uploads": collected.uploads,
        },
    })))
}
