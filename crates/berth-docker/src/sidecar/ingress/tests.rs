//! The ingress against a service whose "container" is a listener of the test.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

use super::*;
use crate::body::UpdateInternet;
use socket2::SockRef;

/// Port of the fake container that never accepts nor refuses.
const HOLDING: u16 = 7;

/// Port of the fake container when it could not be started.
const BROKEN: u16 = 8;

#[derive(Default)]
struct Fake {
    app: Option<SocketAddr>,
    steps: Mutex<Vec<Step>>,
    updates: Mutex<Vec<UpdateEgress>>,
    carried_in: AtomicUsize,
    carried_out: AtomicUsize,
    hold_began: Notify,
    hold_dropped: Arc<Notify>,
    gives_way: std::sync::atomic::AtomicBool,
}

struct OnDrop(Arc<Notify>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Service for Fake {
    type Traffic = ();

    async fn connect(&self, port: u16) -> Result<(TcpStream, ()), NoTunnel> {
        if port == HOLDING {
            let _held = OnDrop(self.hold_dropped.clone());
            self.hold_began.notify_one();
            std::future::pending::<()>().await;
        }
        let refused = || NoTunnel::NotListening("refused".to_owned());
        if port == BROKEN {
            return Err(NoTunnel::NotStarted("its image is broken".to_owned()));
        }
        let app = self.app.filter(|app| app.port() == port);
        let app = TcpStream::connect(app.ok_or_else(refused)?).await;
        Ok((app.map_err(|_| refused())?, ()))
    }

    fn configure(&self, update: UpdateEgress) {
        self.updates.lock().unwrap().push(update);
    }

    fn carried(&self, _traffic: &(), bytes: Carried<'_>) {
        let counter = match bytes {
            Carried::In(bytes) => (&self.carried_in, bytes.len()),
            Carried::Out(bytes) => (&self.carried_out, bytes.len()),
            Carried::End => return,
        };
        counter.0.fetch_add(counter.1, Ordering::Relaxed);
    }

    fn gives_way(&self, _traffic: &()) -> bool {
        self.gives_way.load(Ordering::Relaxed)
    }

    fn traced(&self, step: Step) {
        self.steps.lock().unwrap().push(step);
    }

    fn ca_pem(&self) -> String {
        "-----BEGIN CERTIFICATE-----".to_owned()
    }
}

struct Ingress {
    address: SocketAddr,
    service: Arc<Fake>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Ingress {
    async fn with(fake: Fake) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = Arc::new(fake);
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(serve(
            listener,
            service.clone(),
            tasks.clone(),
            cancel.clone(),
        ));
        Self {
            address,
            service,
            tasks,
            cancel,
        }
    }

    async fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn answer(&self, request: &str) -> String {
        let mut answer = String::new();
        let mut stream = self.send(request).await;
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn tunnel(&self, port: u16) -> TcpStream {
        let mut stream = self.send(&connect_to(port)).await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 200 "));
        stream
    }
}

fn connect_to(port: u16) -> String {
    format!(
        "CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\
         X-Dst-Addr: 127.0.0.1:{port}\r\n\r\n"
    )
}

async fn app() -> (TcpListener, Fake) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fake = Fake {
        app: Some(listener.local_addr().unwrap()),
        ..Fake::default()
    };
    (listener, fake)
}

#[tokio::test]
async fn a_tunnel_carries_bytes_and_half_closes() {
    let (listener, fake) = app().await;
    let port = listener.local_addr().unwrap().port();
    let ingress = Ingress::with(fake).await;
    let mut client = ingress.tunnel(port).await;
    let (mut app, _) = listener.accept().await.unwrap();

    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut question = String::new();
    app.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "question");

    // The reverse direction is open after the client's end of stream.
    let answer = vec![b'a'; 3 << 20];
    app.write_all(&answer).await.unwrap();
    drop(app);
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, answer);
    ingress.cancel.cancel();
    ingress.tasks.close();
    ingress.tasks.wait().await;
    assert_eq!(ingress.service.carried_in.load(Ordering::Relaxed), 8);
    let carried_out = ingress.service.carried_out.load(Ordering::Relaxed);
    assert_eq!(carried_out, answer.len());
    let steps: Vec<Phase> = ingress
        .service
        .steps
        .lock()
        .unwrap()
        .iter()
        .map(|step| step.phase)
        .collect();
    assert_eq!(steps, [Phase::Hold, Phase::FirstByte]);
}

#[tokio::test]
async fn an_idle_tunnel_ends_when_the_app_closes_it() {
    let (listener, fake) = app().await;
    let port = listener.local_addr().unwrap().port();
    let ingress = Ingress::with(fake).await;
    let mut client = ingress.tunnel(port).await;
    let (app, _) = listener.accept().await.unwrap();
    drop(app);
    assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
}

/// One exchange over a tunnel.
async fn exchange(client: &mut TcpStream, app: &mut TcpStream, answer: &str) {
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
    client.write_all(REQUEST).await.unwrap();
    let mut request = [0; REQUEST.len()];
    app.read_exact(&mut request).await.unwrap();
    assert_eq!(request, REQUEST);
    app.write_all(answer.as_bytes()).await.unwrap();
    let mut received = vec![0; answer.len()];
    client.read_exact(&mut received).await.unwrap();
    assert_eq!(received, answer.as_bytes());
}

#[tokio::test]
async fn a_tunnel_outlives_a_container_that_gives_way() {
    let (listener, fake) = app().await;
    let port = listener.local_addr().unwrap().port();
    let ingress = Ingress::with(fake).await;
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
    let mut client = ingress.tunnel(port).await;
    let (mut former, _) = listener.accept().await.unwrap();
    exchange(&mut client, &mut former, answer).await;
    ingress.service.gives_way.store(true, Ordering::Relaxed);
    drop(former);
    let next = async { listener.accept().await.unwrap().0 };
    client.write_all(b"GET /b HTTP/1.1\r\n\r\n").await.unwrap();
    let mut next = next.await;
    let mut request = [0; 19];
    next.read_exact(&mut request).await.unwrap();
    assert_eq!(&request[..7], b"GET /b ");
    next.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nb")
        .await
        .unwrap();
    // An answer that ends with the connection does.
    drop(next);
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("\r\n\r\nb"), "{rest}");
}

#[tokio::test]
async fn a_reset_is_passed_on() {
    let (listener, fake) = app().await;
    let port = listener.local_addr().unwrap().port();
    let ingress = Ingress::with(fake).await;
    let mut client = ingress.tunnel(port).await;
    let (app, _) = listener.accept().await.unwrap();
    SockRef::from(&app)
        .set_linger(Some(std::time::Duration::ZERO))
        .unwrap();
    drop(app);
    let error = client.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn bytes_sent_too_early_arrive() {
    let (listener, fake) = app().await;
    let port = listener.local_addr().unwrap().port();
    let ingress = Ingress::with(fake).await;
    let client = ingress.send(&format!("{}early", connect_to(port))).await;
    let (mut app, _) = listener.accept().await.unwrap();
    let mut early = [0; 5];
    app.read_exact(&mut early).await.unwrap();
    assert_eq!(&early, b"early");
    drop(client);
}

#[tokio::test]
async fn a_refusal_holds_both_sentences() {
    let ingress = Ingress::with(Fake::default()).await;
    let answer = ingress.answer(&connect_to(33)).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.contains("the container is not listening in the TCP address 127.0.0.1:33"),
        "{answer}"
    );
    assert!(
        answer.contains("(Container is not listening to port 33)"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_container_that_did_not_start_is_refused_with_the_reason_only() {
    let ingress = Ingress::with(Fake::default()).await;
    let answer = ingress.answer(&connect_to(BROKEN)).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.ends_with("its image is broken"), "{answer}");
}

#[tokio::test]
async fn holding_stops_when_the_client_hangs_up() {
    let fake = Fake::default();
    let dropped = fake.hold_dropped.clone();
    let ingress = Ingress::with(fake).await;
    let client = ingress.send(&connect_to(HOLDING)).await;
    ingress.service.hold_began.notified().await;
    drop(client);
    dropped.notified().await;
}

#[tokio::test]
async fn holding_and_tunnels_stop_with_the_sidecar() {
    let fake = Fake::default();
    let dropped = fake.hold_dropped.clone();
    let ingress = Ingress::with(fake).await;
    let mut client = ingress.send(&connect_to(HOLDING)).await;
    ingress.service.hold_began.notified().await;
    ingress.cancel.cancel();
    dropped.notified().await;
    assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
    ingress.tasks.close();
    ingress.tasks.wait().await;
}

#[tokio::test]
async fn bad_requests_have_their_status() {
    let ingress = Ingress::with(Fake::default()).await;
    let cases = [
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        (
            "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nX-Dst-Addr: a:1\r\n\r\n",
            "400",
        ),
        (
            "CONNECT a:1 HTTP/1.1\r\nHost: a\r\nX-Dst-Addr: 127.0.0.1:99999\r\n\r\n",
            "400",
        ),
        (
            "PUT /egress HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
            "400",
        ),
        (
            "PUT /egress HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{\"port\":0}",
            "400",
        ),
        (
            "PUT /egress HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{",
            "400",
        ),
        ("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
        (
            "POST /egress HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "405",
        ),
        ("nonsense\r\n\r\n", "400"),
    ];
    for (request, status) in cases {
        let answer = ingress.answer(request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
    }
    assert!(ingress.service.updates.lock().unwrap().is_empty());
}

#[tokio::test]
async fn egress_updates_and_the_certificate() {
    let ingress = Ingress::with(Fake::default()).await;
    let body = r#"{"internet":{"enabled":true}}"#;
    let answer = ingress
        .answer(&format!(
            "PUT /egress HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    let expected = UpdateEgress {
        internet: Some(UpdateInternet { enabled: true }),
        ..UpdateEgress::default()
    };
    assert_eq!(*ingress.service.updates.lock().unwrap(), [expected]);
    let answer = ingress.answer("GET /ca HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.ends_with("-----BEGIN CERTIFICATE-----"), "{answer}");
}

/// Sends bytes to an ingress as another user; what came back.
async fn as_a_stranger(ingress: &Ingress, request: &str) -> Vec<u8> {
    let port = ingress.address.port();
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; printf %s \"$0\" >&3; cat <&3");
    let ran = tokio::process::Command::new("bash")
        .args(["-c", &script, request])
        .uid(65534)
        .gid(65534)
        .kill_on_drop(true)
        .output();
    // It ends when its connection does; one that is served stays open.
    let ran = tokio::time::timeout(std::time::Duration::from_secs(10), ran).await;
    ran.expect("a stranger is served").unwrap().stdout
}

#[tokio::test]
async fn other_users_are_not_answered_and_reach_nothing() {
    let (listener, fake) = app().await;
    let port = listener.local_addr().unwrap().port();
    let ingress = Ingress::with(fake).await;
    let body = r#"{"internet":{"enabled":false}}"#;
    let update = format!(
        "PUT /egress HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let ca = "GET /ca HTTP/1.1\r\nHost: a\r\n\r\n";
    for request in [&connect_to(port), &update, ca] {
        assert_eq!(as_a_stranger(&ingress, request).await, b"", "{request}");
    }
    // The same from here; the first connection that the app sees is ours.
    ingress.tunnel(port).await;
    listener.accept().await.unwrap();
    let accepted = futures_util::FutureExt::now_or_never(listener.accept());
    assert!(accepted.is_none(), "a stranger's tunnel");
    assert_eq!(ingress.service.updates.lock().unwrap().len(), 0);
    assert!(ingress.answer(&update).await.starts_with("HTTP/1.1 204 "));
    assert_eq!(ingress.service.updates.lock().unwrap().len(), 1);
}
