//! Who asks, and what they may do: from the `Authorization` header.

use axum::extract::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode, header};

use super::Face;
use crate::auth::{self, Actions, Grant, Pattern};
use crate::error::{ApiError, Code};
use crate::names::RepositoryName;
use crate::registry::Inner;

/// What the client proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    Nothing,
    Password,
    Token,
}

/// What this request may do.
#[derive(Debug)]
pub(super) struct Access {
    proof: Proof,
    grants: Vec<Grant>,
    catalog: Option<Vec<Grant>>,
    /// Repositories that were asked for and may not be read.
    denied: Vec<Pattern>,
}

/// User and password of a `Basic` header.
pub(super) fn basic(value: &str) -> Option<(String, String)> {
    let bytes = STANDARD.decode(value.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn unauthorized(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, message)
}

/// Checks a user's password.
pub(super) async fn authenticate(
    registry: &Inner,
    user: &str,
    password: &str,
) -> Result<auth::Identity, ApiError> {
    match registry.authority.authenticate(user, password).await {
        Ok(Some(identity)) => Ok(identity),
        Ok(None) => Err(unauthorized("these credentials are wrong or expired")),
        Err(error) => {
            tracing::error!(
                error = berth_error::chain(&error),
                "checking credentials failed"
            );
            Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                Code::Unknown,
                "credentials cannot be checked now; try again",
            ))
        }
    }
}

impl Access {
    /// What the request's headers prove.
    pub(super) async fn of(registry: &Inner, headers: &HeaderMap) -> Result<Self, ApiError> {
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return Ok(Self::anonymous(registry));
        };
        let malformed = || unauthorized("the `Authorization` header is neither Basic nor Bearer");
        let value = value.to_str().map_err(|_| malformed())?;
        let (scheme, rest) = value.split_once(' ').ok_or_else(malformed)?;
        if scheme.eq_ignore_ascii_case("bearer") {
            let claims = registry
                .tokens
                .check(rest.trim())
                .ok_or_else(|| unauthorized("this token is not valid, or not any more"))?;
            return Ok(Self {
                proof: Proof::Token,
                grants: claims.grants,
                catalog: claims.catalog,
                denied: claims.denied,
            });
        }
        if scheme.eq_ignore_ascii_case("basic") {
            let (user, password) = basic(rest).ok_or_else(malformed)?;
            let identity = authenticate(registry, &user, &password).await?;
            return Ok(Self {
                proof: Proof::Password,
                catalog: Some(identity.grants.clone()),
                grants: identity.grants,
                denied: Vec::new(),
            });
        }
        Err(malformed())
    }

    fn anonymous(registry: &Inner) -> Self {
        let identity = registry.authority.anonymous();
        let grants = identity.map(|identity| identity.grants);
        Self {
            proof: Proof::Nothing,
            grants: grants.clone().unwrap_or_default(),
            catalog: grants,
            denied: Vec::new(),
        }
    }

    /// Whether a token does not say that a repository may be read, but another one might: nobody has
    /// asked for it yet.
    pub(super) fn may_ask_to_read(&self, repository: &RepositoryName) -> bool {
        self.proof == Proof::Token
            && !self.actions(repository).pull
            && !self.denied.iter().any(|denied| denied.matches(repository))
    }

    pub(super) fn actions(&self, repository: &RepositoryName) -> Actions {
        auth::actions(&self.grants, repository)
    }

    /// What the list of repositories may show, if it may be asked for.
    pub(super) fn catalog(&self) -> Option<&[Grant]> {
        self.catalog.as_deref()
    }

    /// Whether anything was proved.
    pub(super) fn is_known(&self) -> bool {
        self.proof != Proof::Nothing
    }

    /// Collecting garbage removes nothing that anybody refers to: whoever may push or delete
    /// somewhere may ask for it.
    pub(super) fn may_collect(&self) -> bool {
        let writes = |grant: &Grant| grant.actions.push || grant.actions.delete;
        self.grants.iter().any(writes)
    }

    /// The refusal of something. A password that is right but allows too little is not asked for
    /// again; a token may be exchanged for one with more scopes.
    pub(super) fn refusal(&self, what: &str) -> ApiError {
        match self.proof {
            Proof::Password => ApiError::new(
                StatusCode::FORBIDDEN,
                Code::Denied,
                format!("these credentials do not allow {what}"),
            ),
            Proof::Token => unauthorized(&format!("this token does not allow {what}")),
            Proof::Nothing => unauthorized("authentication is required"),
        }
    }
}

impl Inner {
    /// Whether everything is allowed to everybody, so that no client needs to log in.
    pub(super) fn is_open(&self) -> bool {
        let anonymous = self.authority.anonymous();
        anonymous.is_some_and(|identity| {
            let open = |grant: &Grant| {
                String::from(grant.repositories.clone()) == "*"
                    && grant.actions.contains(Actions::ALL)
            };
            identity.grants.iter().any(open)
        })
    }
}

/// What an answer of 401 must know of the request.
pub(super) struct Asked {
    realm: String,
    service: String,
}

impl Asked {
    pub(super) fn new(face: &Face, request: &Request) -> Self {
        let base = match &face.registry.options.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let scheme = if face.secure { "https" } else { "http" };
                let host = request.headers().get(header::HOST);
                let host = host.and_then(|host| host.to_str().ok());
                let host =
                    host.or_else(|| request.uri().authority().map(http::uri::Authority::as_str));
                format!("{scheme}://{}", host.unwrap_or("localhost"))
            }
        };
        Self {
            realm: format!("{base}/v2/token"),
            service: face.registry.tokens.service().to_owned(),
        }
    }

    /// Adds to a 401 how to get a token.
    pub(super) fn challenge(&self, error: ApiError, scope: Option<String>) -> ApiError {
        if error.status() != StatusCode::UNAUTHORIZED {
            return error;
        }
        let quoted = |text: &str| text.replace(['"', '\\'], "");
        let mut challenge = format!(
            "Bearer realm=\"{}\",service=\"{}\"",
            quoted(&self.realm),
            quoted(&self.service)
        );
        if let Some(scope) = scope {
            challenge.push_str(&format!(",scope=\"{scope}\""));
        }
        error.header(header::WWW_AUTHENTICATE, &challenge)
    }
}
