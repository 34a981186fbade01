//! Tokens from a token server: where it may be, asking it, and what it answers.
//!
//! A password or identity token goes to a token server of the registry's own site, or one that the
//! configuration allows; with TLS, except on this machine or where plain HTTP is allowed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use tokio::time::Instant;

use super::{Auth, basic};
use crate::credentials::{Credential, Secret};
use crate::endpoint::{Endpoint, Failure};
use crate::error::DistributionError;
use crate::errors_of_registry;
use crate::retry::{is_temporary, retry_after};
use crate::transport::{Call, Payload, SendError};

const CLIENT_ID: &str = "berth";
/// How long a token lives if its server does not say (token specification).
const DEFAULT_LIFE: u64 = 60;
/// The share of its life after which a token is replaced.
const GOOD_FOR: f64 = 0.9;

/// A token as it is sent.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) header: HeaderValue,
    pub(super) good_until: Instant,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Auth {
    /// Gets a token, with patience for a server that was there before.
    pub(super) async fn fetch(
        &self,
        request: &TokenRequest<'_>,
        endpoint: &Endpoint,
        action: &str,
    ) -> Result<Token, Failure> {
        let url = self.realm(request, endpoint, action)?;
        let call = request.call(url);
        let mut failed = 0;
        loop {
            failed += 1;
            let answer = endpoint.transport().send(&call, None, &|_| {}).await;
            let mut answer = match answer {
                Ok(answer) => answer,
                Err(SendError::Config(error)) => return Err(DistributionError::from(error).into()),
                Err(SendError::Transport(error)) => {
                    let wait = endpoint.backoff().wait(failed, None);
                    let known = self.reached.load(Ordering::Relaxed) || !error.is_connect();
                    match wait.filter(|_| error.is_temporary() && known) {
                        Some(wait) => tokio::time::sleep(wait).await,
                        None => {
                            return Err(error.into_error(&call_host(&call), action, failed).into());
                        }
                    }
                    continue;
                }
            };
            self.reached.store(true, Ordering::Relaxed);
            let status = answer.response.status();
            if is_temporary(status) {
                let asked = retry_after(answer.response.headers());
                if let Some(wait) = endpoint.backoff().wait(failed, asked) {
                    tokio::time::sleep(wait).await;
                    continue;
                }
            }
            let body = endpoint.transport().small_body(&mut answer.response).await;
            if status.is_success() {
                return Ok(self.read_token(&body, action)?);
            }
            return Err(self.token_refused(request, status, &body, action).into());
        }
    }

    fn read_token(&self, body: &[u8], action: &str) -> Result<Token, DistributionError> {
        let parsed: Option<TokenAnswer> = serde_json::from_slice(body).ok();
        let expires = parsed.as_ref().and_then(|answer| answer.expires_in);
        let token = parsed
            .and_then(|answer| answer.token.or(answer.access_token))
            .filter(|token| !token.is_empty())
            .ok_or_else(|| DistributionError::Protocol {
                host: self.host.clone(),
                action: action.to_owned(),
                problem: "has a token server that answers without a token".to_owned(),
            })?;
        let life = Duration::from_secs(expires.filter(|life| *life > 0).unwrap_or(DEFAULT_LIFE));
        // A year is as good as for ever, and can be added to a time.
        let life = life.min(Duration::from_secs(31_536_000)).mul_f64(GOOD_FOR);
        Ok(Token {
            header: self.bearer(&token, action)?,
            good_until: Instant::now() + life,
        })
    }

    fn token_refused(
        &self,
        request: &TokenRequest<'_>,
        status: StatusCode,
        body: &[u8],
        action: &str,
    ) -> DistributionError {
        let says = errors_of_registry::text(body);
        let host = self.host.clone();
        match (status, request.credential) {
            (
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST,
                Some(credential),
            ) => DistributionError::LoginRefused {
                host,
                from: credential.source.clone(),
                says,
            },
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, None) => self.login_needed(action),
            _ => DistributionError::Refused {
                host,
                action: format!("get a token to {action}"),
                status: status.as_u16(),
                says,
            },
        }
    }

    /// The URL of the token server, if one may go there.
    fn realm(
        &self,
        request: &TokenRequest<'_>,
        endpoint: &Endpoint,
        action: &str,
    ) -> Result<Url, DistributionError> {
        let wrong = |problem: &str| DistributionError::Protocol {
            host: self.host.clone(),
            action: action.to_owned(),
            problem: problem.to_owned(),
        };
        let url =
            Url::parse(request.realm).map_err(|_| wrong("names a token server that is no URL"))?;
        match url.scheme() {
            "https" => {}
            "http" if endpoint.transport().may_be_plain(&url) => {}
            "http" => return Err(wrong("names a token server without TLS")),
            _ => return Err(wrong("names a token server that is not HTTP")),
        }
        let realm = url.host_str().unwrap_or_default().to_owned();
        // Without its port, and an IPv6 address as URLs have it.
        let own = Url::parse(&format!("https://{}/", self.host)).ok();
        let own = own.as_ref().and_then(Url::host_str).unwrap_or(&self.host);
        let allowed = same_site(own, &realm)
            || self
                .realms
                .iter()
                .any(|allowed| *allowed == realm || *allowed == crate::transport::authority(&url));
        if request.credential.is_some() && !allowed {
            return Err(DistributionError::ForeignRealm {
                host: self.host.clone(),
                realm,
            });
        }
        Ok(url)
    }
}

/// What is asked for, of whom.
pub(super) struct TokenRequest<'a> {
    pub(super) realm: &'a str,
    pub(super) service: Option<&'a str>,
    pub(super) scopes: &'a [String],
    pub(super) credential: Option<&'a Credential>,
}

impl TokenRequest<'_> {
    /// A password and nobody ask with `GET`, which every token server understands; an identity token
    /// asks as OAuth 2 does.
    fn call(&self, mut url: Url) -> Call {
        if let Some(Secret::Identity(token)) = self.credential.map(|found| &found.secret) {
            let mut form = reqwest::Url::parse("form:/").unwrap_or_else(|_| url.clone());
            form.query_pairs_mut()
                .clear()
                .append_pair("grant_type", "refresh_token")
                .append_pair("client_id", CLIENT_ID)
                .append_pair("service", self.service.unwrap_or_default())
                .append_pair("scope", &self.scopes.join(" "))
                .append_pair("refresh_token", token);
            let form = form.query().unwrap_or_default().to_owned();
            return Call::new(Method::POST, url)
                .header(
                    CONTENT_TYPE,
                    HeaderValue::from_static("application/x-www-form-urlencoded"),
                )
                .payload(Payload::Bytes(Bytes::from(form)));
        }
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = self.service {
                query.append_pair("service", service);
            }
            for scope in self.scopes {
                query.append_pair("scope", scope);
            }
            query.append_pair("client_id", CLIENT_ID);
        }
        let call = Call::new(Method::GET, url);
        match self.credential.map(|found| &found.secret) {
            Some(Secret::Password { username, password }) => {
                call.header(AUTHORIZATION, basic(username, password))
            }
            _ => call,
        }
    }
}

fn call_host(call: &Call) -> String {
    crate::transport::authority(&call.url)
}

/// Whether two hosts are of the same site: equal, or alike in their last two labels, as
/// `auth.docker.io` and `registry-1.docker.io`. A password goes no further on a registry's word.
fn same_site(registry: &str, realm: &str) -> bool {
    let site = |host: &str| {
        let labels: Vec<&str> = host.rsplit('.').take(2).collect();
        (labels.len() == 2 && host.parse::<std::net::IpAddr>().is_err())
            .then(|| format!("{}.{}", labels[1], labels[0]))
    };
    registry == realm || (site(registry).is_some() && site(registry) == site(realm))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_more_than_one_host_but_not_everybody() {
        for (registry, realm) in [
            ("docker.io", "auth.docker.io"),
            ("registry.gitlab.com", "gitlab.com"),
            ("127.0.0.1", "127.0.0.1"),
            ("localhost", "localhost"),
            ("[::1]", "[::1]"),
        ] {
            assert!(same_site(registry, realm), "{registry} {realm}");
        }
        for (registry, realm) in [
            ("docker.io", "docker.io.evil.com"),
            ("r.example.com", "example.org"),
            ("10.0.0.1", "11.0.0.1"),
            ("localhost", "evil"),
            ("[2001:db8::1]", "[2001:db8::2]"),
        ] {
            assert!(!same_site(registry, realm), "{registry} {realm}");
        }
    }
}
