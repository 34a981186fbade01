//! Routes that only Berth has, below `berth/`: the machine, its containers, commands in them, backups.
//!
//! A command's WebSocket: the client's first message is text, an [`ExecRequest`]. Then binary messages
//! are its input, and text is `{"resize": [rows, columns]}` or `{"eof": true}`. The server sends binary
//! messages, whose first byte is 1 (standard output) or 2 (standard error), and at the end text:
//! `{"exit": code}`, or `{"error": "…"}` if there is no code.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use bytes::{BufMut as _, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::describe::{Routes, about, get};
use crate::envelope::{Answer, result};
use crate::failure::Failure;
use crate::{Api, BackupRequest, Exec, ExecControl, ExecOutput, ExecRequest, Host, UsageRequest};

pub(super) fn routes() -> Routes {
    Routes::new()
        .route(
            "/berth/server",
            get(server, "The server: version, addresses, since when"),
        )
        .route("/berth/status", get(status, "Health at a glance"))
        .route(
            "/berth/instance-types",
            get(instance_types, "Sizes of containers that have names"),
        )
        .route(
            "/berth/usage",
            get(
                usage,
                about("What Workers and their containers have used, and what it costs")
                    .query::<Period>(),
            ),
        )
        .route("/berth/containers", get(containers, "Every container"))
        .route(
            "/berth/containers/{id}/exec",
            get(exec, about("A command in a container, by WebSocket")),
        )
        .route(
            "/berth/backup",
            get(
                backup,
                about("What the server keeps, as a tar archive")
                    .query::<Parts>()
                    .answers("application/x-tar"),
            ),
        )
}

fn host(api: &Api) -> Result<Arc<dyn Host>, Failure> {
    let host = api.runtime.host();
    host.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, 7003, "This server has no such thing"))
}

async fn server(State(api): State<Api>) -> Answer {
    result(host(&api)?.about())
}

async fn status(State(api): State<Api>) -> Answer {
    let status = host(&api)?.status().await;
    result(status.map_err(unavailable)?)
}

async fn instance_types(State(api): State<Api>) -> Answer {
    let types = api.control.instance_types();
    let types = types.iter().map(|(name, size)| {
        json!({
            "name": name,
            "vcpu": size.vcpu,
            "memory_mib": size.memory_mib,
            "disk_mb": size.disk_mb,
        })
    });
    result(types.collect::<Vec<_>>())
}

/// Which usage. It is kept by the hour.
#[derive(Deserialize, JsonSchema)]
struct Period {
    /// From the hour of this time on: RFC 3339, Unix milliseconds, or how long ago (`12h`, `7d`). Not there:
    /// 30 days ago.
    since: Option<String>,
    /// Hours that begin before this time. Not there: until now.
    until: Option<String>,
    /// Of one Worker only.
    app: Option<String>,
}

async fn usage(State(api): State<Api>, Query(period): Query<Period>) -> Answer {
    let time = |name, value: Option<String>| match value {
        None => Ok(None),
        Some(value) => match berth_logs::Query::time(name, &value) {
            Ok(time) => Ok(Some(time)),
            Err(error) => Err(Failure::bad_request(error.to_string())),
        },
    };
    let month_ago = time("since", Some("30d".to_owned()))?;
    let wanted = UsageRequest {
        since_ms: time("since", period.since)?.or(month_ago).unwrap_or(0),
        until_ms: time("until", period.until)?.unwrap_or(u64::MAX),
        app: period.app,
    };
    if wanted.since_ms >= wanted.until_ms {
        return Err(Failure::bad_request(
            "`until` is not after `since`".to_owned(),
        ));
    }
    result(host(&api)?.usage(wanted).await.map_err(unavailable)?)
}

async fn containers(State(api): State<Api>) -> Answer {
    let containers = host(&api)?.containers().await;
    result(containers.map_err(unavailable)?)
}

fn unavailable(reason: String) -> Failure {
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, 10013, reason)
}

/// What a backup is to hold.
#[derive(Deserialize, JsonSchema)]
struct Parts {
    /// The keys that secrets are sealed with.
    #[serde(default)]
    keys: bool,
    /// Images of the registry.
    #[serde(default)]
    images: bool,
}

async fn backup(State(api): State<Api>, Query(parts): Query<Parts>) -> Answer {
    let wanted = BackupRequest {
        keys: parts.keys,
        images: parts.images,
    };
    let stream = host(&api)?.backup(wanted).await.map_err(unavailable)?;
    let response = Response::builder()
        .header(http::header::CONTENT_TYPE, "application/x-tar")
        .body(Body::from_stream(stream));
    response.map_err(Failure::internal)
}

async fn exec(
    State(api): State<Api>,
    Path((_, id)): Path<(String, String)>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Answer {
    let host = host(&api)?;
    let upgrade = upgrade.map_err(|refused| Failure::bad_request(refused.body_text()))?;
    let known = host.containers().await.map_err(unavailable)?;
    if !known.iter().any(|container| container["id"] == *id) {
        let text = format!("There is no container `{id}`");
        return Err(Failure::new(StatusCode::NOT_FOUND, 1000, text));
    }
    Ok(upgrade
        .on_upgrade(move |socket| serve(socket, host, id))
        .into_response())
}

async fn serve(mut socket: WebSocket, host: Arc<dyn Host>, id: String) {
    let wanted = loop {
        match socket.recv().await {
            Some(Ok(Message::Text(text))) => {
                break serde_json::from_str::<ExecRequest>(&text)
                    .map_err(|error| error.to_string());
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            _ => return,
        }
    };
    let started = match wanted {
        Ok(wanted) => host.exec(&id, wanted).await,
        Err(error) => Err(format!("the first message cannot be understood: {error}")),
    };
    match started {
        Ok(exec) => attend(socket, exec).await,
        Err(error) => {
            let _ = socket.send(text(&json!({"error": error}))).await;
        }
    }
}

/// Until the command has ended or the client has left; then the command's streams are closed.
async fn attend(socket: WebSocket, exec: Exec) {
    let (sink, stream) = socket.split();
    let Exec {
        input,
        output,
        control,
    } = exec;
    tokio::select! {
        () = send(sink, output, control.as_ref()) => {}
        () = receive(stream, input, control.as_ref()) => {}
    }
}

async fn send(
    mut sink: SplitSink<WebSocket, Message>,
    mut output: std::pin::Pin<
        Box<dyn futures_util::Stream<Item = std::io::Result<ExecOutput>> + Send>,
    >,
    control: &dyn ExecControl,
) {
    while let Some(piece) = output.next().await {
        let (stream, bytes) = match piece {
            Ok(ExecOutput::Stdout(bytes)) => (1, bytes),
            Ok(ExecOutput::Stderr(bytes)) => (2, bytes),
            Err(error) => {
                let error = format!("the connection to the command broke off: {error}");
                let _ = sink.send(text(&json!({"error": error}))).await;
                return;
            }
        };
        let mut message = BytesMut::with_capacity(bytes.len() + 1);
        message.put_u8(stream);
        message.put(bytes);
        if sink.send(Message::Binary(message.freeze())).await.is_err() {
            return;
        }
    }
    let last = match control.exit_code().await {
        Some(code) => json!({"exit": code}),
        None => json!({"error": "it is not known how the command ended"}),
    };
    let _ = sink.send(text(&last)).await;
    let _ = sink.close().await;
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Control {
    resize: Option<(u16, u16)>,
    eof: bool,
}

/// Ends when the client has left.
async fn receive(
    mut stream: SplitStream<WebSocket>,
    input: Box<dyn AsyncWrite + Send + Unpin>,
    control: &dyn ExecControl,
) {
    let mut input = Some(input);
    while let Some(Ok(message)) = stream.next().await {
        match message {
            Message::Binary(bytes) => {
                if let Some(open) = &mut input
                    && open.write_all(&bytes).await.is_err()
                {
                    // The command has closed its input.
                    input = None;
                }
            }
            Message::Text(text) => {
                let asked: Control = serde_json::from_str(&text).unwrap_or_default();
                if let Some((rows, columns)) = asked.resize {
                    control.resize(rows, columns).await;
                }
                if asked.eof
                    && let Some(mut open) = input.take()
                {
                    // Fails only when the command has ended.
                    let _ = open.shutdown().await;
                }
            }
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) => {}
        }
    }
}

fn text(value: &serde_json::Value) -> Message {
    Message::Text(value.to_string().into())
}
