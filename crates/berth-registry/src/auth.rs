//! Who may do what: identities with per-repository grants, and the authority that knows them.
//!
//! [`Authority`] is what an embedding program implements. [`SignedCredentials`] needs no state: what
//! it hands out is signed by the registry's key and says itself what it allows and until when.

mod credentials;
mod scope;
mod token;

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use credentials::{Anonymous, SignedCredentials};
pub(crate) use scope::Scope;
pub(crate) use token::Tokens;
pub use token::{KeyError, SigningKey};

use crate::names::RepositoryName;

/// What may be done in a repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Actions {
    /// Read.
    #[serde(skip_serializing_if = "is_false")]
    pub pull: bool,
    /// Write.
    #[serde(skip_serializing_if = "is_false")]
    pub push: bool,
    /// Delete tags, manifests and blobs.
    #[serde(skip_serializing_if = "is_false")]
    pub delete: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Actions {
    /// Everything.
    pub const ALL: Self = Self {
        pull: true,
        push: true,
        delete: true,
    };
    /// Reading.
    pub const PULL: Self = Self {
        pull: true,
        push: false,
        delete: false,
    };

    /// Whether all of `other` is in this.
    pub fn contains(self, other: Self) -> bool {
        self.and(other) == other
    }

    fn and(self, other: Self) -> Self {
        Self {
            pull: self.pull && other.pull,
            push: self.push && other.push,
            delete: self.delete && other.delete,
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            pull: self.pull || other.pull,
            push: self.push || other.push,
            delete: self.delete || other.delete,
        }
    }

    fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// As in a token's scope: `pull,push`.
impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [
            (self.pull, "pull"),
            (self.push, "push"),
            (self.delete, "delete"),
        ];
        let names: Vec<_> = named
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, n)| *n)
            .collect();
        f.write_str(&names.join(","))
    }
}

/// Which repositories: a name, everything below one (`team/*`), or all (`*`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

/// Not a pattern of repositories.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` names no repositories: expected a repository, `name/*` or `*`")]
pub struct InvalidPattern(String);

impl Pattern {
    /// All repositories.
    pub fn all() -> Self {
        Self("*".to_owned())
    }

    /// This one only.
    pub fn one(repository: &RepositoryName) -> Self {
        Self(repository.as_str().to_owned())
    }

    /// Whether a repository is meant.
    pub fn matches(&self, repository: &RepositoryName) -> bool {
        let name = repository.as_str();
        match self.0.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == self.0,
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = InvalidPattern;

    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        let name = match text.as_str() {
            "*" => return Ok(Self(text)),
            other => other.strip_suffix("/*").unwrap_or(other),
        };
        match RepositoryName::parse(name) {
            Some(_) => Ok(Self(text)),
            None => Err(InvalidPattern(text)),
        }
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

/// What may be done where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Where.
    pub repositories: Pattern,
    /// What.
    pub actions: Actions,
}

/// Somebody, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// For the log and in tokens.
    pub name: String,
    /// What they may do; grants add up.
    pub grants: Vec<Grant>,
}

impl Identity {
    /// What they may do in this repository.
    pub fn actions(&self, repository: &RepositoryName) -> Actions {
        actions(&self.grants, repository)
    }
}

pub(crate) fn actions(grants: &[Grant], repository: &RepositoryName) -> Actions {
    let matching = grants
        .iter()
        .filter(|grant| grant.repositories.matches(repository));
    matching.fold(Actions::default(), |sum, grant| sum.or(grant.actions))
}

/// The authority could not decide.
#[derive(Debug, thiserror::Error)]
#[error("could not check credentials")]
pub struct AuthorityError(#[from] pub Box<dyn std::error::Error + Send + Sync>);

/// Knows who somebody is.
#[async_trait]
pub trait Authority: fmt::Debug + Send + Sync + 'static {
    /// Whose credentials these are; `None` if nobody's.
    async fn authenticate(
        &self,
        user: &str,
        password: &str,
    ) -> Result<Option<Identity>, AuthorityError>;

    /// What may be done without credentials; `None` if nothing.
    fn anonymous(&self) -> Option<Identity>;
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs()
}
