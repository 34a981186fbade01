//! Who the user is to a registry, and where that is written.
//!
//! In this order: what `berth containers registries configure` keeps encrypted in the data directory
//! ([`Vault`]); Docker's `config.json`, with its credential helpers ([`DockerConfig`]). The first
//! that knows the registry is taken.
//!
//! Invariants: secrets are never shown by `Debug` or in an error; nobody is asked before a registry
//! wants to know.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use berth_error::Hint;

use crate::json_file::FileError;
use crate::transport::Transport;

mod docker_config;
mod docker_entry;
mod ecr;
pub mod gar;
mod helper;
mod vault;

pub use docker_config::{DockerConfig, server_key};
pub use ecr::is_ecr;
pub use vault::{Configured, Kind, Vault};

/// What identifies the user.
#[derive(Clone)]
pub struct Credential {
    pub(crate) secret: Secret,
    /// Where it is from, for error messages.
    pub source: String,
    /// When it must be asked for again.
    pub expires: Option<SystemTime>,
}

/// The forms of it.
#[derive(Clone)]
pub(crate) enum Secret {
    /// User name and password.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// A refresh token of OAuth 2, which gets tokens.
    Identity(String),
    /// A token that is sent as it is.
    Token(String),
}

impl Credential {
    /// User name and password.
    pub fn password(
        username: impl Into<String>,
        password: impl Into<String>,
        source: impl Into<String>,
    ) -> Self {
        Self {
            secret: Secret::Password {
                username: username.into(),
                password: password.into(),
            },
            source: source.into(),
            expires: None,
        }
    }

    /// The user's name, if it has one.
    pub fn username(&self) -> Option<&str> {
        match &self.secret {
            Secret::Password { username, .. } => Some(username),
            Secret::Identity(_) | Secret::Token(_) => None,
        }
    }

    /// The password, to be handed to a person who asked for it.
    pub fn reveal_password(&self) -> Option<&str> {
        match &self.secret {
            Secret::Password { password, .. } => Some(password),
            Secret::Identity(_) | Secret::Token(_) => None,
        }
    }

    /// Whether it is still good.
    pub(crate) fn is_fresh(&self) -> bool {
        self.expires.is_none_or(|end| end > SystemTime::now())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credential")
            .field("username", &self.username())
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// Why credentials could not be found out or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// A file could not be read or written, or has no meaning.
    #[error(transparent)]
    File(#[from] FileError),
    /// A credential helper is not there.
    #[error("the credential helper `{program}` is not installed")]
    NoHelper {
        /// The program.
        program: String,
        /// The file that names it.
        named_by: PathBuf,
    },
    /// A credential helper failed.
    #[error("the credential helper `{program}` {problem}")]
    Helper {
        /// The program.
        program: String,
        /// What it did, as the end of a sentence about it.
        problem: String,
    },
    /// The secret cannot be read with this machine's key.
    #[error("the secret of `{domain}` in `{}` cannot be decrypted", path.display())]
    Sealed {
        /// The registry.
        domain: String,
        /// The file.
        path: PathBuf,
    },
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] berth_store::SealError),
    /// What was given is not what such a registry needs.
    #[error("{problem}")]
    Invalid {
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: Option<String>,
    },
    /// AWS did not give a token.
    #[error("could not get a token for `{host}` from AWS: {problem}")]
    Ecr {
        /// The registry.
        host: String,
        /// Why.
        problem: String,
    },
}

impl Hint for CredentialError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::File(FileError::Field { path, .. } | FileError::Syntax { path, .. }) => {
                Some(format!(
                    "mend `{}`, or name another directory with `DOCKER_CONFIG`",
                    path.display()
                ))
            }
            Self::NoHelper { named_by, .. } => Some(format!(
                "install it, or take it out of `{}` and log in again",
                named_by.display()
            )),
            Self::Sealed { domain, .. } => Some(format!(
                "its key file was replaced: `berth containers registries delete {domain}` and \
                 configure it again"
            )),
            Self::Key(error) => error.hint(),
            Self::Invalid { hint, .. } => hint.clone(),
            Self::Ecr { .. } => Some(
                "check the access key, and that it may call ecr:GetAuthorizationToken".to_owned(),
            ),
            Self::File(FileError::Io { .. }) | Self::Helper { .. } => None,
        }
    }
}

/// Where credentials are looked for.
#[derive(Debug, Default)]
pub struct Keyring {
    fixed: Option<(String, Credential)>,
    vault: Option<Vault>,
    docker: Option<DockerConfig>,
}

impl Keyring {
    /// The data directory's vault, then Docker's `config.json`.
    pub fn of_machine(data: &Path, docker: Option<DockerConfig>) -> Self {
        Self {
            fixed: None,
            vault: Some(Vault::open(data)),
            docker,
        }
    }

    /// Only these, for this registry: a login that is tried out.
    pub fn only(host: &str, credential: Credential) -> Self {
        Self {
            fixed: Some((host.to_owned(), credential)),
            ..Self::default()
        }
    }

    /// Only Docker's configuration.
    pub fn docker(config: DockerConfig) -> Self {
        Self {
            docker: Some(config),
            ..Self::default()
        }
    }

    /// Only the data directory's vault.
    pub fn vault(vault: Vault) -> Self {
        Self {
            vault: Some(vault),
            ..Self::default()
        }
    }

    /// The credentials for a registry, by its host as in image names; `None`: it knows nobody.
    pub(crate) async fn find(
        &self,
        host: &str,
        transport: &Transport,
        helper_timeout: Duration,
    ) -> Result<Option<Credential>, CredentialError> {
        if let Some((fixed, credential)) = &self.fixed {
            return Ok((fixed == host).then(|| credential.clone()));
        }
        if let Some(vault) = &self.vault
            && let Some(configured) = vault.get(host)?
        {
            return exchange(configured, transport).await.map(Some);
        }
        match &self.docker {
            Some(docker) => docker.find(host, helper_timeout).await,
            None => Ok(None),
        }
    }
}

/// What is configured becomes what the registry takes.
async fn exchange(
    configured: Configured,
    transport: &Transport,
) -> Result<Credential, CredentialError> {
    match configured.kind {
        Kind::Ecr => ecr::login(&configured, transport).await,
        Kind::Gar => Ok(Credential::password(
            gar::USERNAME,
            configured.reveal(),
            configured.source(),
        )),
        Kind::DockerHub | Kind::Default => Ok(Credential::password(
            &configured.public_credential,
            configured.reveal(),
            configured.source(),
        )),
    }
}
