//! The token endpoint: credentials in, a token for the scopes that were asked for out.
//!
//! Docker's protocol: `GET ?service=&scope=…` with Basic credentials, or without for what anybody may
//! do; and its OAuth 2 form, `POST grant_type=password`. There are no refresh tokens.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderValue, Method, header};
use percent_encoding::percent_decode_str;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::access::{authenticate, basic};
use super::{Answer, json, query, unsupported};
use crate::auth::{Identity, Scope, now};
use crate::error::{ApiError, Code};
use crate::registry::Inner;

/// Longest form, in bytes.
const MAX_FORM: usize = 64 * 1024;

/// `a=b&c=d`, decoded.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let decoded = pairs.map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key), decode(value))
    });
    decoded.collect::<Vec<_>>().into_iter()
}

pub(super) async fn answer(registry: &Inner, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    match parts.method {
        Method::GET => {
            let identity = match parts.headers.get(header::AUTHORIZATION) {
                Some(value) => from_basic(registry, value).await?,
                None => anonymous(registry)?,
            };
            let parameters: Vec<_> = query(&parts).collect();
            Ok(issue(registry, &identity, &parameters))
        }
        Method::POST => {
            let body = to_bytes(body, MAX_FORM).await;
            let body =
                body.map_err(|_| ApiError::bad(Code::Unsupported, "the form is too long"))?;
            let form: Vec<_> = pairs(&String::from_utf8_lossy(&body)).collect();
            let field = |name: &str| {
                let found = form.iter().find(|(key, _)| key == name);
                found.map(|(_, value)| value.as_str()).unwrap_or_default()
            };
            if field("grant_type") != "password" {
                return Err(ApiError::bad(
                    Code::Unsupported,
                    "only `grant_type=password` is supported",
                ));
            }
            let identity = authenticate(registry, field("username"), field("password")).await?;
            Ok(issue(registry, &identity, &form))
        }
        _ => Err(unsupported(&parts.method)),
    }
}

async fn from_basic(registry: &Inner, value: &HeaderValue) -> Result<Identity, ApiError> {
    let found = value.to_str().ok().and_then(|value| value.split_once(' '));
    let found = found.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    let Some((user, password)) = found.and_then(|(_, rest)| basic(rest)) else {
        return Err(unauthorized("expected Basic credentials"));
    };
    authenticate(registry, &user, &password).await
}

fn anonymous(registry: &Inner) -> Result<Identity, ApiError> {
    let anonymous = registry.authority.anonymous();
    anonymous.ok_or_else(|| unauthorized("authentication is required"))
}

fn unauthorized(message: &str) -> ApiError {
    ApiError::new(http::StatusCode::UNAUTHORIZED, Code::Unauthorized, message)
}

fn issue(registry: &Inner, identity: &Identity, parameters: &[(String, String)]) -> Response {
    let scopes = parameters.iter().filter(|(key, _)| key == "scope");
    let scopes = Scope::parse_all(scopes.map(|(_, value)| value.as_str()));
    let lifetime = registry.options.token_lifetime.as_secs();
    let issued = now();
    let expires = issued.saturating_add(lifetime);
    let claims = Scope::grant(&scopes, identity, registry.tokens.service(), expires);
    let token = registry.tokens.issue(&claims);
    let issued_at = i64::try_from(issued)
        .ok()
        .and_then(|issued| OffsetDateTime::from_unix_timestamp(issued).ok())
        .and_then(|issued| issued.format(&Rfc3339).ok());
    let mut response = json(&json!({
        "token": token,
        "access_token": token,
        "expires_in": lifetime,
        "issued_at": issued_at,
    }));
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
