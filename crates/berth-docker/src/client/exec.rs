//! An interactive or piped command in a container.

use std::path::{Path, PathBuf};

use futures_util::{Stream, StreamExt as _};
use http::{Method, StatusCode};
use hyper::upgrade::{Parts, Upgraded};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::codec::FramedRead;
use tokio_util::io::ReaderStream;

use super::{ClientError, http1};
use crate::frame::{Frame, FrameDecoder, StreamKind};

/// What to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// Program and arguments.
    pub command: Vec<String>,
    /// `KEY=value`, over the container's.
    pub env: Vec<String>,
    /// `None`: the container's.
    pub working_dir: Option<String>,
    /// `None`: the container's.
    pub user: Option<String>,
    /// Connect standard input.
    pub stdin: bool,
    /// Give it a terminal of rows × columns.
    pub terminal: Option<(u16, u16)>,
}

/// A running command.
#[derive(Debug)]
pub struct ExecSession {
    /// Of the exec in the API.
    pub id: String,
    /// The command's standard input: shutting it down is its end of file.
    pub input: OwnedWriteHalf,
    reader: OwnedReadHalf,
    early: bytes::Bytes,
    terminal: bool,
    control: ExecControl,
}

/// What can be asked about a command beside its streams.
#[derive(Clone, Debug)]
pub struct ExecControl {
    socket: PathBuf,
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    exit_code: Option<i32>,
}

impl ExecSession {
    pub(super) async fn start(
        socket: &Path,
        container: &str,
        options: &ExecOptions,
    ) -> Result<Self, ClientError> {
        let body = json!({
            "AttachStdin": options.stdin,
            "AttachStdout": true,
            "AttachStderr": true,
            "Tty": options.terminal.is_some(),
            "Cmd": options.command,
            "Env": options.env,
            "WorkingDir": options.working_dir.as_deref().unwrap_or_default(),
            "User": options.user.as_deref().unwrap_or_default(),
        });
        let path = format!("/containers/{}/exec", http1::encode(container));
        let Created { id } = http1::json(
            socket,
            Method::POST,
            &path,
            Some(&body),
            StatusCode::CREATED,
        )
        .await?;
        let body = json!({
            "Detach": false,
            "Tty": options.terminal.is_some(),
            "ConsoleSize": options.terminal,
        });
        let response = http1::send_upgrade(socket, &format!("/exec/{id}/start"), &body).await?;
        let response = http1::expect(response, &[StatusCode::SWITCHING_PROTOCOLS]).await?;
        let upgraded: Upgraded =
            hyper::upgrade::on(response)
                .await
                .map_err(|source| ClientError::Connection {
                    step: "connecting the command's streams",
                    source,
                })?;
        let Parts { io, read_buf, .. } = upgraded
            .downcast::<TokioIo<UnixStream>>()
            .map_err(|_| ClientError::NotUpgraded)?;
        let (reader, input) = io.into_inner().into_split();
        Ok(Self {
            control: ExecControl {
                socket: socket.to_owned(),
                id: id.clone(),
            },
            id,
            input,
            reader,
            early: read_buf,
            terminal: options.terminal.is_some(),
        })
    }

    /// Takes it apart: standard input, output in pieces until the command has ended, and control.
    /// Output of a terminal is all standard output.
    pub fn into_parts(
        self,
    ) -> (
        OwnedWriteHalf,
        impl Stream<Item = std::io::Result<Frame>> + Send + Unpin + use<>,
        ExecControl,
    ) {
        let reader = std::io::Cursor::new(self.early).chain(self.reader);
        let output = if self.terminal {
            ReaderStream::new(reader)
                .map(|bytes| {
                    bytes.map(|payload| Frame {
                        stream: StreamKind::Stdout,
                        payload,
                    })
                })
                .left_stream()
        } else {
            FramedRead::new(reader, FrameDecoder::default()).right_stream()
        };
        (self.input, output, self.control)
    }
}

impl ExecControl {
    /// Tells the command's terminal its new size.
    pub async fn resize(&self, rows: u16, columns: u16) -> Result<(), ClientError> {
        let path = format!("/exec/{}/resize?h={rows}&w={columns}", self.id);
        let response = http1::send(&self.socket, Method::POST, &path, None).await?;
        http1::expect(response, &[StatusCode::OK, StatusCode::CREATED]).await?;
        Ok(())
    }

    /// The exit code; `None` while the command runs. It is there when the output has ended.
    pub async fn exit_code(&self) -> Result<Option<i32>, ClientError> {
        let path = format!("/exec/{}/json", self.id);
        let inspected: Inspected =
            http1::json(&self.socket, Method::GET, &path, None, StatusCode::OK).await?;
        Ok(inspected.exit_code)
    }
}
