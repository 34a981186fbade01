//! Why a pull or push failed, in words for the person who asked for it.

use berth_error::Hint;
use berth_image::{Digest, ImageError};

use crate::config::ConfigError;
use crate::credentials::CredentialError;
use crate::transport::TransportError;

/// Why a registry was of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DistributionError {
    /// No name, no route, no answer: nothing is known about the image.
    #[error("the registry `{host}` cannot be reached")]
    Unreachable {
        /// The registry.
        host: String,
        /// Why.
        source: TransportError,
    },
    /// It answered, but its certificate is not trusted, or it does not speak TLS.
    #[error("no trusted connection to the registry `{host}`")]
    Tls {
        /// The registry.
        host: String,
        /// Why.
        source: TransportError,
    },
    /// The connection broke, and again when it was tried anew.
    #[error("could not {action}: the connection to `{host}` broke {attempts} times in a row")]
    Interrupted {
        /// What was being done, as a verb phrase.
        action: String,
        /// With whom.
        host: String,
        /// Attempts in a row that brought nothing.
        attempts: u32,
        /// How the last one ended.
        source: TransportError,
    },
    /// Nobody without a name may do this.
    #[error("`{host}` wants to know who you are before it lets you {action}")]
    LoginNeeded {
        /// The registry.
        host: String,
        /// What was being done.
        action: String,
    },
    /// A registry would have credentials sent to somebody else.
    #[error("`{host}` names `{realm}` as its token server, which is another host")]
    ForeignRealm {
        /// The registry.
        host: String,
        /// The host of the token server.
        realm: String,
    },
    /// The credentials were not accepted.
    #[error("`{host}` does not accept the credentials of {from}{}", said(says))]
    LoginRefused {
        /// The registry.
        host: String,
        /// Where the credentials are from.
        from: String,
        /// What it says.
        says: String,
    },
    /// Who is known may still not do this.
    #[error("`{host}` does not let {who} {action}{}", said(says))]
    Denied {
        /// The registry.
        host: String,
        /// The user.
        who: String,
        /// What was being done.
        action: String,
        /// What it says.
        says: String,
    },
    /// There is no such image.
    #[error("there is no image `{reference}` in the registry")]
    NotFound {
        /// The image.
        reference: String,
    },
    /// Another refusal.
    #[error("could not {action}: `{host}` answers {status}{}", said(says))]
    Refused {
        /// The registry.
        host: String,
        /// What was being done.
        action: String,
        /// HTTP status.
        status: u16,
        /// What it says.
        says: String,
    },
    /// The registry does not keep to the specification, or means harm.
    #[error("could not {action}: `{host}` {problem}")]
    Protocol {
        /// The registry.
        host: String,
        /// What was being done.
        action: String,
        /// What it did, as the end of a sentence about it.
        problem: String,
    },
    /// Content is not what its digest says.
    #[error("`{host}` sent {what} with digest {actual}, expected {expected}")]
    WrongDigest {
        /// The registry.
        host: String,
        /// Which content.
        what: String,
        /// The digest it was asked for by.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// The image is for other machines.
    #[error("`{reference}` is not for {wanted}, but for {}", found.join(", "))]
    Platform {
        /// The image.
        reference: String,
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: Vec<String>,
    },
    /// It can be stored in a registry, but it is no container image.
    #[error("`{reference}` is not a container image, but `{kind}`")]
    NotAnImage {
        /// The reference.
        reference: String,
        /// Its media type.
        kind: String,
    },
    /// A layer that registries do not hand out.
    #[error("layer {digest} of `{reference}` is not distributed by registries (`{kind}`)")]
    Foreign {
        /// The image.
        reference: String,
        /// The layer.
        digest: Digest,
        /// Its media type.
        kind: String,
    },
    /// A document of the image contradicts itself.
    #[error("`{reference}` is a broken image: {problem}")]
    BadImage {
        /// The image.
        reference: String,
        /// What is wrong.
        problem: String,
    },
    /// The configuration of registries.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Credentials could not be found out.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The store of images.
    #[error(transparent)]
    Store(#[from] ImageError),
}

/// What a registry said, as the end of a message.
fn said(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

impl DistributionError {
    /// Whether nothing could be found out about the image because its registry cannot be reached at
    /// all: no name service, no route, nobody listening.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

impl Hint for DistributionError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { host, .. } => Some(format!(
                "check the name `{host}` and this machine's network; a mirror can be named in \
                 `registries.json`"
            )),
            Self::Tls { host, source } => Some(if source.is_certificate() {
                format!(
                    "name the registry's own authority in `registries.json`: `\"{host}\": {{ \"ca\": \"<file>\" }}`"
                )
            } else {
                format!(
                    "if it speaks plain HTTP, say so in `registries.json`: `\"{host}\": {{ \"plain_http\": true }}`"
                )
            }),
            Self::Interrupted { .. } => {
                Some("try again: what has arrived completely is not fetched again".to_owned())
            }
            Self::LoginNeeded { host, .. } => Some(format!(
                "log in with `berth docker login {host}`; for a name that does not exist, registries \
                 answer the same"
            )),
            Self::ForeignRealm { host, realm } => Some(format!(
                "your credentials were not sent; if that is right, allow it in `registries.json`: \
                 `\"{host}\": {{ \"realms\": [\"{realm}\"] }}`"
            )),
            Self::LoginRefused { host, from, .. } if from.contains("registries configure") => Some(
                format!("`berth containers registries delete {host}`, then configure it again"),
            ),
            Self::LoginRefused { host, .. } => {
                Some(format!("log in again with `berth docker login {host}`"))
            }
            Self::Denied { .. } => {
                Some("check the name, and what this user may do in the registry".to_owned())
            }
            Self::NotFound { .. } => Some("check the name and the tag".to_owned()),
            Self::Refused {
                status: 429, host, ..
            } => Some(format!(
                "wait, or log in with `berth docker login {host}`, which raises the limit"
            )),
            Self::Refused {
                status: 413, host, ..
            } => Some(format!(
                "a proxy limits the size of requests: set `\"{host}\": {{ \"upload_chunk_mb\": 50 }}` in `registries.json`"
            )),
            Self::WrongDigest { .. } | Self::Protocol { .. } => Some(
                "the registry, a mirror or a proxy in between is broken; nothing of this was kept"
                    .to_owned(),
            ),
            Self::Platform { .. } => {
                Some("choose one of them with `--platform`, or another image".to_owned())
            }
            Self::Foreign { .. } => {
                Some("images of Windows have such layers; choose an image without them".to_owned())
            }
            Self::Config(error) => error.hint(),
            Self::Credential(error) => error.hint(),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}
