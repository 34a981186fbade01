//! What clients may do, and how the gateway is spoken to: limits, slow clients, HTTP/2, TLS, redirection.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_config::CertificateFiles;
use berth_gateway::{Certificates, Gateway, GatewayOptions, Site, Sites};
use berth_test::TlsStream;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::upstream::Server;

const SOON: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(200);

struct World {
    gateway: Gateway,
    server: Server,
    _events: mpsc::UnboundedReceiver<berth_gateway::RequestEvent>,
}

async fn world(change: impl FnOnce(&mut GatewayOptions)) -> World {
    let mut options = GatewayOptions::at("127.0.0.1:0".parse().unwrap());
    options.config.trusted_proxies.clear();
    change(&mut options);
    let site = Site::new(SOON);
    let server = Server::start().await;
    site.set_upstream(server.upstream());
    let (sender, events) = mpsc::unbounded_channel();
    let gateway = Gateway::bind(options, Sites::only(&site), sender)
        .await
        .unwrap();
    World {
        gateway,
        server,
        _events: events,
    }
}

impl World {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.gateway.local_addr()).await.unwrap()
    }

    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        read_all(&mut stream).await
    }
}

/// A connection that is reset has ended, too.
async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut bytes)).await;
    assert!(read.is_ok(), "the gateway does not close the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let world = world(|options| {
        options.config.max_header_size = 8 << 10;
        options.config.max_headers = 20;
    })
    .await;
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n",
        "x".repeat(9 << 10)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X-A: b\r\n".repeat(30)
    );
    for request in [long, many] {
        let text = world.raw(request.as_bytes()).await;
        assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
    }
    let fits = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Long: {}\r\n\r\n",
        "x".repeat(7 << 10)
    );
    assert!(
        world
            .raw(fits.as_bytes())
            .await
            .starts_with("HTTP/1.1 200 ")
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_however_it_is_sent() {
    let world = world(|options| options.config.max_body_size = Some(10)).await;
    let announced = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nConnection: close\r\n\r\n12345678901";
    let chunked = "POST /swallow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                   6\r\n123456\r\n6\r\n123456\r\n0\r\n\r\n";
    for request in [announced, chunked] {
        let text = world.raw(request.as_bytes()).await;
        assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    }
    let fits = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nConnection: close\r\n\r\n1234567890";
    assert!(world.raw(fits.as_bytes()).await.ends_with("1234567890"));
}

#[tokio::test]
async fn slow_and_silent_clients_are_let_go() {
    let world = world(|options| {
        options.config.header_timeout = SHORT;
        options.config.body_timeout = SHORT;
        options.config.idle_timeout = 4 * SHORT;
    })
    .await;
    // Nothing at all; a head that never ends, however often something comes; the same after a request.
    let start = Instant::now();
    assert_eq!(world.raw(b"").await, "");
    let mut drip = world.connect().await;
    let dripped = tokio::spawn(async move {
        while drip.write_all(b"X").await.is_ok() {
            tokio::time::sleep(SHORT / 4).await;
        }
    });
    tokio::time::timeout(SOON, dripped).await.unwrap().unwrap();
    let begun = b"GET /fixed HTTP/1.1\r\nHost: a\r\n\r\nGET /fixed HTTP/1.1\r\nHo";
    let text = world.raw(begun).await;
    assert_eq!(text.matches("HTTP/1.1 200").count(), 1, "{text}");
    assert!(start.elapsed() < SOON / 2);
    // A connection without a request has longer.
    let idle = Instant::now();
    let text = world.raw(b"GET /fixed HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 200 "));
    assert!(idle.elapsed() >= 4 * SHORT, "{:?}", idle.elapsed());
    // A body that stops; a response may take as long as it wants.
    let stops = b"POST /swallow HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12";
    let text = world.raw(stops).await;
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    let mut waits = world.connect().await;
    waits
        .write_all(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let early = tokio::time::timeout(8 * SHORT, waits.read_u8()).await;
    assert!(early.is_err(), "{early:?}");
}

#[tokio::test]
async fn what_a_client_says_of_itself_is_replaced() {
    let world = world(|_| {}).await;
    let text = world
        .raw(
            b"GET /about HTTP/1.1\r\nHost: app.example\r\nCF-Connecting-IP: 6.6.6.6\r\n\
              X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\n\
              Connection: close\r\n\r\n",
        )
        .await;
    assert!(!text.contains("6.6.6.6"), "{text}");
    for line in [
        "cf-connecting-ip: 127.0.0.1",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: app.example",
        "cf-visitor: {\"scheme\":\"http\"}",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line}: {text}");
    }
    // The id of the request is in the request and in the response.
    let ids: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("cf-ray: "))
        .collect();
    assert_eq!((ids.len(), ids[0]), (2, ids[1]), "{text}");
}

/// One request over HTTP/2.
async fn over_http2(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    path: &str,
) -> String {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("http://app.example{path}"))
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(Full::<Bytes>::default())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.version(), hyper::Version::HTTP_2);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8_lossy(&body).into_owned()
}

#[tokio::test]
async fn http2_needs_no_tls() {
    let world = world(|_| {}).await;
    let text = over_http2(world.connect().await, "/about").await;
    assert!(text.contains("host: app.example\n"), "{text}");
    assert!(text.contains("cookie: a=1; b=2\n"), "{text}");
    // Its preface may come in pieces.
    let mut stream = world.connect().await;
    stream.set_nodelay(true).unwrap();
    stream.write_all(b"PRI").await.unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    stream
        .write_all(b" * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4, "the server's SETTINGS");
}

struct Pair {
    files: CertificateFiles,
    der: CertificateDer<'static>,
}

fn certificate(directory: &Path, file: &str, names: &[&str]) -> Pair {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let files = CertificateFiles {
        certificate: directory.join(format!("{file}.pem")),
        key: directory.join(format!("{file}.key")),
    };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.key_pair.serialize_pem()).unwrap();
    Pair {
        files,
        der: made.cert.der().clone(),
    }
}

async fn handshake(
    world: &World,
    name: &'static str,
    alpn: &[&[u8]],
) -> (TlsStream, CertificateDer<'static>) {
    berth_test::handshake(world.gateway.tls_addr().unwrap(), name, alpn).await
}

#[tokio::test]
async fn certificates_are_chosen_by_name_and_exchanged_whole() {
    let directory = tempfile::tempdir().unwrap();
    let first = certificate(directory.path(), "first", &["one.example"]);
    let wild = certificate(directory.path(), "wild", &["*.apps.example"]);
    let certificates: Arc<Certificates> = Arc::default();
    let files = [first.files.clone(), wild.files.clone()];
    certificates.load(&files).unwrap();
    let world = world(|options| {
        options.https = vec!["127.0.0.1:0".parse().unwrap()];
        options.certificates = Arc::clone(&certificates);
    })
    .await;
    let http1: &[&[u8]] = &[b"http/1.1"];
    for (name, expected) in [
        ("one.example", &first.der),
        ("x.apps.example", &wild.der),
        ("unknown.example", &first.der),
        ("127.0.0.1", &first.der),
    ] {
        assert_eq!(&handshake(&world, name, http1).await.1, expected, "{name}");
    }
    let (mut stream, _) = handshake(&world, "one.example", http1).await;
    let request = b"GET /about HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text).await;
    assert!(text.contains("x-forwarded-proto: https\n"), "{text}");
    let (stream, _) = handshake(&world, "one.example", &[b"h2", b"http/1.1"]).await;
    let text = over_http2(stream, "/about").await;
    assert!(text.contains("\"httpProtocol\":\"HTTP/2\""), "{text}");

    // A renewal: taken whole, or not at all.
    let renewed = certificate(directory.path(), "first", &["one.example"]);
    std::fs::write(&wild.files.key, "half a k").unwrap();
    let error = certificates.load(&files).unwrap_err();
    assert!(error.to_string().contains("wild.key"), "{error}");
    assert_eq!(handshake(&world, "one.example", http1).await.1, first.der);
    std::fs::copy(&renewed.files.key, &wild.files.key).unwrap();
    let error = certificates.load(&files).unwrap_err();
    assert!(
        error.to_string().contains("cannot be used with the key"),
        "{error}"
    );
    certificates.load(&files[..1]).unwrap();
    assert_eq!(handshake(&world, "one.example", http1).await.1, renewed.der);
}

#[tokio::test]
async fn plain_requests_are_led_to_tls() {
    let world = world(|options| {
        options.https = vec!["127.0.0.1:0".parse().unwrap()];
        options.redirect = true;
    })
    .await;
    let port = world.gateway.tls_addr().unwrap().port();
    for (method, status) in [("GET", "301"), ("POST", "308")] {
        let request = format!(
            "{method} /a%20b?c=d HTTP/1.1\r\nHost: app.example:80\r\nConnection: close\r\n\r\n"
        );
        let text = world.raw(request.as_bytes()).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        let location = format!("location: https://app.example:{port}/a%20b?c=d\r\n");
        assert!(text.contains(&location), "{text}");
    }
    assert_eq!(
        world
            .server
            .requests
            .load(std::sync::atomic::Ordering::SeqCst),
        0
    );
}

#[tokio::test]
async fn a_client_that_does_not_speak_tls_is_let_go() {
    let world = world(|options| {
        options.https = vec!["127.0.0.1:0".parse().unwrap()];
        options.config.header_timeout = SHORT;
    })
    .await;
    for said in [&b""[..], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut stream = TcpStream::connect(world.gateway.tls_addr().unwrap())
            .await
            .unwrap();
        stream.write_all(said).await.unwrap();
        read_all(&mut stream).await;
    }
}

/// A connection over HTTP/2.
async fn http2(world: &World) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let stream = TokioIo::new(world.connect().await);
    let connected = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
    let (sender, connection) = connected.unwrap();
    tokio::spawn(connection);
    sender
}

fn get(path: &str) -> Request<Full<Bytes>> {
    let request = Request::get(format!("http://app.example{path}"));
    request.body(Full::default()).unwrap()
}

#[tokio::test]
async fn what_is_on_the_way_over_http2_is_answered_when_the_gateway_ends() {
    let world = world(|_| {}).await;
    let mut sender = http2(&world).await;
    let slow: Vec<_> = (0..5).map(|_| sender.send_request(get("/slow"))).collect();
    let mut slow = futures_util::future::join_all(slow);
    // All of them are at the upstream before it ends.
    tokio::select! {
        _ = &mut slow => panic!("nothing was slow"),
        () = world.server.arrived.notified() => {}
    }
    let address = world.gateway.local_addr();
    let ending = world.gateway.shutdown(SOON);
    let (answers, ()) = tokio::time::timeout(SOON, async { tokio::join!(slow, ending) })
        .await
        .unwrap();
    for answer in answers {
        let body = answer.unwrap().into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), "slow");
    }
    // The connection has ended, and there is no other one.
    let late = sender.send_request(get("/fixed")).await;
    assert!(late.is_err(), "{late:?}");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_websocket_over_http2_is_a_stream_among_others() {
    let world = world(|_| {}).await;
    let stream = TokioIo::new(world.connect().await);
    let connected =
        hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), stream);
    let (mut sender, connection) = connected.await.unwrap();
    tokio::spawn(connection);
    // The server's settings say that it can; they come before the first answer.
    let first = sender.send_request(get("/fixed")).await.unwrap();
    assert_eq!(first.status(), 200);
    let mut open = get("/ws");
    *open.method_mut() = hyper::Method::CONNECT;
    open.headers_mut()
        .insert("sec-websocket-version", "13".parse().unwrap());
    let websocket = hyper::ext::Protocol::from_static("websocket");
    open.extensions_mut().insert(websocket);
    let mut opened = sender.send_request(open).await.unwrap();
    assert_eq!(opened.status(), 200);
    for name in ["upgrade", "connection", "sec-websocket-accept"] {
        assert!(!opened.headers().contains_key(name), "{name}");
    }
    let stream = TokioIo::new(hyper::upgrade::on(&mut opened).await.unwrap());
    let client = tokio_tungstenite::tungstenite::protocol::Role::Client;
    let mut socket =
        tokio_tungstenite::WebSocketStream::from_raw_socket(stream, client, None).await;
    for text in ["one", "two"] {
        let message = tokio_tungstenite::tungstenite::Message::text(text);
        socket.send(message.clone()).await.unwrap();
        let answer = tokio::time::timeout(SOON, socket.next()).await.unwrap();
        assert_eq!(answer.unwrap().unwrap(), message);
    }
    // Others go on beside it.
    let beside = sender.send_request(get("/fixed")).await.unwrap();
    assert_eq!(beside.status(), 200);
    socket.close(None).await.unwrap();
    // Any other `CONNECT` is none of ours.
    let mut proxy = get("/");
    *proxy.method_mut() = hyper::Method::CONNECT;
    *proxy.uri_mut() = "app.example:443".parse().unwrap();
    let refused = sender.send_request(proxy).await.unwrap();
    assert_eq!(refused.status(), 400);
}

#[tokio::test]
async fn there_are_no_more_connections_than_allowed() {
    let world = world(|options| options.config.max_connections = 2).await;
    let request = b"GET /fixed HTTP/1.1\r\nHost: a\r\n\r\n";
    let answered = async |stream: &mut TcpStream| {
        stream.write_all(request).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"fixed") {
            answer.push(stream.read_u8().await?);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        std::io::Result::Ok(())
    };
    let (mut first, mut second) = (world.connect().await, world.connect().await);
    answered(&mut first).await.unwrap();
    answered(&mut second).await.unwrap();
    let mut third = world.connect().await;
    let refused = answered(&mut third).await;
    assert!(refused.is_err(), "{refused:?}");
    // Who has one keeps it, and its end makes room.
    answered(&mut second).await.unwrap();
    drop(first);
    let room = async {
        while answered(&mut world.connect().await).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, room).await.unwrap();
}
