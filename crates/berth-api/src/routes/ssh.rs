//! `wrangler containers ssh`: a container's SSH server, over a WebSocket.
//!
//! wrangler (4.86 to 4.164) asks for `{url, token}`, connects to the address with the token, and passes bytes
//! on, as binary messages, between it and `ssh`. The token is good once, for a minute, for this instance; who
//! may log in is decided by keys, in [`Host::ssh`].
//!
//! [`Host::ssh`]: crate::Host::ssh

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{OriginalUri, Path, State};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

use super::containers::{self, OfApplication};
use super::instances::{self, Owned};
use super::tails::address;
use crate::describe::{Routes, get};
use crate::envelope::{Answer, result};
use crate::failure::Failure;
use crate::guard::bearer;
use crate::{Api, Host, SshKeys, SshStream};

/// How long a token is good.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// Tokens that are good at the same time.
const TICKETS: usize = 256;
/// Bytes of a message.
const MESSAGE_LIMIT: usize = 1 << 20;
/// Bytes on the way, in each direction.
const ON_THE_WAY: usize = 64 << 10;
/// How long last bytes may take once one side has ended.
const LAST_BYTES: Duration = Duration::from_secs(5);

pub(super) fn routes() -> Routes {
    Routes::new().route(
        "/containers/instances/{id}/ssh",
        get(
            ticket,
            "Where an instance is reached by SSH: an address and a token",
        ),
    )
}

/// Where they are reached.
pub(super) fn connections() -> Router<Api> {
    Router::new().route("/ssh/{instance}", axum::routing::get(connect))
}

/// Tokens that have been given out.
#[derive(Debug, Default)]
pub(crate) struct Tickets(Mutex<HashMap<String, Ticket>>);

#[derive(Debug)]
struct Ticket {
    instance: String,
    keys: SshKeys,
    until: Instant,
}

impl Tickets {
    /// `None`: too many are good.
    fn issue(&self, instance: &str, keys: SshKeys, now: Instant) -> Option<String> {
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.retain(|_, ticket| ticket.until > now);
        if tickets.len() >= TICKETS {
            return None;
        }
        // 244 random bits.
        let half = || uuid::Uuid::new_v4().simple().to_string();
        let token = half() + &half();
        let ticket = Ticket {
            instance: instance.to_owned(),
            keys,
            until: now + GOOD_FOR,
        };
        tickets.insert(token.clone(), ticket);
        Some(token)
    }

    /// Whom it lets in. It is good for nothing afterwards.
    fn take(&self, token: &str, instance: &str, now: Instant) -> Option<SshKeys> {
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = tickets.remove(token)?;
        (ticket.instance == instance && ticket.until > now).then_some(ticket.keys)
    }
}

/// `GET containers/instances/{id}/ssh`.
async fn ticket(
    State(api): State<Api>,
    Path((_, id)): OfApplication,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Answer {
    let Owned {
        application,
        instance,
        ..
    } = instances::find(&api, &id).await?;
    let host = host(&api)?;
    let Some(application) = application else {
        return Err(refused("its class has no container application any more"));
    };
    let ssh = containers::find(&api, &application).await?.ssh();
    if !ssh.enabled {
        return Err(refused(
            "SSH is disabled for it: set `ssh.enabled` to true in the container's configuration, and deploy",
        ));
    }
    let keys = SshKeys {
        keys: ssh.keys,
        authorities: ssh.authorities,
    };
    if keys.keys.is_empty() && keys.authorities.is_empty() {
        return Err(refused(
            "nobody may log in to it: add your public key (`ssh-ed25519 …`) to `authorized_keys` in the container's configuration, and deploy",
        ));
    }
    host.check_ssh(&keys).await.map_err(refused)?;
    if instance.state != "running" {
        return Err(Failure::bad_request(format!(
            "the instance does not run (it is {}), and SSH does not start it: a request to its object does",
            instance.state
        )));
    }
    let token = api.ssh.issue(&id, keys, Instant::now()).ok_or_else(|| {
        let text = "too many SSH connections are being made: try again in a minute";
        Failure::new(StatusCode::TOO_MANY_REQUESTS, 10057, text)
    })?;
    let url = address(uri.path(), &headers, &format!("ssh/{id}"));
    result(json!({"url": url, "token": token}))
}

fn host(api: &Api) -> Result<Arc<dyn Host>, Failure> {
    let host = api.runtime.host();
    host.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, 7003, "This server has no such thing"))
}

fn refused(text: impl Into<String>) -> Failure {
    Failure::new(StatusCode::FORBIDDEN, 1604, text)
}

/// `GET /ssh/{instance}` with an upgrade.
async fn connect(
    State(api): State<Api>,
    Path(instance): Path<String>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let token = bearer(&headers).unwrap_or_default();
    let Some(keys) = api.ssh.take(token, &instance, Instant::now()) else {
        let text = "The token is not, or no longer, good for this instance";
        return Failure::new(StatusCode::UNAUTHORIZED, 10000, text).into_response();
    };
    let host = match host(&api) {
        Ok(host) => host,
        Err(failure) => return failure.into_response(),
    };
    upgrade
        .max_message_size(MESSAGE_LIMIT)
        .on_upgrade(async move |socket| serve(socket, host, &instance, &keys).await)
}

/// Until either side has enough.
async fn serve(socket: WebSocket, host: Arc<dyn Host>, instance: &str, keys: &SshKeys) {
    let (ours, theirs) = tokio::io::duplex(ON_THE_WAY);
    let serving = host.ssh(instance, keys, theirs);
    let passing = pass(socket, ours);
    tokio::pin!(serving, passing);
    let outcome = tokio::select! {
        outcome = &mut serving => {
            // What it has said last. Then both ends are dropped.
            let _ = tokio::time::timeout(LAST_BYTES, passing).await;
            outcome
        }
        // It notices that its stream has ended.
        () = &mut passing => match tokio::time::timeout(LAST_BYTES, serving).await {
            Ok(outcome) => outcome,
            Err(_) => Ok(()),
        },
    };
    if let Err(error) = outcome {
        tracing::info!(
            instance,
            error,
            "an SSH connection has ended before its time"
        );
    }
}

/// Passes bytes on in both directions until one of them ends.
async fn pass(socket: WebSocket, stream: SshStream) {
    let (sink, incoming) = socket.split();
    let (read, write) = tokio::io::split(stream);
    tokio::select! {
        () = outwards(sink, read) => {}
        () = inwards(incoming, write) => {}
    }
}

async fn outwards(mut sink: SplitSink<WebSocket, Message>, mut read: ReadHalf<SshStream>) {
    let mut buffer = vec![0; ON_THE_WAY];
    // A duplex stream does not fail.
    while let Ok(count @ 1..) = read.read(&mut buffer).await {
        let message = Message::Binary(buffer[..count].to_vec().into());
        if sink.send(message).await.is_err() {
            return;
        }
    }
    let _ = sink.close().await;
}

async fn inwards(mut incoming: SplitStream<WebSocket>, mut write: WriteHalf<SshStream>) {
    while let Some(Ok(message)) = incoming.next().await {
        match message {
            Message::Binary(bytes) => {
                if write.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(_) | Message::Text(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_once_for_a_minute_and_one_instance() {
        let tickets = Tickets::default();
        let now = Instant::now();
        let keys = SshKeys {
            keys: vec!["k".to_owned()],
            ..SshKeys::default()
        };
        let issue = || tickets.issue("one", keys.clone(), now).unwrap();
        let (first, other, late) = (issue(), issue(), issue());
        assert!(first.len() == 64 && first != other);
        assert_eq!(tickets.take(&first, "one", now).unwrap().keys, ["k"]);
        assert!(tickets.take(&first, "one", now).is_none(), "used");
        assert!(
            tickets.take(&other, "two", now).is_none(),
            "another instance"
        );
        assert!(
            tickets.take(&other, "one", now).is_none(),
            "and used up by that"
        );
        assert!(tickets.take(&late, "one", now + GOOD_FOR).is_none());
        assert!(tickets.take("", "one", now).is_none());
    }

    #[test]
    fn tokens_are_not_kept_without_end() {
        let tickets = Tickets::default();
        let now = Instant::now();
        let issue = |now| tickets.issue("one", SshKeys::default(), now);
        for _ in 0..TICKETS {
            assert!(issue(now).is_some());
        }
        assert!(issue(now).is_none());
        assert!(issue(now + GOOD_FOR).is_some(), "the former ones are gone");
    }
}
