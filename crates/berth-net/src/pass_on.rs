//! What a network leaves to the process that takes it over: descriptors, and a record.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use socket2::Socket;

use crate::ca::{AuthorityRecord, Ca};
use crate::capture::Capture;
use crate::namespace::{DatagramPort, Namespace};
use crate::usage::Counters;
use crate::{Egress, NetError, Upstream};

/// Descriptors by name, in their order.
pub type Descriptors = BTreeMap<String, Vec<OwnedFd>>;

/// Namespace, capture, byte counts.
const OWN: &str = "net";
/// Captured connections, captured datagrams, answers to them: of IPv4, and of IPv6 where there is any.
const FAMILIES: [&str; 2] = ["net4", "net6"];

/// What a successor must know of a network besides its descriptors. The key of its certificate authority is
/// in it: for root's eyes only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    egress: Egress,
    authority: Option<AuthorityRecord>,
}

impl NetworkRecord {
    pub(crate) fn new(egress: Egress, authority: Option<AuthorityRecord>) -> Self {
        Self { egress, authority }
    }

    /// How traffic leaves from now on. Where workerd listened before, it does not any more, and somebody else
    /// may.
    pub(crate) fn egress(&self) -> Egress {
        let mut egress = self.egress.clone();
        if let Upstream::Tunnel(at) = &mut egress.upstream {
            *at = SocketAddr::new(at.ip(), 0);
        }
        egress
    }

    pub(crate) fn ca(&self) -> io::Result<Ca> {
        match &self.authority {
            Some(record) => Ca::adopt(record).map_err(io::Error::other),
            None => Ok(Ca::default()),
        }
    }
}

/// Second descriptors of a network's sockets.
#[derive(Debug)]
pub(crate) struct Sockets {
    families: Vec<[OwnedFd; 3]>,
}

impl Sockets {
    pub(crate) fn of(namespace: &Namespace) -> io::Result<Self> {
        let families = namespace.tcp.iter().zip(&namespace.udp);
        let copied = families.map(|(tcp, udp)| {
            Ok([
                OwnedFd::from(tcp.try_clone()?),
                udp.captured.try_clone()?.into(),
                udp.raw.try_clone()?.into(),
            ])
        });
        let families = copied.collect::<io::Result<_>>()?;
        Ok(Self { families })
    }

    /// Copies of them, and what else there is.
    pub(crate) fn descriptors(&self, own: Vec<OwnedFd>) -> io::Result<Descriptors> {
        let mut all = Descriptors::from([(OWN.to_owned(), own)]);
        for (name, family) in FAMILIES.into_iter().zip(&self.families) {
            let copies: io::Result<Vec<OwnedFd>> = family.iter().map(OwnedFd::try_clone).collect();
            all.insert(name.to_owned(), copies?);
        }
        Ok(all)
    }
}

/// Takes a network's descriptors out of what was left.
pub(crate) fn take(descriptors: &mut Descriptors) -> Result<(Namespace, Counters), NetError> {
    let incomplete = |what: &'static str| move |source| NetError::Incomplete { what, source };
    let mut three = |name: &str| -> Option<[OwnedFd; 3]> {
        let found = descriptors.remove(name)?;
        found.try_into().ok()
    };
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let own = three(OWN).ok_or_else(missing);
    let [fd, link, counters] = own.map_err(incomplete("namespace"))?;
    let counters = Counters::adopt(counters).map_err(incomplete("byte counts"))?;
    let (mut tcp, mut udp) = (Vec::new(), Vec::new());
    let inet4 = three(FAMILIES[0]).ok_or_else(missing);
    let inet4 = inet4.map_err(incomplete("sockets"))?;
    for [listener, captured, raw] in std::iter::once(inet4).chain(three(FAMILIES[1])) {
        tcp.push(TcpListener::from(listener));
        udp.push(DatagramPort {
            captured: UdpSocket::from(captured),
            raw: Socket::from(raw),
        });
    }
    let namespace = Namespace {
        fd,
        tcp,
        udp,
        // Opened when they are needed.
        ingress: Vec::new(),
        capture: Capture::adopt(link),
    };
    Ok((namespace, counters))
}
