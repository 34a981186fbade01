//! `wrangler tail`: a Worker's invocations as they end, over a WebSocket.
//!
//! wrangler (4.86 to 4.164) makes a tail, connects to the address that it is given without its token, with
//! `trace-v1` as protocol, and sends its first message unmasked; it pings every 10 s and wants the same bytes
//! back. So the address has an id in it that cannot be guessed, and is good once.

use std::net::SocketAddr;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, OriginalUri, Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Router};
use berth_logs::{Filters, Tail};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use super::settings::parse;
use super::workers::{Named, find};
use crate::Api;
use crate::describe::{Routes, about, post};
use crate::envelope::{Answer, result};
use crate::failure::Failure;

const PROTOCOL: &str = "trace-v1";
/// What a client may send: it says hardly anything.
const MESSAGE_LIMIT: usize = 64 << 10;
/// Seconds within which it must connect.
const TAKE_WITHIN: u64 = 60;

pub(super) fn routes() -> Routes {
    let create = about("Makes a tail: where a Worker's invocations can be watched");
    Routes::new()
        .route(
            "/tails",
            post(create_tail, create.json::<Map<String, Value>>()),
        )
        .route(
            "/tails/{tail}",
            crate::describe::delete(delete_tail, "Ends a tail"),
        )
}

/// Where tails are watched. No token is asked for.
pub(super) fn watched() -> Router<Api> {
    Router::new().route("/tails/{tail}", get(watch))
}

/// `POST tails`. The body may be empty, or `{"filters": [...]}`.
async fn create_tail(
    State(api): State<Api>,
    Path((_, name)): Named,
    OriginalUri(uri): OriginalUri,
    client: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    find(&api, &name).await?;
    let body: Value = match body.trim_ascii() {
        b"" => Value::Null,
        body => parse(body)?,
    };
    let own = client.map(|Extension(ConnectInfo(address))| address.ip().to_canonical().to_string());
    let own = own.unwrap_or_default();
    let filters = Filters::read(&body["filters"], &own).map_err(Failure::bad_request)?;
    let id = api.runtime.tails().create(&name, filters).ok_or_else(|| {
        let text = "there are too many tails: end one with Ctrl-C";
        Failure::new(StatusCode::TOO_MANY_REQUESTS, 10057, text)
    })?;
    api.runtime.traced(&name).await;
    let expires = now_and(TAKE_WITHIN);
    let url = address(uri.path(), &headers, &format!("tails/{id}"));
    result(json!({"id": id, "url": url, "expires_at": expires}))
}

/// `DELETE tails/{id}`.
async fn delete_tail(
    State(api): State<Api>,
    Path((_, name, id)): Path<(String, String, String)>,
) -> Answer {
    // One whose connection has ended is gone already.
    let tails = api.runtime.tails();
    if tails.is_of(&id, &name) {
        tails.delete(&id);
    }
    result(Value::Null)
}

/// Where the client, which has reached this server, reaches a WebSocket of it.
pub(super) fn address(path: &str, headers: &HeaderMap, below: &str) -> String {
    let word = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = match word("x-forwarded-proto") {
        Some("https") => "wss",
        _ => "ws",
    };
    let host = word("host").unwrap_or("localhost");
    let prefix = path.split("/accounts/").next().unwrap_or_default();
    format!("{scheme}://{host}{prefix}/{below}")
}

fn now_and(seconds: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs());
    berth_control::clock::of_unix_ms((now + seconds) * 1000)
}

/// `GET /tails/{id}` with an upgrade.
async fn watch(
    State(api): State<Api>,
    Path(id): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Some(tail) = api.runtime.tails().take(&id) else {
        let text = "There is no such tail, or somebody watches it already";
        return Failure::new(StatusCode::NOT_FOUND, 7003, text).into_response();
    };
    upgrade
        .protocols([PROTOCOL])
        .accept_unmasked_frames(true)
        .max_message_size(MESSAGE_LIMIT)
        .on_upgrade(move |socket| show(socket, tail))
}

/// Sends what there is until one side has enough.
async fn show(mut socket: WebSocket, mut tail: Tail) {
    loop {
        tokio::select! {
            // Pings are answered while it is read from.
            received = socket.recv() => match received {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
            event = tail.next() => match event {
                Some(event) => {
                    let sent = socket.send(Message::text(event.to_string())).await;
                    if sent.is_err() {
                        return;
                    }
                }
                None => {
                    let end = CloseFrame { code: 1000, reason: "the tail has ended".into() };
                    let _ = socket.send(Message::Close(Some(end))).await;
                    return;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_the_one_that_was_used() {
        let mut headers = HeaderMap::new();
        headers.insert("host", "berth.example:81".parse().unwrap());
        let path = "/client/v4/accounts/a/workers/scripts/b/tails";
        let at = |headers: &HeaderMap| address(path, headers, "tails/c");
        assert_eq!(at(&headers), "ws://berth.example:81/client/v4/tails/c");
        headers.insert("x-forwarded-proto", "https".parse().unwrap());
        assert_eq!(at(&headers), "wss://berth.example:81/client/v4/tails/c");
    }
}
