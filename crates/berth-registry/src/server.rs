//! A listener for a registry of its own: connections, TLS, clients that are too slow.
//!
//! A client that does not send its request's head, or does not take its answer, loses its connection
//! after a while; so does one more than there may be, at once.

mod patient;
mod tls;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use berth_error::Hint;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use patient::Patient;
pub use tls::TlsError;
use tokio_rustls::rustls::server::ResolvesServerCert;

/// Rest after an `accept` that failed for want of descriptors or memory.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// Bytes that are read at once from a connection.
const READ_BUFFER: usize = 1024 * 1024;

/// What a client from elsewhere is told that does not speak TLS.
const NEEDS_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 55\r\n\
    Connection: close\r\n\r\nThis address speaks TLS: ask again with `https://` URLs";

/// The first byte of a TLS connection: a record of the type "handshake".
const HANDSHAKE: u8 = 0x16;

/// How the server treats its clients.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Certificate chain and key, both PEM; `None` serves plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// In the place of files: who chooses a certificate for each connection.
    pub resolver: Option<Arc<dyn ResolvesServerCert>>,
    /// With a certificate: who is served without TLS, too. The first byte of a connection says which it is.
    pub plain: Plain,
    /// Connections at the same time.
    pub max_connections: usize,
    /// A request's head must be complete, and a handshake done, after this time.
    pub head_timeout: Duration,
    /// A client must take some of its answer in this time.
    pub write_timeout: Duration,
    /// Requests under way may take this long after the server was told to stop.
    pub drain: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            tls: None,
            resolver: None,
            plain: Plain::Nobody,
            max_connections: 1024,
            head_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            drain: Duration::from_secs(10),
        }
    }
}

/// Whom a server with a certificate serves without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    /// Nobody.
    Nobody,
    /// Programs of this machine: clients whose address is of the loopback network.
    ThisMachine,
    /// Everybody.
    Everybody,
}

/// The server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is taken, or not ours.
    #[error("could not listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Hint for ServerError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                Some("another program listens there; give another `--listen`".to_owned())
            }
            Self::Listen { .. } => None,
            Self::Tls(error) => error.hint(),
        }
    }
}

/// A bound listener.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    options: ServerOptions,
}

impl Server {
    /// Listens; requests wait until [`Self::run`].
    pub async fn bind(address: SocketAddr, options: ServerOptions) -> Result<Self, ServerError> {
        let tls = options.tls.as_ref();
        let tls = match (&options.resolver, tls) {
            (Some(resolver), _) => Some(tls::resolved(Arc::clone(resolver))?),
            (None, Some((chain, key))) => Some(tls::acceptor(chain, key)?),
            (None, None) => None,
        };
        let listen = |source| ServerError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Self {
            listener,
            address,
            tls,
            options,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether clients come by HTTPS.
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Serves until it is told to stop, and then until requests under way have ended or the time to
    /// drain is over.
    pub async fn run(self, router: Router, stop: CancellationToken) {
        let shared = Arc::new(Shared {
            tls: self.tls,
            options: self.options,
            router,
            stop,
        });
        let slots = Arc::new(Semaphore::new(shared.options.max_connections));
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = shared.stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if error.kind() != io::ErrorKind::ConnectionAborted {
                        tracing::warn!(%error, "accepting a connection");
                        tokio::time::sleep(ACCEPT_BACKOFF).await;
                    }
                    continue;
                }
            };
            let Ok(slot) = slots.clone().try_acquire_owned() else {
                tracing::warn!("too many connections: one is closed");
                continue;
            };
            let shared = shared.clone();
            connections.spawn(async move {
                shared.connection(stream, peer).await;
                drop(slot);
            });
        }
        drop(self.listener);
        connections.close();
        if tokio::time::timeout(shared.options.drain, connections.wait())
            .await
            .is_err()
        {
            tracing::warn!("requests were cut off");
        }
    }
}

struct Shared {
    tls: Option<TlsAcceptor>,
    options: ServerOptions,
    router: Router,
    stop: CancellationToken,
}

impl Shared {
    async fn connection(&self, stream: TcpStream, peer: SocketAddr) {
        // Only costs latency if it fails.
        let _ = stream.set_nodelay(true);
        let plain = self.options.plain;
        let secure = plain == Plain::Nobody || self.is_handshake(&stream).await;
        let here = stream.local_addr().ok().map(|address| address.ip());
        if self.tls.is_some() && !secure && plain == Plain::ThisMachine && !is_near(peer.ip(), here)
        {
            return sent_away(stream).await;
        }
        let stream = Patient::new(stream, self.options.write_timeout);
        let Some(tls) = self.tls.as_ref().filter(|_| secure) else {
            return self.serve(stream, peer).await;
        };
        match tokio::time::timeout(self.options.head_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream, peer).await,
            Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
            Err(_) => tracing::debug!("a handshake took too long"),
        }
    }

    /// Whether a client begins with TLS. One that says nothing in time is none, and is sent away as such.
    async fn is_handshake(&self, stream: &TcpStream) -> bool {
        let mut first = [0];
        let peeked = tokio::time::timeout(self.options.head_timeout, stream.peek(&mut first));
        matches!(peeked.await, Ok(Ok(1))) && first == [HANDSHAKE]
    }

    async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
    ) {
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.options.head_timeout)
            .max_buf_size(READ_BUFFER)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// Whether a client is a program of this machine: it comes from the loopback network, or from the address that
/// it has come to.
fn is_near(peer: IpAddr, here: Option<IpAddr>) -> bool {
    peer.to_canonical().is_loopback() || Some(peer) == here
}

async fn sent_away(mut stream: TcpStream) {
    let told = async {
        stream.write_all(NEEDS_TLS).await?;
        stream.shutdown().await
    };
    // Whoever left has no need of it.
    let _ = tokio::time::timeout(ACCEPT_BACKOFF, told).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_this_machine_are_near() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (peer, here, near) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("::ffff:127.0.0.9", "::", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.2", "192.0.2.1", false),
            ("2001:db8::2", "2001:db8::1", false),
        ] {
            assert_eq!(is_near(ip(peer), Some(ip(here))), near, "{peer}");
        }
        assert!(!is_near(ip("192.0.2.2"), None));
    }

    #[test]
    fn what_is_told_is_whole() {
        let text = std::str::from_utf8(NEEDS_TLS).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    }
}
