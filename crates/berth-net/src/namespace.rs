//! Making a container's network namespace: interfaces, routes, settings, our sockets, the capture.
//!
//! What a container sees: `lo`, and an `eth0` that leads nowhere, with [`OWN4`]/32, [`OWN6`]/64 and default
//! routes, because programs look for an interface that is not loopback. What really happens:
//! every address is *local* (`local default dev lo` in the local table), so that everything the
//! container sends comes back up the loopback interface into the [capture](crate::capture). No
//! packet can leave: there is no device that leads out.
//!
//! ICMP is therefore answered by the container's own kernel: `ping` of any address succeeds.

mod links;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::NetError;
use crate::capture::{self, Capture, Targets};
use crate::worker;

/// The IPv4 address of every container: they cannot reach each other, so it need not differ.
pub(crate) const OWN4: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 2);
/// The IPv6 address of every container.
pub(crate) const OWN6: Ipv6Addr = Ipv6Addr::new(0xfd10, 0x88, 0, 0, 0, 0, 0, 2);

/// Our sockets listen on this loopback address and port, which are nobody's: the address is not
/// the one that servers bind and the port has no assigned service. A server on the wildcard
/// address with this very port is the one thing that a container cannot run.
const SOCKETS4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)), 4);
const SOCKETS6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 4);

/// Connections waiting to be accepted.
const BACKLOG: i32 = 4096;

const SYSCTLS: [(&str, &str); 2] = [
    // As Docker: a server need not be root to listen on port 80.
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
    // As Docker: `ping` works without CAP_NET_RAW.
    ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
];

/// Skipped where the kernel was built without IPv6.
const SYSCTLS6: [(&str, &str); 2] = [
    ("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0"),
    ("/proc/sys/net/ipv6/conf/default/accept_ra", "0"),
];

/// A namespace with our ends of it.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) fd: OwnedFd,
    pub(crate) tcp: Vec<TcpListener>,
    pub(crate) udp: Vec<DatagramPort>,
    /// For connections into the namespace.
    pub(crate) ingress: Vec<Socket>,
    pub(crate) capture: Capture,
}

/// Where the datagrams of one address family arrive and are answered.
#[derive(Debug)]
pub(crate) struct DatagramPort {
    /// Receives, with the original destination in a control message.
    pub(crate) captured: UdpSocket,
    /// Sends packets whose header we write, to answer with any source address.
    pub(crate) raw: Socket,
}

/// Makes a namespace.
pub(crate) async fn create() -> Result<Namespace, NetError> {
    worker::get(&worker::MAKER)
        .map_err(NetError::Thread)?
        .run(create_here)
        .await
        .map_err(NetError::Thread)?
}

/// Moves the calling thread into a new namespace and sets it up.
fn create_here() -> Result<Namespace, NetError> {
    crate::sys::unshare::new_network_namespace().map_err(NetError::Namespace)?;
    let fd = worker::current_namespace().map_err(NetError::Namespace)?;
    let inet6 = std::path::Path::new("/proc/sys/net/ipv6").exists();
    for (path, value) in SYSCTLS {
        sysctl(path, value)?;
    }
    if inet6 {
        for (path, value) in SYSCTLS6 {
            sysctl(path, value)?;
        }
    }
    links::configure(inet6)?;
    let tcp4 = listener(SOCKETS4)?;
    let udp4 = datagrams(SOCKETS4)?;
    let (tcp6, udp6) = if inet6 {
        (Some(listener(SOCKETS6)?), Some(datagrams(SOCKETS6)?))
    } else {
        (None, None)
    };
    let targets = Targets {
        tcp4: tcp4.as_fd(),
        tcp6: tcp6.as_ref().map(|socket| socket.as_fd()),
        udp4: udp4.captured.as_fd(),
        udp6: udp6.as_ref().map(|port| port.captured.as_fd()),
    };
    let capture = capture::attach(fd.as_fd(), &targets, OWN4, OWN6).map_err(NetError::Capture)?;
    Ok(Namespace {
        fd,
        tcp: std::iter::once(tcp4).chain(tcp6).collect(),
        udp: std::iter::once(udp4).chain(udp6).collect(),
        ingress: crate::ingress::sockets(),
        capture,
    })
}

fn sysctl(path: &'static str, value: &str) -> Result<(), NetError> {
    std::fs::write(path, value).map_err(|source| NetError::Sysctl { path, source })
}

fn listener(address: SocketAddr) -> Result<TcpListener, NetError> {
    let open = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    open().map_err(|source| NetError::Socket {
        what: "connection capture",
        source,
    })
}

fn datagrams(address: SocketAddr) -> Result<DatagramPort, NetError> {
    let domain = Domain::for_address(address);
    let open = || -> io::Result<DatagramPort> {
        let socket = Socket::new(domain, Type::DGRAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        crate::sys::datagram::report_destination(socket.as_fd(), address.is_ipv6())?;
        socket.bind(&address.into())?;
        socket.set_nonblocking(true)?;
        let raw = Socket::new(domain, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
        raw.set_nonblocking(true)?;
        Ok(DatagramPort {
            captured: socket.into(),
            raw,
        })
    };
    open().map_err(|source| NetError::Socket {
        what: "datagram capture",
        source,
    })
}
