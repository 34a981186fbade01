//! Datagrams of a container that are no name look-ups.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::world::{OUTSIDE4, OUTSIDE6, in_world, inside, internet, network, offline, options};
use crate::{Egress, Network, NetworkOptions, Upstream};

/// Answers every datagram with its sender's address as this host sees it, and the datagram.
pub(super) async fn serve_echo(address: &str) -> SocketAddr {
    let address = SocketAddr::new(address.parse::<IpAddr>().unwrap(), 0);
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::DGRAM,
        None,
    )
    .unwrap();
    if address.is_ipv6() {
        socket.set_freebind_v6(true).unwrap();
    }
    socket.bind(&address.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = tokio::net::UdpSocket::from_std(socket.into()).unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_535];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            socket.send_to(&buffer[..length], peer).await.unwrap();
        }
    });
    address
}

pub(super) fn client(server: SocketAddr) -> UdpSocket {
    let any: IpAddr = if server.is_ipv4() {
        [0; 4].into()
    } else {
        [0; 16].into()
    };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    socket
}

#[test]
fn datagrams_are_relayed_and_answers_come_from_whom_was_asked() {
    in_world(|| async {
        for address in [OUTSIDE4, OUTSIDE6] {
            let server = serve_echo(address).await;
            let network = network(internet()).await;
            inside(&network, move || {
                // Unconnected, so that the answer's source is seen.
                let socket = client(server);
                let mut buffer = vec![0; 65_535];
                for payload in [&b"ping"[..], b"", &[7; 9000]] {
                    socket.send_to(payload, server).unwrap();
                    let (length, source) = socket.recv_from(&mut buffer).unwrap();
                    assert_eq!((&buffer[..length], source), (payload, server));
                }
            })
            .await;
            let usage = network.usage();
            assert_eq!((usage.egress_bytes, usage.ingress_bytes), (9004, 9004));
        }
    });
}

/// What a connected socket learns about the destination.
fn fate(server: SocketAddr) -> ErrorKind {
    let socket = client(server);
    socket.connect(server).unwrap();
    socket.send(b"x").unwrap();
    socket.recv(&mut [0; 16]).unwrap_err().kind()
}

#[test]
fn what_may_not_leave_is_refused_at_once() {
    in_world(|| async {
        for address in [OUTSIDE4, OUTSIDE6] {
            let server = serve_echo(address).await;
            let network = network(offline()).await;
            assert_eq!(
                inside(&network, move || fate(server)).await,
                ErrorKind::ConnectionRefused
            );
            network.set_egress(internet());
            let metadata: SocketAddr = "169.254.169.254:123".parse().unwrap();
            let outcome = inside(&network, move || fate(metadata)).await;
            assert_eq!(outcome, ErrorKind::ConnectionRefused);
        }
    });
}

#[test]
fn a_closed_port_outside_refuses() {
    in_world(|| async {
        let (listener, nobody) = super::world::listen(OUTSIDE4).await;
        let network = network(internet()).await;
        assert_eq!(
            inside(&network, move || fate(nobody)).await,
            ErrorKind::ConnectionRefused
        );
        drop(listener);
    });
}

#[test]
fn quic_is_refused_while_workerd_decides() {
    in_world(|| async {
        let egress = Egress {
            upstream: Upstream::Tunnel("127.0.0.1:9".parse().unwrap()),
            ..internet()
        };
        let network = network(egress).await;
        let server = SocketAddr::new(OUTSIDE4.parse().unwrap(), 443);
        assert_eq!(
            inside(&network, move || fate(server)).await,
            ErrorKind::ConnectionRefused
        );
    });
}

#[test]
fn the_idlest_conversation_gives_way() {
    in_world(|| async {
        let server = serve_echo(OUTSIDE4).await;
        let options = NetworkOptions {
            max_udp_flows: 4,
            ..options()
        };
        let network = Network::create_with(internet(), options).await.unwrap();
        inside(&network, move || {
            for _ in 0..32 {
                let socket = client(server);
                socket.send_to(b"x", server).unwrap();
                assert_eq!(socket.recv(&mut [0; 16]).unwrap(), 1);
            }
        })
        .await;
    });
}
