//! Why a call failed, and what to do.

use std::path::PathBuf;

use berth_error::Hint;

/// Tokens: unknown, expired, revoked.
const AUTHENTICATION: u32 = 10000;
/// A token that may not do this.
const FORBIDDEN: u32 = 9109;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing names one, and none is on this machine.
    #[error("no server is named, and none was started with the data directory `{data}`")]
    NoServer {
        /// Where we looked.
        data: PathBuf,
    },
    /// A server without a token.
    #[error("there is no token for the server `{api}`")]
    NoToken {
        /// The server.
        api: String,
    },
    /// No address of a server.
    #[error("`{text}` is not the address of a server: {problem}")]
    Address {
        /// What was given.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file cannot be read.
    #[error("could not read `{path}`")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("`{path}` cannot be understood")]
    Content {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// Certificates, or the client as such.
    #[error("no connection can be made: {0}")]
    Setup(String),
    /// Nobody answers there.
    #[error("the server `{api}` cannot be reached")]
    Unreachable {
        /// Where.
        api: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The connection broke off.
    #[error("the connection to `{api}` broke off")]
    Broken {
        /// With whom.
        api: String,
        /// How.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Somebody else answers there.
    #[error("`{url}` answered {status}, but not as the API of a Berth server")]
    Foreign {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
    },
    /// An answer that lacks what we need.
    #[error("the answer of `{url}` cannot be understood")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The server said no.
    #[error("{}", .0.message)]
    Refused(Refusal),
}

/// What a server says when it refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Of HTTP.
    pub status: u16,
    /// As in Cloudflare's API.
    pub code: u32,
    /// In words.
    pub message: String,
}

impl ClientError {
    /// The code of a refusal.
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            _ => None,
        }
    }

    /// Whether what was asked for is not there (10007 and 10090: a Worker).
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == 404)
    }
}

impl Hint for ClientError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoServer { .. } => {
                "start one with `berth serve`, or name one with `--server` and `--token` \
                 (or CLOUDFLARE_API_BASE_URL and CLOUDFLARE_API_TOKEN)"
            }
            Self::NoToken { .. } => {
                "give it with `--token` or CLOUDFLARE_API_TOKEN; `berth token create` on the \
                 server makes one"
            }
            Self::Address { .. } => "write it like `https://berth.example.com:8081`",
            Self::Unreachable { .. } => {
                "is `berth serve` running there? `--server` names another one"
            }
            Self::Foreign { .. } => "`berth env` on the server prints its address",
            Self::Answer { .. } => "server and client may be of different versions",
            Self::Refused(refusal) => return refused(refusal),
            Self::File { .. } | Self::Content { .. } | Self::Setup(_) | Self::Broken { .. } => {
                return None;
            }
        };
        Some(hint.to_owned())
    }
}

fn refused(refusal: &Refusal) -> Option<String> {
    let hint = match refusal.code {
        AUTHENTICATION => {
            "the token is unknown, has expired or was revoked; `berth token create` on the server \
             makes another"
        }
        FORBIDDEN if refusal.message.contains("token") => {
            "use a token with a greater scope: `berth token create --scope …`"
        }
        _ if refusal.status >= 500 => "the server's own output says more",
        _ => return None,
    };
    Some(hint.to_owned())
}
