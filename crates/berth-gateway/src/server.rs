//! The listeners and the clients' connections: plain or TLS, HTTP/1.1 or HTTP/2.
//!
//! With TLS the client says by ALPN which HTTP it speaks; without, HTTP/2 begins with a preface that no
//! HTTP/1.1 request begins with.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_config::GatewayConfig;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::RequestEvent;
use crate::activity::{Activity, Noticed, Tracked};
use crate::challenges::Challenges;
use crate::headers::Client;
use crate::proxy::Proxy;
use crate::sites::Sites;

/// Pause after a failed `accept`, which mostly means that descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The beginning of HTTP/2's preface (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0";
/// Between two looks at a preface that comes in pieces.
const PIECE_PAUSE: Duration = Duration::from_millis(5);
/// HTTP/2: a client that does not answer a ping for this long is gone.
const PING_LIMIT: Duration = Duration::from_secs(20);

/// Between two words about too many connections.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// The right of a connection to be, also of a tunnel that it has become.
pub(crate) type Slot = Arc<OwnedSemaphorePermit>;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) sites: Arc<Sites>,
    pub(crate) events: mpsc::UnboundedSender<RequestEvent>,
    pub(crate) config: GatewayConfig,
    pub(crate) challenges: Arc<Challenges>,
}

/// What the connections of one listener share.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tls: Option<TlsAcceptor>,
    /// Requests are sent to the same place with TLS at this port.
    pub(crate) redirect: Option<u16>,
    pub(crate) connections: TaskTracker,
    /// One for each connection that there may be.
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) closing: CancellationToken,
    pub(crate) closed: CancellationToken,
}

/// Accepts until it is closing.
pub(crate) async fn accept(listener: TcpListener, door: Door) {
    let mut full = Full::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = door.closing.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => match Arc::clone(&door.slots).try_acquire_owned() {
                Ok(slot) => {
                    door.connections
                        .spawn(serve(stream, address, Arc::new(slot), door.clone()));
                }
                // It is closed: whoever has one keeps it.
                Err(_) => full.say(),
            },
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Says that there are too many connections, not for each of them.
#[derive(Default)]
struct Full {
    closed: u64,
    said: Option<Instant>,
}

impl Full {
    fn say(&mut self) {
        self.closed += 1;
        if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            let closed = self.closed;
            tracing::warn!(
                closed,
                "there are too many connections: new ones are closed"
            );
            self.said = Some(Instant::now());
        }
    }
}

/// Serves one connection until its client leaves or the gateway closes.
async fn serve(stream: TcpStream, address: SocketAddr, slot: Slot, door: Door) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "could not set TCP_NODELAY");
    }
    let limit = door.shared.config.header_timeout;
    let address = address.ip();
    let (closing, tls) = (door.closing.clone(), door.tls.clone());
    match tls {
        None => {
            let http2 = tokio::time::timeout(limit, has_preface(&stream));
            if let Some(Ok(Ok(http2))) = closing.run_until_cancelled(http2).await {
                spoken(stream, http2, Client::plain(address, http2), slot, door).await;
            }
        }
        Some(acceptor) => {
            let accepted = tokio::time::timeout(limit, acceptor.accept(stream));
            match closing.run_until_cancelled(accepted).await {
                Some(Ok(Ok(stream))) => {
                    let (_, session) = stream.get_ref();
                    if session.alpn_protocol() == Some(crate::challenges::PROTOCOL) {
                        // The handshake was the answer.
                        return;
                    }
                    let http2 = session.alpn_protocol() == Some(b"h2");
                    let client = Client::tls(address, http2, session);
                    spoken(stream, http2, client, slot, door).await;
                }
                Some(Ok(Err(error))) => tracing::trace!(%error, "a client gave up TLS"),
                Some(Err(_)) | None => {}
            }
        }
    }
}

/// Serves a connection on which it is known what is spoken.
async fn spoken<S>(stream: S, http2: bool, client: Client, slot: Slot, door: Door)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let proxy = Proxy {
        shared: Arc::clone(&door.shared),
        client: Arc::new(client),
        redirect: door.redirect,
        tunnels: door.connections.clone(),
        slot,
        closed: door.closed.clone(),
    };
    let result = if http2 {
        two(stream, proxy, &door).await
    } else {
        one(stream, proxy, &door).await
    };
    if let Err(error) = result {
        tracing::trace!(%error, "a client's connection ended");
    }
}

/// Whether the first bytes are those of HTTP/2. They stay where they are.
async fn has_preface(stream: &TcpStream) -> std::io::Result<bool> {
    let mut bytes = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut bytes).await?;
        if count == 0 || bytes[..count] != PREFACE[..count] {
            return Ok(false);
        }
        if count == PREFACE.len() {
            return Ok(true);
        }
        tokio::time::sleep(PIECE_PAUSE).await;
    }
}

type Served = Pin<Box<dyn Future<Output = Result<Response<Tracked>, Infallible>> + Send>>;

fn service(
    proxy: Proxy,
    activity: Arc<Activity>,
) -> impl Fn(Request<hyper::body::Incoming>) -> Served + Send + Sync + Clone {
    move |request| {
        let proxy = proxy.clone();
        let in_request = activity.request();
        Box::pin(async move {
            let response = proxy.answer(request).await;
            Ok(response.map(|body| Tracked {
                body,
                _request: in_request,
            }))
        })
    }
}

async fn one<S>(stream: S, proxy: Proxy, door: &Door) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let config = &door.shared.config;
    let activity = Activity::new();
    let stream = Noticed {
        stream,
        activity: Arc::clone(&activity),
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Both limits are ours.
        .header_read_timeout(None)
        .max_headers(usize::try_from(config.max_headers).unwrap_or(usize::MAX))
        .max_buf_size(usize::try_from(config.max_header_size).unwrap_or(usize::MAX))
        .serve_connection(
            TokioIo::new(stream),
            service_fn(service(proxy, Arc::clone(&activity))),
        )
        .with_upgrades();
    tokio::pin!(connection);
    let expired = activity.expired(config.header_timeout, config.idle_timeout, true);
    tokio::select! {
        biased;
        () = door.closed.cancelled() => return Ok(()),
        () = door.closing.cancelled() => {}
        // Nobody waits for an answer: it may just go.
        () = expired => return Ok(()),
        result = connection.as_mut() => return result,
    }
    connection.as_mut().graceful_shutdown();
    match door.closed.run_until_cancelled(connection).await {
        Some(result) => result,
        None => Ok(()),
    }
}

async fn two<S>(stream: S, proxy: Proxy, door: &Door) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let config = &door.shared.config;
    let activity = Activity::new();
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(config.idle_timeout))
        .keep_alive_timeout(PING_LIMIT)
        // WebSockets (RFC 8441).
        .enable_connect_protocol()
        .max_header_list_size(u32::try_from(config.max_header_size).unwrap_or(u32::MAX))
        .serve_connection(
            TokioIo::new(stream),
            service_fn(service(proxy, Arc::clone(&activity))),
        );
    tokio::pin!(connection);
    let expired = activity.expired(config.header_timeout, config.idle_timeout, false);
    tokio::select! {
        biased;
        () = door.closed.cancelled() => return Ok(()),
        () = door.closing.cancelled() => {}
        () = expired => {}
        result = connection.as_mut() => return result,
    }
    connection.as_mut().graceful_shutdown();
    match door.closed.run_until_cancelled(connection).await {
        Some(result) => result,
        None => Ok(()),
    }
}
