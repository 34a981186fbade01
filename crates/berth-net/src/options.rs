//! What a network is made with besides its egress.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// What differs between servers rather than between containers.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// Destinations that may be dialled although they are the host's own, loopback of the host or
    /// link-local. Empty by default: a container must not reach the engine or the host's services.
    pub allowed_destinations: Vec<Cidr>,
    /// Destinations that stand for another address, which is dialled instead whatever it is: single
    /// services of the host, such as its proxy, under an address that means nothing else inside.
    pub forwards: HashMap<SocketAddr, SocketAddr>,
    /// Names of addresses that are forwarded, for every container's `/etc/hosts`.
    pub names: Vec<(String, IpAddr)>,
    /// Resolvers asked for names, in order. `None`: those of the host's `/etc/resolv.conf`, read
    /// again when it changes.
    pub resolvers: Option<Vec<SocketAddr>>,
    /// Connections carried at the same time; further ones wait. Each takes two descriptors.
    pub max_connections: usize,
    /// UDP conversations carried at the same time; a further one replaces the idlest.
    pub max_udp_flows: usize,
    /// The network can be taken over by another process: see [`crate::Network::descriptors`].
    pub passes_on: bool,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            allowed_destinations: Vec::new(),
            forwards: HashMap::new(),
            names: Vec::new(),
            resolvers: None,
            max_connections: 2048,
            max_udp_flows: 256,
            passes_on: false,
        }
    }
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The addresses that share their first `prefix` bits with `address`; `None` when the prefix
    /// is longer than the address.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then_some(Self { address, prefix })
    }

    /// Whether `address` is in the range. Families do not mix.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(address: &str, prefix: u8) -> Cidr {
        Cidr::new(address.parse().unwrap(), prefix).unwrap()
    }

    #[test]
    fn a_range_holds_what_shares_its_prefix() {
        assert!(cidr("192.0.2.0", 24).contains("192.0.2.255".parse().unwrap()));
        assert!(!cidr("192.0.2.0", 24).contains("192.0.3.0".parse().unwrap()));
        assert!(cidr("0.0.0.0", 0).contains("255.255.255.255".parse().unwrap()));
        assert!(!cidr("0.0.0.0", 0).contains("::1".parse().unwrap()));
        assert!(cidr("fd00::", 8).contains("fdff::1".parse().unwrap()));
        assert!(cidr("::1", 128).contains("::1".parse().unwrap()));
        assert!(!cidr("::1", 128).contains("::2".parse().unwrap()));
    }

    #[test]
    fn a_prefix_longer_than_the_address_is_no_range() {
        assert!(Cidr::new("192.0.2.0".parse().unwrap(), 33).is_none());
        assert!(Cidr::new("::".parse().unwrap(), 129).is_none());
    }
}
