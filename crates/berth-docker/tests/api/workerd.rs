//! The real workerd over the API: what a Durable Object does with `ctx.container`.

use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;

use berth_docker::EGRESS_IMAGE;
use berth_engine::Status;
use berth_net::{Cidr, NetworkOptions};
use berth_workerd::Toolchain;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::world::{IMAGE, PATIENCE, World};

/// A running workerd; killed when dropped.
struct Workerd {
    process: Child,
    port: u16,
}

impl Workerd {
    async fn start(world: &World, directory: &Path) -> Self {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("berth-cache");
        let tools = Toolchain::ensure(&cache, |_| {}).await.unwrap();
        fs_err::write(directory.join("worker.js"), include_str!("worker.js")).unwrap();
        let config = directory.join("config.capnp");
        fs_err::write(&config, configuration(world, directory)).unwrap();
        let mut process = Command::new(tools.workerd)
            .args(["serve", "--experimental", "--control-fd=1"])
            .arg(config)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut events = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = events.next_line().await.unwrap().unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["event"], "listen", "{line}");
        let port = u16::try_from(event["port"].as_u64().unwrap()).unwrap();
        Self { process, port }
    }

    async fn get(&self, path: &str) -> String {
        self.send("GET", path, "").await
    }

    async fn start_container(&self, entrypoint: &[&str], internet: bool) {
        let body = json!({"entrypoint": entrypoint, "internet": internet}).to_string();
        assert_eq!(self.send("POST", "/start", &body).await, "started");
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> String {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut answer = String::new();
        let exchange = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.read_to_string(&mut answer).await.unwrap();
        };
        tokio::time::timeout(PATIENCE, exchange).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        body.to_owned()
    }

    /// Lets it end as a supervisor does: workerd destroys its containers before it leaves.
    async fn terminate(mut self) {
        let pid = i32::try_from(self.process.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        assert!(ended.unwrap().unwrap().success());
    }
}

fn configuration(world: &World, directory: &Path) -> String {
    let socket = world.docker.socket.display();
    let storage = directory.join("storage");
    fs_err::create_dir_all(&storage).unwrap();
    let storage = storage.display();
    format!(
        r#"using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "internet", network = (allow = ["0.0.0.0/0"])),
    (name = "storage", disk = (path = "{storage}", writable = true)),
    (name = "main", worker = (
      modules = [(name = "worker", esModule = embed "worker.js")],
      compatibilityDate = "2026-06-01",
      compatibilityFlags = ["experimental"],
      containerEngine = (localDocker = (
        socketPath = "unix:{socket}",
        containerEgressInterceptorImage = "{EGRESS_IMAGE}")),
      durableObjectNamespaces = [(
        className = "Box", uniqueKey = "hello-Box", enableSql = true,
        container = (imageName = "{IMAGE}"))],
      durableObjectStorage = (localDisk = "storage"),
      bindings = [(name = "BOX", durableObjectNamespace = "Box")])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", service = "main")],
);
"#
    )
}

/// An address of this machine that is not the loopback's.
fn own_address() -> IpAddr {
    // Nothing is sent: connecting a datagram socket only picks the source address.
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    probe.connect("192.0.2.1:9").unwrap();
    probe.local_addr().unwrap().ip()
}

/// Lets containers reach [`own_address`], which they may not otherwise.
fn own_address_allowed() -> NetworkOptions {
    NetworkOptions {
        allowed_destinations: vec![Cidr::new(own_address(), 32).unwrap()],
        ..NetworkOptions::default()
    }
}

/// An HTTP server of the test on an address that is not the loopback's; what containers see as the
/// internet.
async fn outside() -> std::net::SocketAddr {
    let listener = TcpListener::bind((own_address(), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\noutside";
                stream.write_all(answer).await
            });
        }
    });
    address
}

const APP: [&str; 4] = ["/guest", "http", "8080", "100"];

#[tokio::test(flavor = "multi_thread")]
async fn start_fetch_signal_destroy_and_start_again() {
    let world = World::with_networks(own_address_allowed()).await;
    let directory = tempfile::tempdir().unwrap();
    let workerd = Workerd::start(&world, directory.path()).await;
    assert_eq!(workerd.get("/running").await, "false");

    workerd.start_container(&APP, false).await;
    // The port opens 100 ms later; the first try is held until then.
    assert_eq!(workerd.get("/app/first").await, "/first hello");
    assert_eq!(workerd.get("/app/second").await, "/second hello");
    let refused = workerd.get("/refused").await;
    assert!(
        refused.contains("the container is not listening"),
        "{refused}"
    );
    assert!(refused.contains("Container is not listening to port 33"));

    assert_eq!(workerd.get("/signal?n=15").await, "sent");
    assert_eq!(workerd.get("/exit").await, "exited with 0");
    assert_eq!(workerd.get("/running").await, "false");

    workerd
        .start_container(&["/guest", "exit", "3"], false)
        .await;
    let exit = workerd.get("/exit").await;
    assert!(exit.starts_with("3: "), "{exit}");

    workerd.start_container(&APP, false).await;
    assert_eq!(workerd.get("/app/again").await, "/again hello");
    assert_eq!(workerd.get("/destroy").await, "destroyed");
    let exit = workerd.get("/exit").await;
    assert!(exit.starts_with("137: "), "{exit}");
    assert!(world.engine.list().is_empty());

    workerd.start_container(&APP, false).await;
    assert_eq!(workerd.get("/app/last").await, "/last hello");
    workerd.terminate().await;
    assert!(world.engine.list().is_empty());
    assert_eq!(
        world.docker.get("/containers/json?all=1").await.json(),
        json!([])
    );
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn egress_with_and_without_the_internet() {
    let world = World::with_networks(own_address_allowed()).await;
    let directory = tempfile::tempdir().unwrap();
    let workerd = Workerd::start(&world, directory.path()).await;
    let outside = outside().await;
    let out = format!("/app/out/{}/{}", outside.ip(), outside.port());

    workerd.start_container(&APP, true).await;
    let answer = workerd.get(&out).await;
    assert!(answer.ends_with("outside"), "{answer}");
    assert_eq!(workerd.get("/intercept").await, "intercepting");
    let answer = workerd.get("/app/out/203.0.113.7/80").await;
    assert!(answer.contains("intercepted /from-inside"), "{answer}");
    // Raw connections, to an address with a port and to any port of a range.
    for raw in ["203.0.113.9/7000", "198.19.0.7/25"] {
        let answer = workerd.get(&format!("/app/out/{raw}")).await;
        assert!(answer.starts_with("heard GET /from-inside"), "{answer}");
    }
    assert_eq!(workerd.get("/destroy").await, "destroyed");

    workerd.start_container(&APP, false).await;
    assert_eq!(workerd.get(&out).await, "closed");
    workerd.terminate().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_workerd_adopts_the_containers_of_a_killed_one() {
    let world = World::with_networks(own_address_allowed()).await;
    let directory = tempfile::tempdir().unwrap();
    let mut workerd = Workerd::start(&world, directory.path()).await;
    workerd.start_container(&APP, false).await;
    assert_eq!(workerd.get("/app/before").await, "/before hello");
    workerd.process.kill().await.unwrap();
    let left = world.engine.list();
    assert_eq!((left.len(), left[0].status), (1, Status::Running));

    let workerd = Workerd::start(&world, directory.path()).await;
    assert_eq!(workerd.get("/adopt").await, "true");
    assert_eq!(workerd.get("/app/after").await, "/after hello");
    assert_eq!(world.engine.list()[0].pid, left[0].pid);
    // The policy outlives the one who set it: still no internet.
    let outside = outside().await;
    let out = format!("/app/out/{}/{}", outside.ip(), outside.port());
    assert_eq!(workerd.get(&out).await, "closed");
    assert_eq!(workerd.get("/signal?n=9").await, "sent");
    let exit = workerd.get("/exit").await;
    assert!(exit.starts_with("137: "), "{exit}");
    workerd.terminate().await;
    world.close().await;
}
