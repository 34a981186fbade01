//! An HTTP client for one session: whole replies for most tests, streams for those about streams.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::PATIENCE;

/// The body of a request.
pub type Body = BoxBody<Bytes, std::convert::Infallible>;

/// A client with its own connection pool. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    /// In place of the base's.
    host: Option<http::HeaderValue>,
    inner: hyper_util::client::legacy::Client<HttpConnector, Body>,
}

/// A whole reply.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status code.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {} {:?}", self.status, self.text()))
    }

    /// The reply itself if its status is 200; otherwise a failure that shows it.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        self
    }
}

impl Client {
    /// A client for `http://host:port`.
    pub fn new(base: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            base: base.trim_end_matches('/').to_owned(),
            host: None,
            inner: hyper_util::client::legacy::Client::builder(TokioExecutor::new())
                .build(connector),
        }
    }

    /// Says another host in its requests than where they go.
    pub fn of_host(mut self, host: &str) -> Self {
        self.host = Some(http::HeaderValue::from_str(host).expect("it is a host"));
        self
    }

    /// `GET path`, which must answer 200; the text.
    pub async fn text(&self, path: &str) -> String {
        self.get(path).await.ok().text()
    }

    /// Opens a WebSocket.
    pub async fn websocket(&self, path: &str) -> crate::WebSocket {
        match self.host.as_ref().map(|host| host.to_str()) {
            Some(Ok(host)) => crate::WebSocket::connect_as(&self.base, path, host).await,
            _ => crate::WebSocket::connect(&self.base, path).await,
        }
    }

    /// Where requests go.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(self.request(Method::GET, path, Bytes::new()))
            .await
    }

    /// `POST path` with a body.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Reply {
        self.send(self.request(Method::POST, path, body)).await
    }

    /// `PUT path` with a body.
    pub async fn put(&self, path: &str, body: impl Into<Bytes>) -> Reply {
        self.send(self.request(Method::PUT, path, body)).await
    }

    /// A request to be changed before it is sent.
    pub fn request(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Request<Body> {
        let body = Full::new(body.into()).boxed();
        self.request_with(method, path, body)
    }

    /// A request with a body of any kind; see [`channel_body`].
    pub fn request_with(&self, method: Method, path: &str, body: Body) -> Request<Body> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .body(body)
            .expect("the test's path is a valid one");
        if let Some(host) = &self.host {
            let headers = request.headers_mut();
            headers.insert(http::header::HOST, host.clone());
        }
        request
    }

    /// Sends a request and reads the whole reply, within [`PATIENCE`].
    pub async fn send(&self, request: Request<Body>) -> Reply {
        let what = format!("{} {}", request.method(), request.uri());
        let exchange = async {
            let response = self.exchange(request).await;
            let (head, body) = response.into_parts();
            let body = body.collect().await.unwrap_or_else(|error| {
                panic!("{what}: the reply ({}) breaks off: {error}", head.status)
            });
            Reply {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
            }
        };
        match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(reply) => reply,
            Err(_) => panic!("{what}: no reply within {PATIENCE:?}"),
        }
    }

    /// Sends a request and returns as soon as the head of the reply is here.
    pub async fn exchange(&self, request: Request<Body>) -> Response<Incoming> {
        let what = format!("{} {}", request.method(), request.uri());
        match self.inner.request(request).await {
            Ok(response) => response,
            Err(error) => panic!("{what}: {error:?}"),
        }
    }

    /// Sends a request and gives up after `limit`, closing the connection as an impatient client.
    pub async fn abandon(&self, request: Request<Body>, limit: Duration) {
        let outcome = tokio::time::timeout(limit, self.inner.request(request)).await;
        assert!(
            outcome.is_err(),
            "the request was answered before it could be abandoned"
        );
    }
}

/// A body of unknown length: each piece is sent as it comes, and the end when the sender is dropped.
pub fn channel_body() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let frames = ReceiverStream::new(receiver).map(|chunk| Ok(Frame::data(chunk)));
    (sender, BodyExt::boxed(StreamBody::new(frames)))
}
