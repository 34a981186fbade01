//! Login: passwords with every request, or tokens from a token server, fetched when they are needed
//! and again when they end.
//!
//! Sources: distribution specification; the distribution project's "Token Authentication
//! Specification" and "OAuth2 Token Authentication"; RFC 6750.
//!
//! Invariants: one token for each set of scopes, whoever waits for it; a password or identity token is
//! sent to the registry that it belongs to, or to its token server: with TLS, on the same site or one
//! that is allowed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::challenge::Challenge;
use crate::credentials::{Credential, Keyring, Secret};
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

/// What is asked for: `repository:<name>:<actions>`, one for each repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Scope(Vec<String>);

impl Scope {
    pub(crate) fn pull(repository: &str) -> Self {
        Self(vec![format!("repository:{repository}:pull")])
    }

    pub(crate) fn push(repository: &str) -> Self {
        Self(vec![format!("repository:{repository}:pull,push")])
    }

    /// The same, and reading another repository.
    pub(crate) fn and_pull(mut self, repository: &str) -> Self {
        self.0.push(format!("repository:{repository}:pull"));
        self
    }
}

/// The login at one endpoint.
#[derive(Debug)]
pub(crate) struct Auth {
    host: String,
    realms: Vec<String>,
    keyring: Arc<Keyring>,
    helper_timeout: Duration,
    /// The token server has answered once.
    reached: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    challenge: Option<Challenge>,
    /// What the keyring knows, once it was asked.
    credential: Option<Option<Credential>>,
    tokens: HashMap<Scope, Token>,
}

#[derive(Debug)]
struct Token {
    header: HeaderValue,
    good_until: Instant,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Auth {
    pub(crate) fn new(
        host: &str,
        realms: &[String],
        keyring: Arc<Keyring>,
        helper_timeout: Duration,
    ) -> Self {
        Self {
            host: host.to_owned(),
            realms: realms.to_vec(),
            keyring,
            helper_timeout,
            reached: AtomicBool::new(false),
            state: Mutex::new(State::default()),
        }
    }

    /// What to send with a request: nothing before the registry has asked for something.
    pub(crate) async fn header(
        &self,
        scope: &Scope,
        endpoint: &Endpoint,
        action: &str,
    ) -> Result<Option<HeaderValue>, Failure> {
        let mut state = self.state.lock().await;
        let Some(challenge) = state.challenge.clone() else {
            return Ok(None);
        };
        let credential = self.credential(&mut state, endpoint).await?;
        match challenge {
            Challenge::Basic => match credential.as_ref().map(|found| (&found.secret, found)) {
                Some((Secret::Password { username, password }, _)) => {
                    Ok(Some(basic(username, password)))
                }
                Some((Secret::Token(token), _)) => Ok(Some(self.bearer(token, action)?)),
                Some((Secret::Identity(_), found)) => Err(DistributionError::LoginRefused {
                    host: self.host.clone(),
                    from: found.source.clone(),
                    says: "it wants a password, and there is an identity token".to_owned(),
                }
                .into()),
                None => Err(self.login_needed(action).into()),
            },
            Challenge::Bearer {
                realm,
                service,
                scope: asked,
                ..
            } => {
                if let Some(Secret::Token(token)) = credential.as_ref().map(|found| &found.secret) {
                    return Ok(Some(self.bearer(token, action)?));
                }
                if let Some(token) = state.tokens.get(scope)
                    && token.good_until > Instant::now()
                {
                    return Ok(Some(token.header.clone()));
                }
                let scopes = match (&scope.0[..], asked) {
                    ([], Some(asked)) => vec![asked],
                    (ours, _) => ours.to_vec(),
                };
                let request = TokenRequest {
                    realm: &realm,
                    service: service.as_deref(),
                    scopes: &scopes,
                    credential: credential.as_ref(),
                };
                let token = self.fetch(&request, endpoint, action).await?;
                let header = token.header.clone();
                state.tokens.insert(scope.clone(), token);
                Ok(Some(header))
            }
        }
    }

    /// The registry asks for something, although `sent` was sent.
    pub(crate) async fn learn(&self, challenge: Challenge, sent: Option<&HeaderValue>) {
        let mut state = self.state.lock().await;
        if let Some(sent) = sent {
            state.tokens.retain(|_, token| token.header != *sent);
        }
        state.challenge = Some(challenge);
    }

    /// The error for a registry that is not convinced.
    pub(crate) async fn refused(&self, action: &str, says: String) -> DistributionError {
        let state = self.state.lock().await;
        let token = match &state.challenge {
            Some(Challenge::Bearer { error, .. }) => error.clone(),
            _ => None,
        };
        match state.credential.as_ref().and_then(Option::as_ref) {
            None => self.login_needed(action),
            // The token server knows the user, and gave a token that is worth less than was asked for.
            Some(credential) if token.as_deref() == Some("insufficient_scope") => {
                DistributionError::Denied {
                    host: self.host.clone(),
                    who: who(credential),
                    action: action.to_owned(),
                    says,
                }
            }
            Some(credential) => DistributionError::LoginRefused {
                host: self.host.clone(),
                from: credential.source.clone(),
                says,
            },
        }
    }

    /// The user, for an error.
    pub(crate) async fn who(&self) -> String {
        match self.state.lock().await.credential.as_ref() {
            Some(Some(credential)) => who(credential),
            _ => "an anonymous user".to_owned(),
        }
    }

    async fn credential(
        &self,
        state: &mut State,
        endpoint: &Endpoint,
    ) -> Result<Option<Credential>, DistributionError> {
        if let Some(known) = &state.credential
            && known.as_ref().is_none_or(Credential::is_fresh)
        {
            return Ok(known.clone());
        }
        let found = self
            .keyring
            .find(&self.host, endpoint.transport(), self.helper_timeout)
            .await?;
        state.credential = Some(found.clone());
        Ok(found)
    }

    async fn fetch(
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

    fn bearer(&self, token: &str, action: &str) -> Result<HeaderValue, DistributionError> {
        HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| DistributionError::Protocol {
            host: self.host.clone(),
            action: action.to_owned(),
            problem: "has a token server that gives a token with odd characters".to_owned(),
        })
    }

    fn login_needed(&self, action: &str) -> DistributionError {
        DistributionError::LoginNeeded {
            host: self.host.clone(),
            action: action.to_owned(),
        }
    }
}

struct TokenRequest<'a> {
    realm: &'a str,
    service: Option<&'a str>,
    scopes: &'a [String],
    credential: Option<&'a Credential>,
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

fn basic(username: &str, password: &str) -> HeaderValue {
    let encoded = STANDARD.encode(format!("{username}:{password}"));
    let value = HeaderValue::from_str(&format!("Basic {encoded}"));
    // Base64 has no character that a header cannot have.
    let mut value = value.unwrap_or_else(|_| HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

fn who(credential: &Credential) -> String {
    match credential.username() {
        Some(name) => format!("`{name}`"),
        None => format!("the user of {}", credential.source),
    }
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
