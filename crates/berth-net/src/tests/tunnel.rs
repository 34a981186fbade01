//! Connections of a container that workerd decides about: a fake of its egress listener.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use super::world::{exchange, in_world, internet, listen, network, offline, start_inside};
use crate::egress::sniff_tests::hello;
use crate::{Egress, Network, Upstream};

/// A network whose egress a fake workerd decides.
async fn tunnelled(egress: Egress) -> (Arc<Network>, TcpListener) {
    let (listener, address) = listen("127.0.0.1").await;
    let egress = Egress {
        upstream: Upstream::Tunnel(address),
        ..egress
    };
    (network(egress).await, listener)
}

/// Takes one `CONNECT`: its lines, and the connection.
pub(super) async fn take(listener: &TcpListener) -> (Vec<String>, BufReader<TcpStream>) {
    let (stream, _) = listener.accept().await.unwrap();
    let mut stream = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        match line.trim_end() {
            "" => return (lines, stream),
            line => lines.push(line.to_owned()),
        }
    }
}

fn header<'a>(lines: &'a [String], name: &str) -> Option<&'a str> {
    lines
        .iter()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

const TARGET: &str = "198.51.100.9:9999";

fn target() -> SocketAddr {
    TARGET.parse().unwrap()
}

#[test]
fn raw_connections_are_announced_and_carried_with_half_close() {
    for status in ["202 Accepted", "200 OK"] {
        in_world(move || async move {
            // Off: workerd knows, and may have a mapping all the same.
            let (network, workerd) = tunnelled(offline()).await;
            let client = start_inside(&network, || exchange(target(), b"question").unwrap());
            let (lines, mut stream) = take(&workerd).await;
            assert_eq!(lines[0], format!("CONNECT {TARGET} HTTP/1.1"));
            assert_eq!(header(&lines, "Host"), Some(TARGET));
            assert_eq!(header(&lines, "Connection"), Some("close"));
            assert_eq!(header(&lines, "X-Proto"), Some("tcp"));
            let source: SocketAddr = header(&lines, "X-Forwarded-For").unwrap().parse().unwrap();
            assert_eq!(source.ip().to_string(), "10.88.0.2");
            assert_eq!(header(&lines, "X-Tls-Sni"), None);
            assert_eq!(header(&lines, "X-Hostname"), None);
            // The first bytes come with the head: they belong to the connection.
            let head = format!("HTTP/1.1 {status}\r\n\r\nan");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut question = String::new();
            stream.read_to_string(&mut question).await.unwrap();
            assert_eq!(question, "question");
            stream.write_all(b"swer").await.unwrap();
            drop(stream);
            assert_eq!(client.await.unwrap(), b"answer");
            let usage = network.usage();
            assert_eq!((usage.egress_bytes, usage.ingress_bytes), (8, 6));
        });
    }
}

#[test]
fn a_server_may_speak_first() {
    in_world(|| async {
        let (network, workerd) = tunnelled(internet()).await;
        let client = start_inside(&network, || {
            let mut stream = StdTcpStream::connect(target()).unwrap();
            let mut greeting = [0; 3];
            stream.read_exact(&mut greeting).unwrap();
            stream.write_all(b"EHLO").unwrap();
            greeting
        });
        let (_, mut stream) = take(&workerd).await;
        stream
            .write_all(b"HTTP/1.1 202 OK\r\n\r\n220")
            .await
            .unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!((&answer, &client.await.unwrap()), (b"EHLO", b"220"));
    });
}

#[test]
fn a_refusal_resets() {
    for answer in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "HTTP/1.1 302 Found\r\n\r\n",
        "junk",
        "",
    ] {
        in_world(move || async move {
            let (network, workerd) = tunnelled(internet()).await;
            let client = start_inside(&network, || exchange(target(), b"question"));
            let (_, mut stream) = take(&workerd).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let error = client.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{answer}");
        });
    }
}

#[test]
fn a_workerd_that_is_gone_resets() {
    in_world(|| async {
        let (network, workerd) = tunnelled(internet()).await;
        drop(workerd);
        let client = start_inside(&network, || exchange(target(), b"question"));
        let error = client.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn the_host_of_a_request_on_port_80_is_announced_however_it_arrives() {
    in_world(|| async {
        let (network, workerd) = tunnelled(internet()).await;
        let request = b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
        let client = start_inside(&network, move || {
            let mut stream = StdTcpStream::connect("198.51.100.1:80").unwrap();
            stream.set_nodelay(true).unwrap();
            for part in request.chunks(9) {
                stream.write_all(part).unwrap();
                std::thread::sleep(Duration::from_millis(2));
            }
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            answer
        });
        let (lines, mut stream) = take(&workerd).await;
        assert_eq!(lines[0], "CONNECT 198.51.100.1:80 HTTP/1.1");
        assert_eq!(header(&lines, "X-Hostname"), Some("api.example.com"));
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut carried = vec![0; request.len()];
        stream.read_exact(&mut carried).await.unwrap();
        assert_eq!(carried, request);
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await
            .unwrap();
        drop(stream);
        assert_eq!(client.await.unwrap(), b"HTTP/1.1 204 No Content\r\n\r\n");
    });
}

#[test]
fn the_server_name_of_a_hello_is_announced_on_every_port() {
    in_world(|| async {
        let (network, workerd) = tunnelled(internet()).await;
        for port in [443, 8443] {
            let destination = SocketAddr::new("2001:db8::9".parse().unwrap(), port);
            let hello = hello("tls.example.com");
            let sent = hello.clone();
            let client = start_inside(&network, move || exchange(destination, &sent).unwrap());
            let (lines, mut stream) = take(&workerd).await;
            assert_eq!(lines[0], format!("CONNECT [2001:db8::9]:{port} HTTP/1.1"));
            assert_eq!(header(&lines, "X-Tls-Sni"), Some("tls.example.com"));
            assert_eq!(header(&lines, "X-Hostname"), None);
            // Passed through: the bytes are not touched.
            stream.write_all(b"HTTP/1.1 202 OK\r\n\r\n").await.unwrap();
            let mut carried = Vec::new();
            stream.read_to_end(&mut carried).await.unwrap();
            assert_eq!(carried, hello);
            drop(stream);
            assert_eq!(client.await.unwrap(), b"");
        }
    });
}

#[test]
fn workerd_is_not_asked_about_the_hosts_own_addresses() {
    in_world(|| async {
        let (network, workerd) = tunnelled(internet()).await;
        let client = start_inside(&network, || {
            exchange("169.254.169.254:80".parse().unwrap(), b"")
        });
        let error = client.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let asked = tokio::time::timeout(Duration::from_millis(50), workerd.accept()).await;
        assert!(asked.is_err());
    });
}

#[test]
fn without_internet_a_class_may_stand_in_for_a_metadata_service() {
    in_world(|| async {
        let (network, workerd) = tunnelled(offline()).await;
        let client = start_inside(&network, || {
            let request = b"GET / HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n";
            exchange("169.254.169.254:80".parse().unwrap(), request).unwrap()
        });
        let (lines, mut stream) = take(&workerd).await;
        assert_eq!(lines[0], "CONNECT 169.254.169.254:80 HTTP/1.1");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\n\r\nhere")
            .await
            .unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        drop(stream);
        assert_eq!(client.await.unwrap(), b"here");
    });
}

#[test]
fn a_changed_egress_holds_for_new_connections_only() {
    in_world(|| async {
        let (network, first) = tunnelled(internet()).await;
        let old = start_inside(&network, || exchange(target(), b"old").unwrap());
        let (_, mut stream) = take(&first).await;
        stream.write_all(b"HTTP/1.1 202 OK\r\n\r\n").await.unwrap();
        let (second, address) = listen("127.0.0.1").await;
        network.set_egress(Egress {
            upstream: Upstream::Tunnel(address),
            ..internet()
        });
        let new = start_inside(&network, || exchange(target(), b"new").unwrap());
        let (_, mut other) = take(&second).await;
        other.write_all(b"HTTP/1.1 202 OK\r\n\r\n2").await.unwrap();
        // Closing with bytes unread would reset.
        other.read_to_end(&mut Vec::new()).await.unwrap();
        drop(other);
        stream.write_all(b"1").await.unwrap();
        let mut carried = Vec::new();
        stream.read_to_end(&mut carried).await.unwrap();
        assert_eq!(carried, b"old");
        drop(stream);
        assert_eq!(
            (old.await.unwrap(), new.await.unwrap()),
            (b"1".to_vec(), b"2".to_vec())
        );
    });
}

/// What most clients offer.
pub(super) const BOTH: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What a client that trusts `ca` reads from `https://intercepted.example` after a request.
pub(super) fn fetch_by_tls(
    ca: &str,
    destination: SocketAddr,
    protocols: &[&[u8]],
) -> std::io::Result<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
        .unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = "intercepted.example".try_into().unwrap();
    let client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = rustls::StreamOwned::new(client, StdTcpStream::connect(destination)?);
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

#[test]
fn an_intercepted_tls_connection_reaches_workerd_in_plain() {
    in_world(|| async {
        let (network, workerd) = tunnelled(offline()).await;
        let ca = network.ca_pem();
        let destination = "198.51.100.1:443".parse().unwrap();
        let client = start_inside(&network, move || {
            fetch_by_tls(&ca, destination, &BOTH).unwrap()
        });
        let (lines, mut stream) = take(&workerd).await;
        assert_eq!(header(&lines, "X-Tls-Sni"), Some("intercepted.example"));
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut request = [0; 18];
        stream.read_exact(&mut request).await.unwrap();
        assert_eq!(&request, b"GET / HTTP/1.1\r\n\r\n");
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(client.await.unwrap(), b"HTTP/1.1 200 OK\r\n\r\n");
        let usage = network.usage();
        assert_eq!((usage.egress_bytes, usage.ingress_bytes), (18, 19));
    });
}

#[test]
fn a_client_that_does_not_trust_the_ca_ends_the_interception() {
    in_world(|| async {
        let (network, workerd) = tunnelled(offline()).await;
        let other = super::world::network(offline()).await.ca_pem();
        let destination = "198.51.100.1:443".parse().unwrap();
        let client = start_inside(&network, move || fetch_by_tls(&other, destination, &BOTH));
        let (_, mut stream) = take(&workerd).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        assert!(client.await.unwrap().is_err());
        let error = stream.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_hello_that_cannot_be_read_is_not_passed_on() {
    in_world(|| async {
        let (network, workerd) = tunnelled(internet()).await;
        // A handshake record in which something else than a hello begins.
        let result = start_inside(&network, || {
            exchange(
                "198.51.100.1:443".parse().unwrap(),
                &[22, 3, 1, 0, 4, 2, 0, 0, 0],
            )
        });
        let error = result.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let asked = tokio::time::timeout(Duration::from_millis(50), workerd.accept()).await;
        assert!(asked.is_err());
    });
}

#[test]
fn a_client_that_insists_on_http2_is_told_so() {
    in_world(|| async {
        let (network, workerd) = tunnelled(offline()).await;
        let ca = network.ca_pem();
        let client = start_inside(&network, move || {
            let destination = "198.51.100.1:443".parse().unwrap();
            fetch_by_tls(&ca, destination, &[b"h2"])
        });
        let (_, mut stream) = take(&workerd).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let error = client.await.unwrap().unwrap_err().to_string();
        assert!(error.contains("NoApplicationProtocol"), "{error}");
    });
}
