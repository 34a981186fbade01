//! The network of a container: a namespace of its own, ingress by sockets opened inside it, egress
//! captured inside it and carried by tasks of ours.
//!
//! Role: everything between a container's sockets and the outside: TCP and UDP relays, the
//! resolver, the way to workerd, the interception CA, byte counts. Owner: the engine holds one
//! [`Network`] per sandbox and closes it with the sandbox.
//!
//! Invariants:
//! - A namespace has no device that leads out. What is not carried by a task here does not leave.
//! - A container cannot reach loopback, the host's own addresses or link-local addresses of the
//!   host, unless [`NetworkOptions::allowed_destinations`] says so.
//! - Nothing of a network outlives [`Network::close`] but the namespace itself, which lives as long
//!   as its descriptors and processes; and what somebody was given to take it over with.

mod ca;
mod capture;
mod dns;
mod egress;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod ingress;
mod namespace;
mod network;
mod options;
mod pass_on;
mod peer;
mod pool;
mod relay;
mod sys;
#[cfg(test)]
mod tests;
mod udp;
mod usage;
mod worker;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

pub use error::NetError;
pub use network::Network;
pub use options::{Cidr, NetworkOptions};
pub use pass_on::{Descriptors, NetworkRecord};
pub use peer::{Peer, peer};
pub use pool::NetworkPool;
pub use usage::NetworkUsage;

/// Where connections leave to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Upstream {
    /// Dial the destination from the host.
    Direct,
    /// `CONNECT` to workerd's egress listener, which decides. With port 0 nobody knows yet where that is:
    /// connections wait a while for somebody to say so.
    Tunnel(SocketAddr),
}

/// Which names resolve although the internet is off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsPolicy {
    /// Shell globs over the whole host name; `*` is everything.
    pub allow_hostnames: Vec<String>,
}

/// How traffic leaves. Changes apply to new connections, atomically.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Egress {
    /// Where connections go.
    pub upstream: Upstream,
    /// Whether names resolve and (with [`Upstream::Direct`]) destinations may be dialled.
    pub internet: bool,
    /// Names that resolve anyway.
    pub dns: DnsPolicy,
}

/// An address that means nobody inside a container, for [`NetworkOptions::forwards`] to services of
/// the host: that of its gateway.
pub const HOST_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 88, 0, 1));

/// Address that a container's `/etc/resolv.conf` names. Port 53 of every other address that is not
/// the container's own is answered by the same resolver.
pub const RESOLVER_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 88, 0, 53));
