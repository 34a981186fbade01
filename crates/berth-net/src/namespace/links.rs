//! Interfaces, addresses and routes of a new namespace, by netlink.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::{OWN4, OWN6};
use crate::NetError;

const LOOPBACK: u32 = 1;
/// Away from the tunnel devices that some kernels put into every namespace.
const ETHERNET: u32 = 100;

const GATEWAY4: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd10, 0x88, 0, 0, 0, 0, 0, 1);

/// The kernel's table of local addresses, which is asked before the main one.
const TABLE_LOCAL: u8 = 255;

/// Sets the calling thread's namespace up.
pub(super) fn configure(inet6: bool) -> Result<(), NetError> {
    let fail = |what| move |source| NetError::Configure { what, source };
    let netlink = Netlink::open().map_err(fail("netlink"))?;
    netlink.up(LOOPBACK).map_err(fail("`lo`"))?;
    let ethernet = netlink.ethernet().map_err(fail("`eth0`"))?;
    // Without one the addresses go on the loopback interface.
    let device = if ethernet { ETHERNET } else { LOOPBACK };
    // /32, and the gateway on the link by decree: the kernel searches its local and main tables as
    // one, so a route to 10.88.0.0/24 would win over the capture of everything.
    let own4 = (IpAddr::V4(OWN4), 32, IpAddr::V4(GATEWAY4));
    let own6 = (IpAddr::V6(OWN6), 64, IpAddr::V6(GATEWAY6));
    for (own, prefix, gateway) in std::iter::once(own4).chain(inet6.then_some(own6)) {
        netlink
            .address(device, own, prefix)
            .map_err(fail("the address"))?;
        if ethernet {
            netlink
                .gateway(device, gateway)
                .map_err(fail("the default route"))?;
        }
        // Last: a gateway may not be local.
        netlink
            .everything_local(own)
            .map_err(fail("the capture route"))?;
    }
    Ok(())
}

/// A netlink conversation in the calling thread's namespace.
struct Netlink {
    socket: Socket,
}

impl Netlink {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket })
    }

    /// Sends a request and waits for its acknowledgement.
    fn ask(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let (reply, _) = self.socket.recv_from_full()?;
        let reply =
            NetlinkMessage::<RouteNetlinkMessage>::deserialize(&reply).map_err(io::Error::other)?;
        match reply.payload {
            NetlinkPayload::Error(error) if error.code.is_none() => Ok(()),
            NetlinkPayload::Error(error) => Err(error.to_io()),
            _ => Err(io::Error::other("unexpected netlink answer")),
        }
    }

    fn up(&self, device: u32) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = device;
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        self.ask(RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Makes `eth0` of a kind that takes packets and does nothing with them. `false` when the
    /// kernel was built without any such kind.
    fn ethernet(&self) -> io::Result<bool> {
        for kind in [InfoKind::Dummy, InfoKind::Ifb] {
            match self.link(ETHERNET, "eth0", kind) {
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
                result => return result.map(|()| true),
            }
        }
        Ok(false)
    }

    fn link(&self, device: u32, name: &str, kind: InfoKind) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = device;
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        link.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]),
        ];
        self.ask(
            RouteNetlinkMessage::NewLink(link),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    fn address(&self, device: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(address);
        message.header.index = device;
        message.header.prefix_len = prefix;
        message.header.scope = AddressScope::Universe;
        // Without duplicate detection the address can be used at once.
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes = vec![
            AddressAttribute::Local(address),
            AddressAttribute::Address(address),
        ];
        self.ask(
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    /// Makes every address local. `source` is what the container's connections come from.
    fn everything_local(&self, source: IpAddr) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(source);
        message.header.table = TABLE_LOCAL;
        message.header.protocol = RouteProtocol::Boot;
        message.header.scope = RouteScope::Host;
        message.header.kind = RouteType::Local;
        message.attributes = vec![
            RouteAttribute::Oif(LOOPBACK),
            RouteAttribute::PrefSource(source.into()),
        ];
        self.ask(
            RouteNetlinkMessage::NewRoute(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    fn gateway(&self, device: u32, gateway: IpAddr) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(gateway);
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Boot;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        message.header.flags = RouteFlags::Onlink;
        message.attributes = vec![
            RouteAttribute::Oif(device),
            RouteAttribute::Gateway(gateway.into()),
        ];
        self.ask(
            RouteNetlinkMessage::NewRoute(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
