//! A server with one path for each thing a Worker may do, and a client.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use berth_gateway::Upstream;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::{CancellationToken, DropGuard};

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// A running server. Dropping it closes every connection at once.
pub(crate) struct Server {
    address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) requests: Arc<AtomicUsize>,
    /// A request for `/never` or `/slow` has arrived.
    pub(crate) arrived: Arc<Notify>,
    /// A request was dropped before its end.
    pub(crate) cancelled: Arc<Notify>,
    _alive: DropGuard,
}

#[derive(Clone)]
struct Handler {
    requests: Arc<AtomicUsize>,
    arrived: Arc<Notify>,
    cancelled: Arc<Notify>,
}

struct Cancelled(Arc<Notify>);

impl Drop for Cancelled {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = CancellationToken::new();
        let listening = alive.clone();
        let handler = Handler {
            requests: Arc::default(),
            arrived: Arc::default(),
            cancelled: Arc::default(),
        };
        let server = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            requests: Arc::clone(&handler.requests),
            arrived: Arc::clone(&handler.arrived),
            cancelled: Arc::clone(&handler.cancelled),
            _alive: alive.clone().drop_guard(),
        };
        let connections = Arc::clone(&server.connections);
        let accepting = async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(
                    alive
                        .clone()
                        .run_until_cancelled_owned(serve(stream, handler.clone())),
                );
            }
        };
        tokio::spawn(listening.run_until_cancelled_owned(accepting));
        server
    }

    pub(crate) fn upstream(&self) -> Upstream {
        Upstream::Tcp(self.address)
    }
}

async fn serve(stream: TcpStream, handler: Handler) {
    let service = service_fn(move |request| {
        let handler = handler.clone();
        async move { Ok::<_, Infallible>(handler.answer(request).await) }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

impl Handler {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        match request.uri().path() {
            "/ws" => websocket(request),
            "/echo" => Response::new(request.into_body().boxed_unsync()),
            "/fixed" => Response::new(text("fixed")),
            "/slow" => {
                self.arrived.notify_one();
                tokio::time::sleep(Duration::from_millis(20)).await;
                Response::new(text("slow"))
            }
            "/never" => {
                let _cancelled = Cancelled(Arc::clone(&self.cancelled));
                self.arrived.notify_one();
                std::future::pending().await
            }
            "/swallow" => self.swallow(request.into_body()).await,
            "/drip" => Response::new(drip(None, Cancelled(Arc::clone(&self.cancelled)))),
            "/events" => {
                let mut response =
                    Response::new(drip(None, Cancelled(Arc::clone(&self.cancelled))));
                let kind = "text/event-stream; charset=utf-8".parse().unwrap();
                response.headers_mut().insert("content-type", kind);
                response
            }
            "/drip-end" => Response::new(drip(Some(3), Cancelled(Arc::clone(&self.cancelled)))),
            "/break" => panic!("the connection breaks: this panic belongs to the test"),
            _ => describe(request).await,
        }
    }
}

impl Handler {
    /// Reads a body; says when its first piece is here, and when it breaks off.
    async fn swallow(&self, mut body: Incoming) -> Response<Body> {
        while let Some(piece) = body.frame().await {
            if piece.is_err() {
                self.cancelled.notify_one();
                return std::future::pending().await;
            }
            self.arrived.notify_one();
        }
        Response::new(text("whole"))
    }
}

fn text(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body without a length: `drop ` again and again.
fn drip(times: Option<usize>, cancelled: Cancelled) -> Body {
    let drops = stream::unfold((0, cancelled), move |(sent, cancelled)| async move {
        if Some(sent) == times {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        let frame = Ok(Frame::data(Bytes::from_static(b"drop ")));
        Some((frame, (sent + 1, cancelled)))
    });
    StreamBody::new(drops).boxed_unsync()
}

/// What the server saw: request line, headers, body.
async fn describe(request: Request<Incoming>) -> Response<Body> {
    let mut seen = format!("{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        seen.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
    }
    let body = request.into_body().collect().await.unwrap().to_bytes();
    seen.push_str(std::str::from_utf8(&body).unwrap());
    Response::new(text(seen))
}

fn websocket(mut request: Request<Incoming>) -> Response<Body> {
    let key = request.headers()["sec-websocket-key"].clone();
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let stream = TokioIo::new(upgrade.await.unwrap());
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() {
                socket.send(message).await.unwrap();
            }
        }
    });
    Response::builder()
        .status(101)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", derive_accept_key(key.as_bytes()))
        .body(text(""))
        .unwrap()
}

/// A client with one connection.
pub(crate) struct Client(SendRequest<Full<Bytes>>);

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    pub(crate) async fn try_send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        self.0.ready().await?;
        self.0.send_request(request).await
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.try_send(request).await.unwrap()
    }

    pub(crate) async fn get(&mut self, path: &str) -> (u16, String) {
        let request = Request::get(path)
            .header("host", "a")
            .body(Full::default())
            .unwrap();
        let response = self.send(request).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}
