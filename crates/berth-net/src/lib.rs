//! The network of a container: a namespace of its own, ingress by sockets opened inside it, egress
//! captured inside it and carried by tasks of ours.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

/// One network sandbox: namespace, egress proxy, resolver.
#[derive(Debug)]
pub struct Network {}

/// Where connections leave to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// Dial the destination from the host.
    Direct,
    /// `CONNECT` to workerd's egress listener, which decides.
    Tunnel(SocketAddr),
}

/// Which names resolve although the internet is off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsPolicy {
    /// Shell globs over the whole host name; `*` is everything.
    pub allow_hostnames: Vec<String>,
}

/// How traffic leaves. Changes apply to new connections, atomically.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// Where connections go.
    pub upstream: Upstream,
    /// Whether names resolve and (with [`Upstream::Direct`]) destinations may be dialled.
    pub internet: bool,
    /// Names that resolve anyway.
    pub dns: DnsPolicy,
}

/// Bytes carried since the network was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkUsage {
    /// From the container outwards.
    pub egress_bytes: u64,
    /// From outside into the container, replies to its connections included.
    pub ingress_bytes: u64,
}

/// Why a network could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NetError {}

/// Address that a container's `/etc/resolv.conf` names.
pub const RESOLVER_ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 88, 0, 53));

#[allow(unused_variables, missing_docs, clippy::todo, clippy::unused_async)]
impl Network {
    /// Makes a namespace and starts its tasks on the current tokio runtime.
    pub async fn create(egress: Egress) -> Result<Arc<Self>, NetError> {
        todo!()
    }
    /// The namespace, to start processes in.
    pub fn namespace(&self) -> BorrowedFd<'_> {
        todo!()
    }
    /// A second descriptor of the namespace.
    pub fn namespace_owned(&self) -> std::io::Result<OwnedFd> {
        todo!()
    }
    pub fn set_egress(&self, egress: Egress) {
        todo!()
    }
    pub fn egress(&self) -> Egress {
        todo!()
    }
    /// Connects to `127.0.0.1:port` **inside** the namespace. `ConnectionRefused` when nothing listens.
    pub async fn connect(&self, port: u16) -> std::io::Result<tokio::net::TcpStream> {
        todo!()
    }
    pub fn usage(&self) -> NetworkUsage {
        todo!()
    }
    /// Stops the tasks and closes every connection. Also done when the last handle is dropped.
    pub fn close(&self) {
        todo!()
    }
    /// PEM of the CA that signs intercepted TLS connections; made on first use.
    pub fn ca_pem(&self) -> String {
        todo!()
    }
}
