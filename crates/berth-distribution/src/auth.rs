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
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::challenge::Challenge;
use crate::credentials::{Credential, Keyring, Secret};
use crate::endpoint::{Endpoint, Failure};
use crate::error::DistributionError;

mod token;

use token::{Token, TokenRequest};

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
