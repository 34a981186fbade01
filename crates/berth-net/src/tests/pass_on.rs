//! A network whose process ends, and the next one that takes it over by its descriptors.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::datagrams::{client, serve_echo};
use super::tunnel::{BOTH, fetch_by_tls, take};
use super::world::{
    OUTSIDE4, OUTSIDE6, exchange, in_world, inside, internet, listen, offline, options,
    start_inside,
};
use crate::{Egress, NetError, Network, NetworkOptions, NetworkRecord, Upstream};

fn passing() -> NetworkOptions {
    NetworkOptions {
        passes_on: true,
        ..options()
    }
}

/// A network, and the record that it keeps.
async fn kept(egress: Egress) -> (Arc<Network>, Arc<Mutex<Option<NetworkRecord>>>) {
    let network = Network::create_with(egress, passing()).await.unwrap();
    let record = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&record);
    network.on_change(move |now| {
        // As it is written down.
        *keep.lock().unwrap() = Some(now.clone());
    });
    (network, record)
}

/// What the kernel does to a process that is killed, and what the next one does.
fn succeed(network: Arc<Network>, record: &Mutex<Option<NetworkRecord>>) -> Arc<Network> {
    let mut descriptors = network.descriptors().unwrap();
    assert!(descriptors.values().all(|fds| fds.len() <= 7));
    network.close();
    drop(network);
    let record = record.lock().unwrap().clone().unwrap();
    let next = Network::adopt(&mut descriptors, &record, passing()).unwrap();
    assert!(descriptors.is_empty());
    next
}

/// Answers every connection with what it has read.
async fn mirror(address: &str) -> SocketAddr {
    let (listener, address) = listen(address).await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        }
    });
    address
}

#[test]
fn what_leaves_goes_on_leaving_and_is_counted_on() {
    in_world(|| async {
        for family in [OUTSIDE4, OUTSIDE6] {
            let (tcp, udp) = (mirror(family).await, serve_echo(family).await);
            let (mut network, record) = kept(internet()).await;
            for round in 1..=3 {
                inside(&network, move || {
                    assert_eq!(exchange(tcp, b"12345").unwrap(), b"12345");
                    let (socket, mut buffer) = (client(udp), [0; 64]);
                    socket.send_to(b"123", udp).unwrap();
                    let (length, source) = socket.recv_from(&mut buffer).unwrap();
                    assert_eq!((&buffer[..length], source), (&b"123"[..], udp));
                })
                .await;
                let usage = network.usage();
                assert_eq!(usage.egress_bytes, 8 * round);
                assert_eq!(usage.ingress_bytes, 8 * round);
                network = succeed(network, &record);
            }
        }
    });
}

#[test]
fn a_connection_made_while_nobody_is_there_is_carried_by_the_next() {
    in_world(|| async {
        let server = mirror(OUTSIDE4).await;
        let (network, record) = kept(internet()).await;
        let mut descriptors = network.descriptors().unwrap();
        let namespace = network.namespace_owned().unwrap();
        network.close();
        let (connected, is_connected) = tokio::sync::oneshot::channel();
        let client = std::thread::spawn(move || {
            use std::os::fd::AsFd as _;
            crate::worker::enter(namespace.as_fd()).unwrap();
            let mut stream = TcpStream::connect(server).unwrap();
            connected.send(()).unwrap();
            stream.write_all(b"early").unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            answer
        });
        is_connected.await.unwrap();
        let record = record.lock().unwrap().clone().unwrap();
        let _next = Network::adopt(&mut descriptors, &record, passing()).unwrap();
        let joined = tokio::task::spawn_blocking(move || client.join().unwrap());
        assert_eq!(joined.await.unwrap(), b"early");
    });
}

#[test]
fn the_way_in_and_the_policy_are_the_same() {
    in_world(|| async {
        let server = mirror(OUTSIDE4).await;
        let (network, record) = kept(internet()).await;
        network.set_egress(offline());
        let network = succeed(network, &record);
        assert_eq!(network.egress(), offline());
        let refused = inside(&network, move || exchange(server, b"x").is_err());
        assert!(refused.await);
        let listener = inside(&network, || TcpListener::bind("127.0.0.1:0").unwrap()).await;
        let port = listener.local_addr().unwrap().port();
        let inner = start_inside(&network, move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"inside").unwrap();
        });
        let mut stream = network.connect(port).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"inside");
        inner.await.unwrap();
    });
}

#[test]
fn interception_goes_on_with_the_same_authority_once_workerd_is_known() {
    in_world(|| async {
        let (_, before) = listen("127.0.0.1").await;
        let egress = Egress {
            upstream: Upstream::Tunnel(before),
            ..offline()
        };
        let (network, record) = kept(egress.clone()).await;
        let ca = network.ca_pem();
        let network = succeed(network, &record);
        assert_eq!(network.ca_pem(), ca);
        // Nobody is asked where workerd was before.
        assert_ne!(network.egress().upstream, Upstream::Tunnel(before));
        let destination = "198.51.100.1:443".parse().unwrap();
        let client = start_inside(&network, move || {
            fetch_by_tls(&ca, destination, &BOTH).unwrap()
        });
        let (workerd, now) = listen("127.0.0.1").await;
        network.set_egress(Egress {
            upstream: Upstream::Tunnel(now),
            ..egress
        });
        let (_, mut stream) = take(&workerd).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut request = [0; 18];
        stream.read_exact(&mut request).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(client.await.unwrap(), b"HTTP/1.1 200 OK\r\n\r\n");
    });
}

#[test]
fn a_network_of_which_something_is_missing_is_none() {
    in_world(|| async {
        let (network, record) = kept(internet()).await;
        let record = record.lock().unwrap().clone().unwrap();
        for missing in ["net", "net4"] {
            let mut descriptors = network.descriptors().unwrap();
            descriptors.remove(missing);
            let outcome = Network::adopt(&mut descriptors, &record, passing());
            let error = outcome.err().unwrap();
            assert!(matches!(error, NetError::Incomplete { .. }), "{missing}");
        }
        let mut descriptors = network.descriptors().unwrap();
        let own = descriptors.get_mut("net").unwrap();
        own.swap(0, 2);
        assert!(Network::adopt(&mut descriptors, &record, passing()).is_err());
        let private = Network::create_with(internet(), options()).await.unwrap();
        assert!(private.descriptors().unwrap().is_empty());
    });
}
