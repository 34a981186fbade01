//! The gateway between real clients and a hyper upstream.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use berth_gateway::{
    Count, Gateway, GatewayError, GatewayOptions, RequestEvent, Site, Sites, Table, Upstream,
};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use crate::upstream::{Client, Server};

const SOON: Duration = Duration::from_secs(10);

struct World {
    gateway: Gateway,
    site: Arc<Site>,
    server: Server,
    events: mpsc::UnboundedReceiver<RequestEvent>,
}

async fn gateway(sites: Arc<Sites>) -> (Gateway, mpsc::UnboundedReceiver<RequestEvent>) {
    let (sender, events) = mpsc::unbounded_channel();
    let address = "127.0.0.1:0".parse().unwrap();
    let gateway = Gateway::bind(GatewayOptions::at(address), sites, sender);
    (gateway.await.unwrap(), events)
}

async fn world() -> World {
    let site = Site::new(SOON);
    let (gateway, events) = gateway(Sites::only(&site)).await;
    let server = Server::start().await;
    site.set_upstream(server.upstream());
    World {
        gateway,
        site,
        server,
        events,
    }
}

impl World {
    async fn client(&self) -> Client {
        Client::connect(self.gateway.local_addr()).await
    }

    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.gateway.local_addr()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }
}

#[tokio::test]
async fn requests_arrive_as_sent_with_the_client_named() {
    let mut world = world().await;
    let text = world
        .raw(
            "PUT /a%20b//c?x=1&y HTTP/1.1\r\nHost: app.example:8787\r\nX-Own: 1\r\nX-Hop: 2\r\n\
             Connection: close, X-Hop\r\nContent-Length: 2\r\n\r\nhi",
        )
        .await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    let seen = text.split("\r\n\r\n").nth(1).unwrap();
    assert!(seen.starts_with("PUT /a%20b//c?x=1&y\n"), "{seen}");
    for line in [
        "host: app.example:8787",
        "x-own: 1",
        "cf-connecting-ip: 127.0.0.1",
        "content-length: 2",
    ] {
        assert!(seen.contains(&format!("{line}\n")), "{line}: {seen}");
    }
    assert!(
        !seen.contains("x-hop") && !seen.contains("connection: "),
        "{seen}"
    );
    assert!(seen.ends_with("\nhi"), "{seen}");
    let event = world.events.recv().await.unwrap();
    assert_eq!((event.method.as_str(), event.status), ("PUT", 200));
    assert_eq!(event.path, "/a%20b//c?x=1&y");
}

#[tokio::test]
async fn connections_to_the_upstream_are_reused() {
    let world = world().await;
    let mut client = world.client().await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.0, 200);
    }
    assert_eq!(world.server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn malformed_requests_are_refused_and_the_gateway_goes_on() {
    let world = world().await;
    for request in [
        "nonsense\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\nConnection: close\r\n\r\n",
    ] {
        let request = request.replace("1.1\r\n\r\n", "1.1\r\nConnection: close\r\n\r\n");
        let text = world.raw(&request).await;
        assert!(
            text.starts_with("HTTP/1.1 400 Bad Request\r\n"),
            "{request}: {text}"
        );
    }
    assert_eq!(world.server.requests.load(Ordering::SeqCst), 0);
    assert_eq!(world.client().await.get("/").await.0, 200);
}

#[tokio::test]
async fn bodies_stream_both_ways_without_waiting_for_their_end() {
    let world = world().await;
    let mut stream = TcpStream::connect(world.gateway.local_addr())
        .await
        .unwrap();
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    for part in ["one", "two", "three"] {
        let chunk = format!("{:x}\r\n{part}\r\n", part.len());
        stream.write_all(chunk.as_bytes()).await.unwrap();
        // Each part comes back before the next is sent.
        while !String::from_utf8_lossy(&received).contains(part) {
            assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
        }
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    while !received.ends_with(b"0\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn websockets_pass_through() {
    let mut world = world().await;
    let url = format!("ws://{}/ws", world.gateway.local_addr());
    let (mut socket, response) = tokio_tungstenite::connect_async(url).await.unwrap();
    assert_eq!(response.status(), 101);
    for text in ["a", &"b".repeat(100_000)] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    assert_eq!(world.events.recv().await.unwrap().status, 101);
    // A reload does not wait for it.
    assert_eq!(world.site.drain(Duration::ZERO).await, 0);
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_response() {
    let world = world().await;
    let text = world
        .raw("GET /plain HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_request() {
    let mut world = world().await;
    for path in ["/never", "/drip"] {
        let mut stream = TcpStream::connect(world.gateway.local_addr())
            .await
            .unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        if path == "/drip" {
            assert_ne!(stream.read(&mut [0; 64]).await.unwrap(), 0);
        } else {
            world.server.arrived.notified().await;
        }
        drop(stream);
        tokio::time::timeout(SOON, world.server.cancelled.notified())
            .await
            .unwrap();
        let event = world.events.recv().await.unwrap();
        assert_eq!(event.status, if path == "/drip" { 200 } else { 499 });
    }
    assert_eq!(world.site.drain(SOON).await, 0);
}

/// The upstream must not take what it has for the whole body, and nobody is told of a failure of
/// the upstream's.
#[tokio::test]
async fn a_client_that_leaves_during_its_upload_breaks_it_off() {
    let mut world = world().await;
    for (length, begin) in [
        ("Content-Length: 70", "a piece"),
        ("Transfer-Encoding: chunked", "7\r\na piece\r\n"),
    ] {
        let mut stream = TcpStream::connect(world.gateway.local_addr())
            .await
            .unwrap();
        let request = format!("POST /swallow HTTP/1.1\r\nHost: a\r\n{length}\r\n\r\n{begin}");
        stream.write_all(request.as_bytes()).await.unwrap();
        world.server.arrived.notified().await;
        drop(stream);
        tokio::time::timeout(SOON, world.server.cancelled.notified())
            .await
            .unwrap();
        assert_eq!(world.events.recv().await.unwrap().status, 499, "{length}");
    }
    assert_eq!(world.site.drain(SOON).await, 0);
}

#[tokio::test]
async fn a_malformed_body_is_the_clients_mistake() {
    let world = world().await;
    let text = world
        .raw("POST /swallow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nzz\r\n")
        .await;
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
    tokio::time::timeout(SOON, world.server.cancelled.notified())
        .await
        .unwrap();
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_502_that_says_so() {
    let world = world().await;
    let gone = std::env::temp_dir().join("berth-gateway-test-no-such-socket");
    world.site.set_upstream(Upstream::Unix(gone));
    let (status, text) = world.client().await.get("/").await;
    assert_eq!(status, 502);
    assert!(
        text.contains("cannot be reached") && text.contains("No such file"),
        "{text}"
    );
    world.site.set_upstream(world.server.upstream());
    let (status, text) = world.client().await.get("/break").await;
    assert_eq!(status, 502);
    assert!(
        text.contains("closed the connection before it answered"),
        "{text}"
    );
}

#[tokio::test]
async fn a_request_to_an_upstream_that_has_just_died_waits_for_the_next_one() {
    let world = world().await;
    // Nobody has noticed yet.
    let gone = std::env::temp_dir().join("berth-gateway-test-no-such-socket");
    world.site.set_upstream(Upstream::Unix(gone));
    let mut client = world.client().await;
    let mut answer = std::pin::pin!(client.get("/hello"));
    let early = tokio::time::timeout(Duration::from_millis(100), &mut answer).await;
    assert!(early.is_err(), "{early:?}");
    world.site.hold();
    assert_eq!(
        world.site.drain(SOON).await,
        0,
        "what waits is not in flight"
    );
    world.site.set_upstream(world.server.upstream());
    world.site.release();
    let (status, text) = answer.await;
    assert_eq!(status, 200, "{text}");
}

#[tokio::test]
async fn a_held_request_gives_up_with_503() {
    let site = Site::new(Duration::from_millis(50));
    let (gateway, mut events) = gateway(Sites::only(&site)).await;
    let mut client = Client::connect(gateway.local_addr()).await;
    let request = Request::get("/")
        .header("host", "a")
        .body(Full::<Bytes>::default())
        .unwrap();
    let response = client.send(request).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(events.recv().await.unwrap().status, 503);
}

#[tokio::test]
async fn triggers_have_their_own_upstream() {
    let world = world().await;
    let other = Server::start().await;
    world.site.set_triggers(Some(other.upstream()));
    let mut client = world.client().await;
    assert_eq!(client.get("/cdn-cgi/handler/scheduled").await.0, 200);
    assert_eq!(client.get("/cdn-cgi/other").await.0, 200);
    assert_eq!(other.requests.load(Ordering::SeqCst), 1);
    assert_eq!(world.server.requests.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacing_the_upstream_under_load_loses_nothing() {
    let world = world().await;
    let address = world.gateway.local_addr();
    let stop = tokio_util::sync::CancellationToken::new();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let stop = stop.clone();
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                let mut served = 0_u32;
                while !stop.is_cancelled() {
                    let (status, _) = client.get("/slow").await;
                    assert_eq!(status, 200);
                    served += 1;
                }
                served
            })
        })
        .collect();
    let mut server = world.server;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        world.site.hold();
        assert_eq!(world.site.drain(SOON).await, 0);
        // As with SIGKILL: every connection is gone at once.
        drop(server);
        server = Server::start().await;
        world.site.set_upstream(server.upstream());
        world.site.release();
    }
    stop.cancel();
    let mut served = 0;
    for client in clients {
        served += client.await.unwrap();
    }
    assert!(served > 40, "{served}");
}

/// Who replaces an upstream waits for what came before while more arrives, and knows of WebSockets.
#[tokio::test]
async fn what_came_before_is_told_from_what_came_since() {
    let world = world().await;
    let address = world.gateway.local_addr();
    let url = format!("ws://{address}/ws");
    let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let ask = async |path: &'static str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    };
    let before = ask("/never").await;
    world.server.arrived.notified().await;
    let mark = world.site.mark();
    let since = ask("/never").await;
    world.server.arrived.notified().await;
    let count = |requests, tunnels| Count {
        requests,
        tunnels,
        events: 0,
    };
    let zero = Duration::ZERO;
    assert_eq!(world.site.drain_before(mark, zero).await, count(1, 1));
    assert_eq!(world.site.drain_since(mark, zero, zero).await, count(1, 0));
    drop(before);
    assert_eq!(world.site.drain_before(mark, SOON).await, count(0, 1));
    drop(socket);
    assert_eq!(world.site.all_gone_before(mark, SOON).await, count(0, 0));
    assert_eq!(world.site.drain(zero).await, 1);
    drop(since);
    assert_eq!(world.site.drain(SOON).await, 0);
}

#[tokio::test]
async fn a_stream_of_events_is_no_request_to_wait_for() {
    let world = world().await;
    let mark = world.site.mark();
    let mut stream = TcpStream::connect(world.gateway.local_addr())
        .await
        .unwrap();
    let request = b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut first = [0; 512];
    assert_ne!(stream.read(&mut first).await.unwrap(), 0);
    assert_eq!(world.site.drain(SOON).await, 0);
    let left = world
        .site
        .drain_since(mark, SOON, Duration::from_millis(50));
    assert_eq!(left.await.events, 1);
}

#[tokio::test]
async fn a_request_goes_to_the_application_of_its_host() {
    let (one, other) = (Server::start().await, Server::start().await);
    let sites: Arc<Sites> = Arc::default();
    let (gateway, _events) = gateway(Arc::clone(&sites)).await;
    let ask = async |host: &str| {
        let mut stream = TcpStream::connect(gateway.local_addr()).await.unwrap();
        let request = format!("GET /who HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    let nobody = ask("one.localhost").await;
    assert!(nobody.starts_with("HTTP/1.1 404 "), "{nobody}");
    assert!(nobody.contains("`one.localhost`"), "{nobody}");
    let site = |server: &Server| {
        let site = Site::new(SOON);
        site.set_upstream(server.upstream());
        site
    };
    sites.replace(Table {
        fallback: None,
        hosts: HashMap::from([("one.localhost".to_owned(), site(&one))]),
        patterns: vec![("*.example.com/api/*".parse().unwrap(), site(&other))],
    });
    assert!(ask("one.localhost:8787").await.starts_with("HTTP/1.1 200 "));
    let elsewhere = ask("app.example.com").await;
    assert!(elsewhere.starts_with("HTTP/1.1 404 "), "{elsewhere}");
    let count = |server: &Server| server.connections.load(Ordering::SeqCst);
    assert_eq!((count(&one), count(&other)), (1, 0));
}

#[tokio::test]
async fn a_taken_port_is_named_with_a_hint() {
    let (gateway, _events) = gateway(Arc::default()).await;
    let address = gateway.local_addr();
    let (sender, _) = mpsc::unbounded_channel();
    let error = Gateway::bind(GatewayOptions::at(address), Arc::default(), sender)
        .await
        .unwrap_err();
    assert!(matches!(error, GatewayError::AddrInUse { .. }));
    assert_eq!(
        error.to_string(),
        format!("port {} is already in use on 127.0.0.1", address.port())
    );
    assert!(berth_error::Hint::hint(&error).unwrap().contains("--port"));
}

#[tokio::test]
async fn shutdown_finishes_what_is_in_flight_and_closes_the_port() {
    let world = world().await;
    let address = world.gateway.local_addr();
    let mut busy = Client::connect(address).await;
    let idle = Client::connect(address).await;
    let answer = tokio::spawn(async move { busy.get("/slow").await.0 });
    world.server.arrived.notified().await;
    tokio::time::timeout(SOON, world.gateway.shutdown(SOON))
        .await
        .unwrap();
    assert_eq!(answer.await.unwrap(), 200);
    assert!(TcpStream::connect(address).await.is_err());
    drop(idle);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let world = world().await;
    let mut client = world.client().await;
    let request = Request::get("/never")
        .header("host", "a")
        .body(Full::<Bytes>::default())
        .unwrap();
    let pending = tokio::spawn(async move { client.try_send(request).await.is_err() });
    world.server.arrived.notified().await;
    let shutdown = world.gateway.shutdown(Duration::from_millis(20));
    tokio::time::timeout(SOON, shutdown).await.unwrap();
    assert!(pending.await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_adds_little() {
    let world = world().await;
    let Upstream::Tcp(direct) = world.server.upstream() else {
        panic!("the server listens on TCP");
    };
    let mut medians = Vec::new();
    for address in [direct, world.gateway.local_addr()] {
        let mut client = Client::connect(address).await;
        let mut times = Vec::new();
        for _ in 0..1_000 {
            let start = std::time::Instant::now();
            assert_eq!(client.get("/fixed").await.0, 200);
            times.push(start.elapsed());
        }
        times.sort();
        medians.push(times[500]);
    }
    println!(
        "direct {:?}, through the gateway {:?}",
        medians[0], medians[1]
    );
    // An unoptimised build on shared processors: only a gross mistake fails here.
    assert!(
        medians[1] < medians[0] + Duration::from_millis(5),
        "{medians:?}"
    );
}

#[tokio::test]
async fn the_end_of_a_body_without_length_is_kept() {
    let world = world().await;
    let mut client = world.client().await;
    let request = Request::get("/drip-end")
        .header("host", "a")
        .body(Full::<Bytes>::default())
        .unwrap();
    let body = client
        .send(request)
        .await
        .into_body()
        .collect()
        .await
        .unwrap();
    assert_eq!(body.to_bytes(), "drop ".repeat(3));
}
