//! Writing IP packets: datagrams from any address, and refusals.

use std::net::{IpAddr, SocketAddr};

const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;
const HOPS: u8 = 64;
const UDP_HEADER: usize = 8;

/// An IP packet with a UDP datagram in it. `None` when the families differ or it is too long.
pub(super) fn datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
    let udp = udp(from, to, payload)?;
    packet(from.ip(), to.ip(), UDP, &udp)
}

/// The packet by which a router refuses the datagram `from` → `to`: port unreachable, which a
/// program sees as `ECONNREFUSED`. It names the first 8 bytes of the datagram, which are its
/// header.
pub(super) fn unreachable(from: SocketAddr, to: SocketAddr) -> Option<Vec<u8>> {
    let refused = packet(from.ip(), to.ip(), UDP, &udp(from, to, &[])?)?;
    let (protocol, kind, code) = match to {
        SocketAddr::V4(_) => (ICMP, 3, 3),
        SocketAddr::V6(_) => (ICMP6, 1, 4),
    };
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend(refused);
    let sum = match (to.ip(), from.ip()) {
        // In IPv6 the addresses are summed too.
        (IpAddr::V6(_), IpAddr::V6(_)) => transport_sum(to.ip(), from.ip(), protocol, &message)?,
        _ => fold(sum(&message)),
    };
    message[2..4].copy_from_slice(&(!sum).to_be_bytes());
    packet(to.ip(), from.ip(), protocol, &message)
}

fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(UDP_HEADER + payload.len()).ok()?;
    let mut udp = Vec::with_capacity(usize::from(length));
    udp.extend(from.port().to_be_bytes());
    udp.extend(to.port().to_be_bytes());
    udp.extend(length.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let sum = !transport_sum(from.ip(), to.ip(), UDP, &udp)?;
    // 0 would mean that there is none.
    let sum = if sum == 0 { u16::MAX } else { sum };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    Some(udp)
}

fn packet(from: IpAddr, to: IpAddr, protocol: u8, content: &[u8]) -> Option<Vec<u8>> {
    let mut packet = Vec::with_capacity(40 + content.len());
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = u16::try_from(20 + content.len()).ok()?;
            packet.extend([0x45, 0]);
            packet.extend(length.to_be_bytes());
            packet.extend([0, 0, 0, 0, HOPS, protocol, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            let sum = !fold(sum(&packet));
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let length = u16::try_from(content.len()).ok()?;
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(length.to_be_bytes());
            packet.extend([protocol, HOPS]);
            packet.extend(from.octets());
            packet.extend(to.octets());
        }
        _ => return None,
    }
    packet.extend(content);
    Some(packet)
}

/// The folded sum over the pseudo header and `content`; a checksum is its complement.
fn transport_sum(from: IpAddr, to: IpAddr, protocol: u8, content: &[u8]) -> Option<u16> {
    let addresses = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => sum(&from.octets()) + sum(&to.octets()),
        (IpAddr::V6(from), IpAddr::V6(to)) => sum(&from.octets()) + sum(&to.octets()),
        _ => return None,
    };
    let length = u64::try_from(content.len()).ok()?;
    Some(fold(
        addresses + u64::from(protocol) + length + sum(content),
    ))
}

fn sum(bytes: &[u8]) -> u64 {
    let (pairs, last) = bytes.as_chunks::<2>();
    let pairs: u64 = pairs
        .iter()
        .map(|pair| u64::from(u16::from_be_bytes(*pair)))
        .sum();
    pairs + last.first().map_or(0, |byte| u64::from(*byte) << 8)
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    // Nothing is left above 16 bits.
    (sum & 0xffff) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ip_checksum_is_that_of_a_known_header() {
        // The worked example that textbooks give: 192.168.0.1 → 192.168.0.199, 115 bytes of UDP,
        // flags DF, checksum b861.
        let header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0x00, 0x00, 0xc0, 0xa8,
            0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert_eq!(!fold(sum(&header)), 0xb861);
    }

    #[test]
    fn families_do_not_mix_and_lengths_have_an_end() {
        let four: SocketAddr = "192.0.2.1:1".parse().unwrap();
        let six: SocketAddr = "[2001:db8::1]:1".parse().unwrap();
        assert!(datagram(four, six, b"x").is_none());
        assert!(unreachable(six, four).is_none());
        assert!(datagram(four, four, &[0; 65_508]).is_none());
        assert!(datagram(four, four, &[0; 65_507]).is_some());
    }

    proptest! {
        #[test]
        fn sums_check_out(payload: Vec<u8>, from: u16, to: u16) {
            for (from, to) in [
                (SocketAddr::new([192, 0, 2, 1].into(), from), SocketAddr::new([10, 88, 0, 2].into(), to)),
                (SocketAddr::new([9; 16].into(), from), SocketAddr::new([7; 16].into(), to)),
            ] {
                let udp = udp(from, to, &payload).unwrap();
                prop_assert_eq!(transport_sum(from.ip(), to.ip(), UDP, &udp), Some(0xffff));
            }
        }
    }
}
