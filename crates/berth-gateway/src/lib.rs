//! The front door: HTTP and WebSockets to the workerd of each application, holding its requests while
//! it restarts.
//!
//! HTTP/1.1 and HTTP/2 in front, with and without TLS, HTTP/1.1 on pooled connections behind. Bodies stream both ways and are never
//! collected; an upgraded connection becomes a tunnel of bytes. Invariants: a request is counted
//! from before it looks whether it is held until its response has been passed on, so that
//! [`Site::hold`] followed by [`Site::drain`] misses none; a connection to an upstream that
//! has been replaced is never used again.
#![forbid(unsafe_code)]

mod acme;
mod activity;
mod body;
mod challenges;
mod gate;
mod headers;
mod pool;
mod proxy;
mod request_body;
mod server;
mod site;
mod sites;
mod tls;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_config::GatewayConfig;
use berth_error::Hint;
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use acme::{Acme, AcmeError};
pub use berth_config::RoutePattern;
pub use challenges::Challenges;
pub use gate::{Count, Epoch};
pub use site::Site;
pub use sites::{Sites, Table};
pub use tls::{CertificateError, Certificates, ListedCertificate};

use server::{Door, Shared};

/// Settings of a gateway.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// Where to listen, at least at one address. Port 0: the kernel chooses.
    pub http: Vec<SocketAddr>,
    /// Where to listen with TLS.
    pub https: Vec<SocketAddr>,
    /// The certificates for it; they may change.
    pub certificates: Arc<Certificates>,
    /// HTTP is answered with a redirection to HTTPS.
    pub redirect: bool,
    /// What a certificate authority is told; it may change.
    pub challenges: Arc<Challenges>,
    /// Limits, and who is trusted.
    pub config: GatewayConfig,
}

impl GatewayOptions {
    /// One address without TLS, where programs of this machine may say who the client is.
    pub fn at(address: SocketAddr) -> Self {
        let loopback = [
            IpNet::new(Ipv4Addr::LOCALHOST.into(), 8),
            IpNet::new(Ipv6Addr::LOCALHOST.into(), 128),
        ];
        Self {
            http: vec![address],
            https: Vec::new(),
            certificates: Arc::default(),
            redirect: false,
            challenges: Arc::default(),
            config: GatewayConfig {
                trusted_proxies: loopback.into_iter().flatten().collect(),
                ..GatewayConfig::default()
            },
        }
    }
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// One request, when its response begins (or there will be none).
#[derive(Clone, Debug)]
pub struct RequestEvent {
    /// Method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// Whose it was: the name of its [`Site`]; `None`: it has none, or nobody's.
    pub site: Option<Arc<str>>,
    /// Status of the response (101 for a WebSocket, 499 when the client went away first).
    pub status: u16,
    /// From the request's head to the response's head.
    pub duration: Duration,
}

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// Nowhere to listen.
    #[error("the gateway has no address to listen on")]
    NoAddress,
    /// The address is taken.
    #[error("port {} is already in use on {}", .address.port(), .address.ip())]
    AddrInUse {
        /// The address.
        address: SocketAddr,
    },
    /// It cannot be listened on.
    #[error("could not listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl Hint for GatewayError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::AddrInUse { .. } => {
                Some("stop the other program or choose another port with `--port`".to_owned())
            }
            Self::Bind { .. } | Self::NoAddress | Self::Tls(_) => None,
        }
    }
}

/// A running gateway. Dropping it closes the listener and every connection.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    connections: TaskTracker,
    /// Cancelled: no new connections, and idle ones close.
    closing: CancellationToken,
    /// Cancelled: every connection closes.
    closed: CancellationToken,
}

impl Gateway {
    /// Listens, for requests to these applications.
    ///
    /// # Errors
    ///
    /// [`GatewayError::AddrInUse`] if another program listens there, [`GatewayError::NoAddress`].
    pub async fn bind(
        options: GatewayOptions,
        sites: Arc<Sites>,
        events: mpsc::UnboundedSender<RequestEvent>,
    ) -> Result<Self, GatewayError> {
        let (mut plain, mut secure) = (Vec::new(), Vec::new());
        for address in options.http {
            plain.push(listen(address).await?);
        }
        for address in options.https {
            secure.push(listen(address).await?);
        }
        let address = |listeners: &[(TcpListener, SocketAddr)]| listeners.first().map(|one| one.1);
        let tls_address = address(&secure);
        let gateway = Self {
            address: address(&plain)
                .or(tls_address)
                .ok_or(GatewayError::NoAddress)?,
            tls_address,
            connections: TaskTracker::new(),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
        };
        let tls = tls::server_config(options.certificates, Arc::clone(&options.challenges))
            .map_err(GatewayError::Tls)?;
        let slots = usize::try_from(options.config.max_connections).unwrap_or(usize::MAX);
        let slots = slots.min(Semaphore::MAX_PERMITS);
        let redirect = tls_address.filter(|_| options.redirect);
        let door = Door {
            shared: Arc::new(Shared {
                sites,
                events,
                config: options.config,
                challenges: options.challenges,
            }),
            tls: None,
            redirect: redirect.map(|address| address.port()),
            connections: gateway.connections.clone(),
            slots: Arc::new(Semaphore::new(slots)),
            closing: gateway.closing.clone(),
            closed: gateway.closed.clone(),
        };
        for (listener, _) in plain {
            gateway
                .connections
                .spawn(server::accept(listener, door.clone()));
        }
        for (listener, _) in secure {
            let door = Door {
                tls: Some(TlsAcceptor::from(Arc::clone(&tls))),
                redirect: None,
                ..door.clone()
            };
            gateway.connections.spawn(server::accept(listener, door));
        }
        Ok(gateway)
    }

    /// The first address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The first address it listens on with TLS, if there is one.
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// Closes the listener, waits for requests in flight at most for `limit`, closes the rest.
    pub async fn shutdown(self, limit: Duration) {
        self.closing.cancel();
        self.connections.close();
        let _ = tokio::time::timeout(limit, self.connections.wait()).await;
        self.closed.cancel();
        self.connections.wait().await;
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), GatewayError> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AddrInUse => GatewayError::AddrInUse { address },
        _ => GatewayError::Bind { address, source },
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.closing.cancel();
        self.closed.cancel();
    }
}
