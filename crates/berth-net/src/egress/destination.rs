//! Which destinations a container may reach from the host.
//!
//! Refused unless allowed by configuration: the host's own addresses, loopback, "this network",
//! link-local (where clouds keep their metadata services), multicast and broadcast, the metadata
//! addresses outside these ranges, and the addresses beside the container's own, of which its
//! gateway is one: nobody is there. The address is judged when it is dialled, whatever name led to
//! it, so a name that changes its address (DNS rebinding) gains nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::Cidr;
use crate::namespace::{OWN4, OWN6};

/// Metadata services of clouds that are not link-local.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// An error that says why `address` may not be reached.
pub(crate) fn check(address: IpAddr, allowed: &[Cidr]) -> io::Result<()> {
    let address = address.to_canonical();
    if allowed.iter().any(|range| range.contains(address)) {
        return Ok(());
    }
    let reason = match reserved(address) {
        Some(reason) => reason,
        None if is_hosts_own(address)? => "an address of the host",
        None => return Ok(()),
    };
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("{address} is {reason}"),
    ))
}

fn reserved(address: IpAddr) -> Option<&'static str> {
    if METADATA.contains(&address) {
        return Some("a metadata service");
    }
    if beside_own(address) {
        return Some("beside the container's own, where nobody is");
    }
    match address {
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("of no network"),
        IpAddr::V4(v4) if v4.is_loopback() => Some("loopback"),
        IpAddr::V4(v4) if v4.is_link_local() => Some("link-local"),
        IpAddr::V4(v4) if v4.is_multicast() || v4.is_broadcast() => Some("not one host's"),
        IpAddr::V6(v6) if v6.is_unspecified() => Some("of no network"),
        IpAddr::V6(v6) if v6.is_loopback() => Some("loopback"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("link-local"),
        IpAddr::V6(v6) if v6.is_multicast() => Some("not one host's"),
        // IPv4 in IPv6 clothes (compatible, NAT64, 6to4): judged as what it carries.
        IpAddr::V6(v6) => embedded(v6).and_then(|inner| reserved(IpAddr::V4(inner))),
        IpAddr::V4(_) => None,
    }
}

/// Whether an address shares the container's /24 or /64.
fn beside_own(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[..3] == OWN4.octets()[..3],
        IpAddr::V6(v6) => v6.octets()[..8] == OWN6.octets()[..8],
    }
}

/// The IPv4 address that a transition mechanism would take out of an IPv6 one.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let at = |from: usize| {
        Ipv4Addr::new(
            octets[from],
            octets[from + 1],
            octets[from + 2],
            octets[from + 3],
        )
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => Some(at(12)),
        [0x2002, ..] => Some(at(2)),
        _ => None,
    }
}

/// Asks the host's routing tables whether `address` ends on the host itself.
fn is_hosts_own(address: IpAddr) -> io::Result<bool> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut route = RouteMessage::default();
    (
        route.header.address_family,
        route.header.destination_prefix_length,
    ) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    route.attributes = vec![RouteAttribute::Destination(address.into())];
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut request = NetlinkMessage::new(
        header,
        NetlinkPayload::from(RouteNetlinkMessage::GetRoute(route)),
    );
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answer =
        NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
    match answer.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => Ok(matches!(
            route.header.kind,
            RouteType::Local | RouteType::Broadcast | RouteType::Anycast | RouteType::Multicast
        )),
        // No way there at all: dialling says so.
        NetlinkPayload::Error(_) => Ok(false),
        _ => Err(io::Error::other("unexpected netlink answer")),
    }
}
