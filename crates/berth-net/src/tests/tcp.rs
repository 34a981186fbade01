//! Connections of a container outwards, dialled directly.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::world::{
    OUTSIDE4, OUTSIDE6, exchange, in_world, inside, internet, listen, network, offline,
    start_inside,
};

/// Answers every connection with what it sent, backwards, after its end.
async fn serve_reversed(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
            bytes.reverse();
            stream.write_all(&bytes).await.unwrap();
        });
    }
}

#[test]
fn a_destination_outside_is_reached_and_half_close_passes() {
    in_world(|| async {
        for address in [OUTSIDE4, OUTSIDE6] {
            let (listener, address) = listen(address).await;
            tokio::spawn(serve_reversed(listener));
            let network = network(internet()).await;
            let answer = inside(&network, move || exchange(address, b"drawer")).await;
            assert_eq!(answer.unwrap(), b"reward");
            let usage = network.usage();
            assert_eq!((usage.egress_bytes, usage.ingress_bytes), (6, 6));
        }
    });
}

#[test]
fn an_own_listener_does_not_swallow_outside_connections() {
    in_world(|| async {
        let (listener, address) = listen(OUTSIDE4).await;
        tokio::spawn(serve_reversed(listener));
        let network = network(internet()).await;
        let port = address.port();
        let answer = inside(&network, move || {
            let _own = std::net::TcpListener::bind(("0.0.0.0", port)).unwrap();
            exchange(address, b"ab")
        })
        .await;
        assert_eq!(answer.unwrap(), b"ba");
    });
}

/// Reads from a connection that must not carry anything.
fn fate(address: SocketAddr) -> std::io::Result<usize> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.read(&mut [0; 16])
}

#[test]
fn without_internet_connections_are_reset_and_nothing_is_dialled() {
    in_world(|| async {
        let (listener, address) = listen(OUTSIDE4).await;
        let network = network(offline()).await;
        let result = inside(&network, move || fate(address)).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionReset);
        network.set_egress(internet());
        let accepted = tokio::spawn(async move { listener.accept().await.unwrap() });
        let answer = start_inside(&network, move || exchange(address, b""));
        let (stream, _) = accepted.await.unwrap();
        drop(stream);
        assert_eq!(answer.await.unwrap().unwrap(), b"");
    });
}

#[test]
fn a_destination_that_refuses_resets_the_connection() {
    in_world(|| async {
        let (listener, address) = listen(OUTSIDE4).await;
        drop(listener);
        let network = network(internet()).await;
        let result = inside(&network, move || fate(address)).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn the_hosts_own_and_metadata_addresses_are_refused() {
    in_world(|| async {
        // In the private host every address is local, so each is the host's own, and a service
        // listens on all of them.
        let (listener, address) = listen("0.0.0.0").await;
        let (listener6, _) = listen("::").await;
        let port = address.port();
        let network = network(internet()).await;
        for address in [
            "203.0.113.5",
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "0.1.2.3",
            "224.0.0.1",
            // The container's gateway, which many take for the host.
            "10.88.0.1",
            "fd10:88::1",
            "fd00:ec2::254",
            "ff02::1",
            // IPv4 addresses in IPv6 notations: mapped, compatible, NAT64, 6to4.
            "::ffff:169.254.169.254",
            "::ffff:203.0.113.5",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::",
            "2002:7f00:1::",
        ] {
            let to = SocketAddr::new(address.parse().unwrap(), port);
            let result = inside(&network, move || fate(to)).await;
            assert!(
                result.is_err_and(|error| matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::NetworkUnreachable
                )),
                "{address}"
            );
        }
        for listener in [listener, listener6] {
            let nobody = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
            assert!(nobody.is_err());
        }
    });
}

#[test]
fn loopback_is_the_containers_own_in_every_notation() {
    in_world(|| async {
        let (host, address) = listen("127.0.0.1").await;
        let port = address.port();
        let network = network(internet()).await;
        let other = super::world::network(internet()).await;
        let _neighbour = inside(&other, move || {
            std::net::TcpListener::bind(("0.0.0.0", port)).unwrap()
        });
        for name in [
            "127.0.0.1",
            "127.9.9.9",
            "localhost",
            "2130706433",
            "0x7f000001",
            "017700000001",
            "127.1",
            "0",
            "::1",
            "::ffff:127.0.0.1",
        ] {
            let refused = inside(&network, move || TcpStream::connect((name, port)).err()).await;
            let refused = refused.map(|error| error.kind());
            assert_eq!(refused, Some(ErrorKind::ConnectionRefused), "{name}");
        }
        let nobody = tokio::time::timeout(Duration::from_millis(50), host.accept()).await;
        assert!(nobody.is_err());
    });
}

#[test]
fn our_own_sockets_in_the_namespace_lead_nowhere() {
    in_world(|| async {
        let network = network(internet()).await;
        for address in ["127.0.0.3:4", "[::1]:4"] {
            let address: SocketAddr = address.parse().unwrap();
            let result = inside(&network, move || fate(address)).await;
            assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn a_reset_passes_through_in_both_directions() {
    in_world(|| async {
        let (listener, address) = listen(OUTSIDE4).await;
        let network = network(internet()).await;
        // From outside.
        let result = start_inside(&network, move || fate(address));
        let (stream, _) = listener.accept().await.unwrap();
        SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(stream);
        assert_eq!(
            result.await.unwrap().unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
        // From inside.
        let client = start_inside(&network, move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"x").unwrap();
            stream
        });
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        let client = client.await.unwrap();
        SockRef::from(&client)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(client);
        let error = stream.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_hundred_megabytes_pass_each_way() {
    const BODY: usize = 100 << 20;
    in_world(|| async {
        let (listener, address) = listen(OUTSIDE4).await;
        let network = network(internet()).await;
        let client = start_inside(&network, move || {
            let mut sender = TcpStream::connect(address).unwrap();
            let mut receiver = sender.try_clone().unwrap();
            let sending = std::thread::spawn(move || {
                let chunk: Vec<u8> = (0..=250).cycle().take(1 << 20).collect();
                for _ in 0..100 {
                    sender.write_all(&chunk).unwrap();
                }
                sender.shutdown(Shutdown::Write).unwrap();
            });
            let mut sum = 0u64;
            let mut total = 0;
            let mut chunk = vec![0; 1 << 20];
            loop {
                let length = receiver.read(&mut chunk).unwrap();
                if length == 0 {
                    break;
                }
                total += length;
                sum += chunk[..length]
                    .iter()
                    .map(|byte| u64::from(*byte))
                    .sum::<u64>();
            }
            sending.join().unwrap();
            (total, sum)
        });
        let (stream, _) = listener.accept().await.unwrap();
        let (mut read, mut write) = stream.into_split();
        // An echo: what arrives goes back.
        let echoed = tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
        let (total, sum) = client.await.unwrap();
        let chunk: u64 = (0..1u64 << 20).map(|at| at % 251).sum();
        assert_eq!((echoed, total, sum), (BODY as u64, BODY, 100 * chunk));
        let usage = network.usage();
        assert_eq!(usage.egress_bytes, BODY as u64);
        assert_eq!(usage.ingress_bytes, BODY as u64);
    });
}

#[test]
fn two_hundred_connections_at_once() {
    in_world(|| async {
        let (listener, address) = listen(OUTSIDE4).await;
        tokio::spawn(serve_reversed(listener));
        let network = network(internet()).await;
        let clients: Vec<_> = (0..200u32)
            .map(|number| {
                start_inside(&network, move || {
                    let bytes = number.to_be_bytes();
                    let answer = exchange(address, &bytes).unwrap();
                    answer.iter().rev().copied().eq(bytes)
                })
            })
            .collect();
        for client in clients {
            assert!(client.await.unwrap());
        }
    });
}

#[test]
fn closing_breaks_connections_and_ends_capture() {
    in_world(|| async {
        let (listener, address) = listen(OUTSIDE4).await;
        let network = network(internet()).await;
        let client = start_inside(&network, move || TcpStream::connect(address).unwrap());
        let (mut stream, _) = listener.accept().await.unwrap();
        let client = client.await.unwrap();
        network.close();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
        drop(client);
        let result = inside(&network, move || fate(address)).await;
        assert!(result.is_err() || result.is_ok_and(|length| length == 0));
    });
}
