//! The front door: HTTP and WebSockets to the workerd of each application, holding its requests while
//! it restarts.
//!
//! HTTP/1.1 in front, HTTP/1.1 on pooled connections behind. Bodies stream both ways and are never
//! collected; an upgraded connection becomes a tunnel of bytes. Invariants: a request is counted
//! from before it looks whether it is held until its response has been passed on, so that
//! [`Site::hold`] followed by [`Site::drain`] misses none; a connection to an upstream that
//! has been replaced is never used again.
#![forbid(unsafe_code)]

mod body;
mod gate;
mod headers;
mod pool;
mod proxy;
mod server;
mod site;
mod sites;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_error::Hint;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use berth_config::RoutePattern;
pub use gate::{Count, Epoch};
pub use site::Site;
pub use sites::{Sites, Table};

use server::Shared;

/// Settings of a gateway.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// Where to listen, at least at one address. Port 0: the kernel chooses.
    pub http: Vec<SocketAddr>,
}

impl GatewayOptions {
    /// One address without TLS, and the defaults.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            http: vec![address],
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
    /// Status of the response (101 for a WebSocket, 499 when the client went away first).
    pub status: u16,
    /// From the request's head to the response's head.
    pub duration: Duration,
}

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
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
            Self::Bind { .. } | Self::NoAddress => None,
        }
    }
}

/// A running gateway. Dropping it closes the listener and every connection.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
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
        let mut listeners = Vec::new();
        for address in options.http {
            listeners.push(listen(address).await?);
        }
        let first = listeners.first().map(|(_, address)| *address);
        let gateway = Self {
            address: first.ok_or(GatewayError::NoAddress)?,
            connections: TaskTracker::new(),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
        };
        let shared = Arc::new(Shared { sites, events });
        for (listener, _) in listeners {
            let accepting = server::accept(
                listener,
                Arc::clone(&shared),
                gateway.connections.clone(),
                gateway.closing.clone(),
                gateway.closed.clone(),
            );
            gateway.connections.spawn(accepting);
        }
        Ok(gateway)
    }

    /// The first address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
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
