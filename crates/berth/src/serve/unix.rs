//! One HTTP request over a Unix socket, to a workerd of ours.

use std::path::Path;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum SendError {
    /// Nobody listens: nothing has been sent.
    Unsent(std::io::Error),
    /// The connection broke.
    Broken(hyper::Error),
}

impl std::fmt::Display for SendError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsent(error) => write!(formatter, "nobody listens: {error}"),
            Self::Broken(error) => write!(formatter, "the connection broke: {error}"),
        }
    }
}

/// Sends a request, collects the answer.
pub(super) async fn send(
    socket: &Path,
    mut request: Request<Bytes>,
) -> Result<Response<Bytes>, SendError> {
    let stream = UnixStream::connect(socket).await;
    let stream = stream.map_err(SendError::Unsent)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(SendError::Broken)?;
    tokio::spawn(connection);
    let host = HeaderValue::from_static("berth");
    request.headers_mut().insert(header::HOST, host);
    let response = sender.send_request(request.map(Full::new)).await;
    let (head, body) = response.map_err(SendError::Broken)?.into_parts();
    let body = body.collect().await.map_err(SendError::Broken)?.to_bytes();
    Ok(Response::from_parts(head, body))
}
