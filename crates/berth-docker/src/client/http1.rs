//! One request over one connection.

use std::path::Path;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

use super::ClientError;

/// A name as a path segment.
pub(super) fn encode(segment: &str) -> String {
    utf8_percent_encode(segment, NON_ALPHANUMERIC).to_string()
}

/// Sends a request and returns the head of the answer.
pub(super) async fn send(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Response<Incoming>, ClientError> {
    request(socket, method, path, body, false).await
}

/// The same, asking to keep the connection for raw bytes.
pub(super) async fn send_upgrade(
    socket: &Path,
    path: &str,
    body: &Value,
) -> Result<Response<Incoming>, ClientError> {
    request(socket, Method::POST, path, Some(body), true).await
}

async fn request(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<&Value>,
    upgrade: bool,
) -> Result<Response<Incoming>, ClientError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| ClientError::NoSession {
            socket: socket.to_owned(),
            source,
        })?;
    let failed = |step| move |source| ClientError::Connection { step, source };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed("the handshake"))?;
    // Ends with the answer's body or the upgraded stream.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to the session broke");
        }
    });
    let body = body.map(ToString::to_string).unwrap_or_default();
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap_or_default();
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("localhost"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    }
    sender
        .send_request(request)
        .await
        .map_err(failed("sending a request"))
}

/// Turns any other status into the server's message.
pub(super) async fn expect(
    response: Response<Incoming>,
    accepted: &[StatusCode],
) -> Result<Response<Incoming>, ClientError> {
    let status = response.status();
    if accepted.contains(&status) {
        return Ok(response);
    }
    let body = read(response).await?;
    let message = serde_json::from_slice::<Value>(&body)
        .ok()
        .and_then(|answer| answer["message"].as_str().map(str::to_owned))
        .unwrap_or_else(|| format!("the session answered {status}"));
    Err(ClientError::Refused {
        status: status.as_u16(),
        message,
    })
}

/// Sends a request and decodes the JSON of its answer.
pub(super) async fn json<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<&Value>,
    accepted: StatusCode,
) -> Result<T, ClientError> {
    let name = format!("{method} {path}");
    let response = send(socket, method, path, body).await?;
    let bytes = read(expect(response, &[accepted]).await?).await?;
    serde_json::from_slice(&bytes).map_err(|source| ClientError::Answer {
        request: name,
        source,
    })
}

async fn read(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = response.into_body().collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|source| ClientError::Connection {
            step: "reading an answer",
            source,
        })
}
