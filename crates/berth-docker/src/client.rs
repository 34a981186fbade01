//! A small client of the API for our own command line: `berth ps`, `logs`, `exec`.
//!
//! One connection per request, as workerd does it. The client trusts the server it was given the
//! socket of, and only that.

mod docker;
mod exec;
mod http1;

use std::path::{Path, PathBuf};

use berth_error::Hint;
use futures_util::{Stream, TryStreamExt as _};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use tokio_util::codec::FramedRead;
use tokio_util::io::StreamReader;

pub use exec::{ExecControl, ExecOptions, ExecSession};

use crate::frame::{Frame, FrameDecoder};

/// Talks to one session's socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("no session answers at {}", socket.display())]
    NoSession {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("talking to the session failed at {step}")]
    Connection {
        /// What was being done.
        step: &'static str,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// The server refused; the message is its own.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What the server says.
        message: String,
    },
    /// The answer is not what the API promises.
    #[error("the session's answer to {request} cannot be read")]
    Answer {
        /// Method and path.
        request: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The server did not hand over the connection of an exec.
    #[error("the session did not connect the command's streams")]
    NotUpgraded,
}

impl Hint for ClientError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoSession { .. } => {
                Some("start the session with `berth dev` in the project's directory".to_owned())
            }
            Self::Refused { status: 404, .. } => {
                Some("`berth ps` lists the containers of the running session".to_owned())
            }
            _ => None,
        }
    }
}

/// One container in a listing.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct ContainerSummary {
    /// 64 hex digits.
    pub id: String,
    /// Full name, without the leading slash.
    #[serde(rename = "Names", deserialize_with = "first_name")]
    pub name: String,
    /// Class and start of the object id.
    #[serde(default)]
    pub display_name: String,
    /// As given at create.
    pub image: String,
    /// `created`, `running`, `exited` or `removing`.
    pub state: String,
    /// The same in words, such as `Up 5 minutes`.
    pub status: String,
    /// `frozen`, `on disk` or `paused`; `None`: awake.
    #[serde(default)]
    pub asleep: Option<String>,
    /// Why it does not sleep (as deeply as it should).
    #[serde(default)]
    pub sleepless: Option<String>,
    /// What it has used.
    #[serde(default)]
    pub metered: Option<ContainerUsage>,
    /// Unix seconds.
    pub created: u64,
    /// Exit code of the last run, if it has ended.
    pub exit_code: Option<i32>,
    /// In-process egress sidecars are in the API's listing, not in [`Client::list`]'s.
    #[serde(default)]
    sidecar: bool,
}

/// What a container has used, as the listing tells it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerUsage {
    /// CPU time in nanoseconds.
    pub cpu_ns: u64,
    /// Milliseconds awake.
    pub running_ms: u64,
    /// Milliseconds frozen.
    pub frozen_ms: u64,
    /// Milliseconds on disk.
    #[serde(default)]
    pub stored_ms: u64,
    /// Bytes of memory now.
    pub memory_bytes: u64,
    /// Bytes of memory it may use, times the milliseconds that it had them; in decimal.
    pub memory_byte_ms: String,
    /// Payload bytes into it.
    pub ingress_bytes: u64,
    /// Payload bytes out of it.
    pub egress_bytes: u64,
}

/// Where the time of a container's last start went. Times are microseconds.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct StartTrace {
    /// The container's name.
    pub name: String,
    /// From workerd's first call to the program's first byte; `None`: it has not answered yet.
    pub total_us: Option<u64>,
    /// In the order in which they began.
    pub steps: Vec<StartStep>,
}

/// One step of a start.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct StartStep {
    /// `call`, `network`, `prepare`, `open`, `spawn`, `cgroup`, `namespaces`, `rootfs`, `identity`,
    /// `exec`, `boot`, `hold` or `first byte`.
    pub phase: String,
    /// The same in detail.
    pub what: String,
    /// Since the first call.
    pub at_us: u64,
    /// How long.
    pub took_us: u64,
    /// A step of a higher level is part of the nearest one of the next lower level before it.
    pub level: u8,
}

/// Which log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on with new lines until the container is gone.
    pub follow: bool,
    /// Only the last ones of those that are there.
    pub tail: Option<usize>,
    /// RFC 3339 time before each line.
    pub timestamps: bool,
}

impl Client {
    /// A client of the session at a socket. Nothing is connected yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// The socket it talks to.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The session's containers, newest first, sidecars left out; with `all` also those that do
    /// not run.
    pub async fn list(&self, all: bool) -> Result<Vec<ContainerSummary>, ClientError> {
        let path = format!("/containers/json?all={}", u8::from(all));
        let mut containers: Vec<ContainerSummary> = self.get(&path).await?;
        containers.retain(|container| !container.sidecar);
        Ok(containers)
    }

    /// Docker's description of a container, by name, id or start of the id.
    pub async fn inspect(&self, container: &str) -> Result<serde_json::Value, ClientError> {
        let container = http1::encode(container);
        self.get(&format!("/containers/{container}/json")).await
    }

    /// Where the time of a container's last start went.
    pub async fn trace(&self, container: &str) -> Result<StartTrace, ClientError> {
        let container = http1::encode(container);
        self.get(&format!("/containers/{container}/trace")).await
    }

    /// A container's output, line by line; each frame ends with a newline.
    pub async fn logs(
        &self,
        container: &str,
        options: LogOptions,
    ) -> Result<impl Stream<Item = std::io::Result<Frame>> + Send + use<>, ClientError> {
        let tail = options.tail.map_or("all".to_owned(), |n| n.to_string());
        let path = format!(
            "/containers/{}/logs?stdout=1&stderr=1&follow={}&timestamps={}&tail={tail}",
            http1::encode(container),
            u8::from(options.follow),
            u8::from(options.timestamps),
        );
        let response = http1::send(&self.socket, Method::GET, &path, None).await?;
        let response = http1::expect(response, &[StatusCode::OK]).await?;
        let body = response
            .into_body()
            .into_data_stream()
            .map_err(std::io::Error::other);
        Ok(FramedRead::new(
            StreamReader::new(body),
            FrameDecoder::default(),
        ))
    }

    /// Runs a command in a running container and connects to it.
    pub async fn exec(
        &self,
        container: &str,
        options: &ExecOptions,
    ) -> Result<ExecSession, ClientError> {
        ExecSession::start(&self.socket, container, options).await
    }

    /// Stops a container: SIGTERM, and SIGKILL after `grace_seconds`.
    pub async fn stop(&self, container: &str, grace_seconds: u64) -> Result<(), ClientError> {
        let path = format!(
            "/containers/{}/stop?t={grace_seconds}",
            http1::encode(container)
        );
        let response = http1::send(&self.socket, Method::POST, &path, None).await?;
        let accepted = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
        http1::expect(response, &accepted).await?;
        Ok(())
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        http1::json(&self.socket, Method::GET, path, None, StatusCode::OK).await
    }
}

fn first_name<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    let first = names.into_iter().next().unwrap_or_default();
    Ok(first.strip_prefix('/').unwrap_or(&first).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listing_entries_decode() {
        let container: ContainerSummary = serde_json::from_str(
            r#"{"Id":"ab","Names":["/workerd-x"],"DisplayName":"Box/12","Image":"i",
                "State":"running","Status":"Up 1 second","Created":7,"ExitCode":null}"#,
        )
        .unwrap();
        assert_eq!(container.name, "workerd-x");
        assert_eq!(container.display_name, "Box/12");
        assert!(!container.sidecar);
    }

    #[tokio::test]
    async fn without_a_session_there_is_a_hint() {
        let directory = tempfile::tempdir().unwrap();
        let client = Client::new(directory.path().join("docker.sock"));
        let error = client.list(false).await.unwrap_err();
        assert!(error.to_string().starts_with("no session answers at "));
        assert!(error.hint().unwrap().contains("berth dev"));
    }
}
