//! The front door: HTTP and WebSockets to workerd, holding requests while it restarts.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use berth_error::Hint;
use tokio::sync::mpsc;

/// Settings of a gateway.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// Where to listen. Port 0: the kernel chooses.
    pub address: SocketAddr,
    /// How long a request waits for an upstream before it is answered with 503.
    pub hold_limit: Duration,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// One finished request.
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
            Self::Bind { .. } => None,
        }
    }
}

/// A running gateway. Dropping it closes the listener and every connection.
#[derive(Debug)]
pub struct Gateway {}

#[allow(unused_variables, clippy::todo, clippy::unused_async)]
impl Gateway {
    /// Listens. There is no upstream yet: requests are held until [`Gateway::set_upstream`].
    pub async fn bind(
        options: GatewayOptions,
        events: mpsc::UnboundedSender<RequestEvent>,
    ) -> Result<Self, GatewayError> {
        todo!()
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        todo!()
    }

    /// Sends requests there from now on. Connections to the former upstream are not reused.
    pub fn set_upstream(&self, upstream: Upstream) {
        todo!()
    }

    /// New requests wait (at most [`GatewayOptions::hold_limit`]) until [`Gateway::release`].
    pub fn hold(&self) {
        todo!()
    }

    /// Lets the held requests go to the upstream.
    pub fn release(&self) {
        todo!()
    }

    /// Waits until no request is in flight (held ones and WebSockets do not count), at most for
    /// `limit`. Returns how many still are.
    pub async fn drain(&self, limit: Duration) -> usize {
        todo!()
    }

    /// Closes the listener, waits for requests in flight at most for `limit`, closes the rest.
    pub async fn shutdown(self, limit: Duration) {
        todo!()
    }
}
