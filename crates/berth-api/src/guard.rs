//! Every request shows a token, and may do what the token allows.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use berth_control::token::{Scope, Token};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};

use crate::Api;
use crate::envelope;
use crate::failure::Failure;

/// Who asks; in the request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct Caller(pub(crate) Token);

/// Lets requests through that show a token which allows them.
pub(crate) async fn check(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let shown = bearer(request.headers()).map(str::to_owned);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    if is_asset_upload(&method, &path) {
        return match assets_upload(&api, shown, &path).await {
            Ok(()) => envelope::wrapped(next.run(request).await).await,
            Err(failure) => failure.into_response(),
        };
    }
    if is_transfer(&path) {
        return envelope::wrapped(next.run(request).await).await;
    }
    match caller(&api, shown, &method, &path).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            envelope::wrapped(next.run(request).await).await
        }
        Err(failure) => failure.into_response(),
    }
}

async fn caller(
    api: &Api,
    shown: Option<String>,
    method: &Method,
    path: &str,
) -> Result<Caller, Failure> {
    let shown = shown.ok_or_else(Failure::unauthenticated)?;
    let control = api.control.clone();
    let token = blocking(move || control.authenticate(&shown)).await?;
    let token = token.ok_or_else(Failure::unauthenticated)?;
    let needed = needed(method, path);
    if token.scope < needed {
        let scope = token.scope;
        return Err(Failure::forbidden(format!(
            "This token may only `{scope}`; `{needed}` is needed here"
        )));
    }
    own_account(api, path)?;
    Ok(Caller(token))
}

/// What a request needs, by what it does.
fn needed(method: &Method, path: &str) -> Scope {
    let path = path.strip_prefix("/client/v4").unwrap_or(path);
    let below = path
        .strip_prefix("/accounts/")
        .and_then(|path| path.split_once('/'));
    let own = below.and_then(|(_, rest)| rest.strip_prefix("berth/"));
    let instance = below.and_then(|(_, rest)| rest.strip_prefix("containers/instances/"));
    match (own, method) {
        // Everything is in it, keys included.
        (Some("backup"), _) => Scope::Admin,
        // What runs in a container can do what the container can.
        (Some(own), _) if own.ends_with("/exec") => Scope::Deploy,
        _ if instance.is_some_and(|rest| rest.ends_with("/ssh")) => Scope::Deploy,
        _ if path == "/user/tokens/verify" => Scope::Read,
        _ if path == "/user/tokens" || path.starts_with("/user/tokens/") => Scope::Admin,
        (_, &Method::GET | &Method::HEAD | &Method::OPTIONS) => Scope::Read,
        _ => Scope::Deploy,
    }
}

/// A file of a database: its address is its secret, and says itself that nobody shows a token.
fn is_transfer(path: &str) -> bool {
    let path = path.strip_prefix("/client/v4").unwrap_or(path);
    path.starts_with("/transfers/")
}

/// The one request that shows another token: that of its upload session, which was given to whoever had
/// one of the API's.
fn is_asset_upload(method: &Method, path: &str) -> bool {
    let path = path.strip_prefix("/client/v4").unwrap_or(path);
    let below = path
        .strip_prefix("/accounts/")
        .and_then(|path| path.split_once('/'));
    method == Method::POST && below.is_some_and(|(_, rest)| rest == "workers/assets/upload")
}

async fn assets_upload(api: &Api, shown: Option<String>, path: &str) -> Result<(), Failure> {
    let shown = shown.ok_or_else(Failure::unauthenticated)?;
    let control = api.control.clone();
    if !blocking(move || control.knows_assets_token(&shown)).await? {
        return Err(Failure::unauthenticated());
    }
    own_account(api, path)
}

/// What is below `/accounts/<id>/` is this account's.
fn own_account(api: &Api, path: &str) -> Result<(), Failure> {
    // Nested, the router has taken the prefix away.
    let path = path.strip_prefix("/client/v4").unwrap_or(path);
    let Some(rest) = path.strip_prefix("/accounts/") else {
        return Ok(());
    };
    let asked = rest.split('/').next().unwrap_or_default();
    let own = &api.control.account().id;
    if asked == own {
        return Ok(());
    }
    Err(Failure::forbidden(format!(
        "The account `{asked}` is not on this server; its own is `{own}`"
    )))
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Calls of the control plane wait for the disk.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, berth_control::ControlError> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Failure::from),
        Err(error) => Err(Failure::internal(error)),
    }
}
