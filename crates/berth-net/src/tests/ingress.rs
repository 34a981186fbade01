//! Connections from outside into a container.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpListener;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::world::{in_world, inside, network, offline, start_inside};

#[test]
fn a_server_on_loopback_only_is_reached() {
    in_world(|| async {
        let network = network(offline()).await;
        let listener = inside(&network, || TcpListener::bind("127.0.0.1:0").unwrap()).await;
        let port = listener.local_addr().unwrap().port();
        let server = start_inside(&network, move || {
            let (mut stream, peer) = listener.accept().unwrap();
            let mut request = [0; 5];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(b"world").unwrap();
            (request, peer)
        });
        let mut stream = network.connect(port).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"world");
        let (request, peer) = server.await.unwrap();
        assert_eq!(&request, b"hello");
        assert!(peer.ip().is_loopback());
    });
}

#[test]
fn a_port_without_a_listener_refuses() {
    in_world(|| async {
        let network = network(offline()).await;
        let error = network.connect(8080).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn containers_do_not_see_each_other() {
    in_world(|| async {
        let one = network(offline()).await;
        let other = network(offline()).await;
        let listener = inside(&one, || TcpListener::bind("0.0.0.0:0").unwrap()).await;
        let port = listener.local_addr().unwrap().port();
        assert!(one.connect(port).await.is_ok());
        let error = other.connect(port).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = inside(&other, move || {
            std::net::TcpStream::connect(("10.88.0.2", port)).unwrap_err()
        })
        .await;
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_container_has_an_interface_that_is_not_loopback() {
    in_world(|| async {
        let network = network(offline()).await;
        let (address, privileged) = inside(&network, || {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect("192.0.2.1:9").unwrap();
            let privileged = TcpListener::bind("0.0.0.0:80").is_ok();
            (socket.local_addr().unwrap(), privileged)
        })
        .await;
        assert_eq!(address.ip().to_string(), "10.88.0.2");
        assert!(privileged);
        let names = inside(&network, || {
            let dev = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
            let names = dev.lines().filter_map(|line| line.split_once(':'));
            names
                .map(|(name, _)| name.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .await;
        assert!(names.contains(&"eth0".to_owned()), "{names:?}");
    });
}
