//! What a test of the API stands on: an image with the guest program, an engine, the server, and a
//! client that writes requests byte by byte as workerd does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use berth_docker::{Application, Applications, DockerApi, Identity};
use berth_engine::{Engine, EngineConfig, Event};
use berth_image::ImageStore;
use berth_jail::{Limits, OnDisconnect, Zygote, ZygoteConfig};
use berth_net::NetworkOptions;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

/// Name of the image in the store.
pub const IMAGE: &str = "guest:test";

/// Object id in the container's name.
pub const OBJECT: &str = "4f3a9c0d4f3a9c0d4f3a9c0d4f3a9c0d4f3a9c0d4f3a9c0d4f3a9c0d4f3a9c0d";

/// The longest a test waits for one event.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A session: everything but workerd.
pub struct World {
    /// Kept until the end: everything on disk is in it.
    _directory: TempDir,
    pub engine: Engine,
    pub api: Arc<DockerApi>,
    pub docker: Docker,
    zygote: Zygote,
}

/// The container's name as workerd makes it.
pub fn name() -> String {
    format!("workerd-hello-Box-{OBJECT}")
}

/// Its sidecar's.
pub fn proxy() -> String {
    format!("{}-proxy", name())
}

impl World {
    pub async fn new() -> Self {
        Self::with_networks(NetworkOptions::default()).await
    }

    pub async fn with_networks(networks: NetworkOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let images = ImageStore::open(&directory.path().join("images")).unwrap();
        let rootfs = guest_rootfs();
        images.import_rootfs(rootfs.as_slice(), IMAGE).unwrap();
        let session = format!("berth-docker-test-{}", uuid::Uuid::new_v4().simple());
        let zygote = Zygote::launch(ZygoteConfig {
            executable: PathBuf::from(env!("CARGO_BIN_EXE_berth-docker-test-zygote")),
            cgroup: session.clone(),
            on_disconnect: OnDisconnect::KillAll,
        })
        .await
        .unwrap();
        let config = EngineConfig {
            state_dir: directory.path().join("state"),
            startup_cpu_milli: None,
            default_limits: Limits::default(),
            criu: None,
            log_bytes: 1 << 20,
        };
        let engine = Engine::open(config, images, zygote.clone()).await.unwrap();
        let socket = directory.path().join("docker.sock");
        let api = DockerApi::serve_with(&socket, engine.clone(), applications(), networks)
            .await
            .unwrap();
        Self {
            docker: Docker { socket },
            _directory: directory,
            engine,
            api,
            zygote,
        }
    }

    pub async fn close(self) {
        self.api.shutdown().await;
        self.engine.shutdown().await;
        self.zygote.shutdown().await;
    }

    /// Makes and starts a sidecar; the port of its ingress.
    pub async fn sidecar(&self) -> u16 {
        self.docker.create_sidecar(&proxy()).await;
        let reply = self
            .docker
            .post(&format!("/containers/{}/start", proxy()))
            .await;
        assert_eq!(reply.status, 204);
        self.docker.ingress_port(&proxy()).await
    }

    /// Makes an application container that joins the sidecar.
    pub async fn create(&self, command: &[&str]) -> Reply {
        let path = format!("/containers/create?name={}", name());
        self.docker.send("POST", &path, &app_body(command)).await
    }

    /// Makes and starts one.
    pub async fn run(&self, command: &[&str]) {
        let created = self.create(command).await;
        assert_eq!(created.status, 201, "{created:?}");
        let started = self
            .docker
            .post(&format!("/containers/{}/start", name()))
            .await;
        assert_eq!(started.status, 204, "{started:?}");
    }

    /// Makes and starts one that handles SIGTERM, and waits until it does.
    pub async fn run_until_ready(&self) {
        let mut events = self.engine.events();
        self.run(&["/guest", "lines", "1"]).await;
        self.until(&mut events, |event| matches!(event, Event::Log { .. }))
            .await;
    }

    /// Waits for an event of the application container.
    pub async fn until(
        &self,
        events: &mut tokio::sync::broadcast::Receiver<Event>,
        wanted: impl Fn(&Event) -> bool,
    ) {
        let seen = async { while !wanted(&events.recv().await.unwrap()) {} };
        tokio::time::timeout(PATIENCE, seen).await.unwrap();
    }
}

/// A create request of workerd's, defaults and placeholders included.
pub fn app_body(command: &[&str]) -> Value {
    let mut body = json!({
        "Image": IMAGE,
        "Env": [
            "A=B",
            "CLOUDFLARE_REGION=mine",
            "CLOUDFLARE_COUNTRY_A2=XX",
            "CLOUDFLARE_DEPLOYMENT_ID=xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
            "CLOUDFLARE_LOCATION=loc01",
            "CLOUDFLARE_REGION=REGN",
            "CLOUDFLARE_APPLICATION_ID=xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
            format!("CLOUDFLARE_DURABLE_OBJECT_ID={}", "x".repeat(64)),
        ],
        "StopTimeout": 10,
        "HostConfig": {
            "Memory": 0, "NanoCpus": 0, "PidsLimit": 0, "ShmSize": 0,
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 0},
            "NetworkMode": format!("container:{}", proxy()),
        },
    });
    if !command.is_empty() {
        body["Cmd"] = json!(command);
    }
    body
}

pub(crate) fn applications() -> Applications {
    Applications {
        applications: vec![Application {
            unique_key: "hello-Box".to_owned(),
            class_name: "Box".to_owned(),
            limits: Limits {
                memory_bytes: Some(64 << 20),
                ..Limits::default()
            },
            sleep: None,
            chooser: None,
            sizer: None,
            made_for: None,
            max_instances: 4,
            stop_grace: berth_engine::STOP_GRACE,
            application_id: "the-application".to_owned(),
        }],
        identity: Identity {
            deployment_id: "the-deployment".to_owned(),
            location: "here".to_owned(),
            region: "EARTH".to_owned(),
            country: "DE".to_owned(),
            node_id: "the-node".to_owned(),
        },
        starts_per_second: None,
    }
}

/// A tar with the guest program as `/guest`, and `/etc`, `/tmp`.
fn guest_rootfs() -> Vec<u8> {
    static GUEST: OnceLock<Vec<u8>> = OnceLock::new();
    let program = GUEST.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/guest.c");
        let guest = directory.path().join("guest");
        let status = Command::new("gcc")
            .args(["-static", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&guest)
            .arg(&source)
            .status()
            .unwrap();
        assert!(status.success(), "the guest program does not compile");
        fs_err::read(guest).unwrap()
    });
    let mut tar = tar::Builder::new(Vec::new());
    for directory in ["etc", "tmp"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(if directory == "tmp" { 0o1777 } else { 0o755 });
        tar.append_data(&mut header, directory, std::io::empty())
            .unwrap();
    }
    let mut header = tar::Header::new_gnu();
    header.set_size(program.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, "guest", program.as_slice())
        .unwrap();
    tar.into_inner().unwrap()
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap().to_owned()
    }
}

/// Requests over the socket.
#[derive(Clone)]
pub struct Docker {
    pub socket: PathBuf,
}

impl Docker {
    pub async fn get(&self, path: &str) -> Reply {
        self.raw(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ))
        .await
    }

    /// Without a body, chunked as workerd has it.
    pub async fn post(&self, path: &str) -> Reply {
        self.raw(&bodyless("POST", path)).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.raw(&bodyless("DELETE", path)).await
    }

    pub async fn send(&self, method: &str, path: &str, body: &Value) -> Reply {
        let body = body.to_string();
        self.raw(&format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await
    }

    /// Uploads an archive.
    pub async fn upload(&self, container: &str, path: &str, tar: &[u8]) -> Reply {
        let mut stream = UnixStream::connect(&self.socket).await.unwrap();
        let head = format!(
            "PUT /containers/{container}/archive?path={path} HTTP/1.1\r\nHost: localhost\r\n\
             Connection: close\r\nContent-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
            tar.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(tar).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
        parse(&answer)
    }

    /// Downloads an archive.
    pub async fn download(&self, container: &str, path: &str) -> Reply {
        let path = format!("/containers/{container}/archive?path={path}");
        self.get(&path).await
    }

    /// Force-deletes a container.
    pub async fn remove(&self, name: &str) -> Reply {
        self.delete(&format!("/containers/{name}?force=true")).await
    }

    pub async fn inspect(&self, name: &str) -> Reply {
        self.get(&format!("/containers/{name}/json")).await
    }

    /// A wait that is registered when this returns.
    pub async fn wait(&self, name: &str, query: &str) -> Waiting {
        let mut stream = UnixStream::connect(&self.socket).await.unwrap();
        let request = bodyless("POST", &format!("/containers/{name}/wait{query}"));
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        Waiting { stream, head }
    }

    pub async fn create_sidecar(&self, name: &str) {
        let body = json!({
            "Image": berth_docker::EGRESS_IMAGE,
            "Cmd": ["--http-egress-port", "9", "--http-ingress-address", "0.0.0.0:39001"],
            "ExposedPorts": {"39001/tcp": {}},
            "HostConfig": {"PublishAllPorts": true, "NetworkMode": "bridge"},
        });
        let path = format!("/containers/create?name={name}");
        let reply = self.send("POST", &path, &body).await;
        assert_eq!(reply.status, 201, "{reply:?}");
    }

    pub async fn ingress_port(&self, name: &str) -> u16 {
        let inspected = self.inspect(name).await;
        assert_eq!(inspected.status, 200);
        let inspected = inspected.json();
        assert_eq!(inspected["State"]["Status"], "running");
        let port = &inspected["NetworkSettings"]["Ports"]["39001/tcp"][0]["HostPort"];
        port.as_str().unwrap().parse().unwrap()
    }

    pub async fn raw(&self, request: &str) -> Reply {
        let mut stream = UnixStream::connect(&self.socket).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
        parse(&answer)
    }
}

/// A `/wait` whose headers have come.
pub struct Waiting {
    stream: UnixStream,
    head: Vec<u8>,
}

impl Waiting {
    /// The status code in the body.
    pub async fn code(mut self) -> i64 {
        let mut answer = std::mem::take(&mut self.head);
        let read = self.stream.read_to_end(&mut answer);
        tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
        let reply = parse(&answer);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["StatusCode"].as_i64().unwrap()
    }

    pub fn status(&self) -> u16 {
        status_of(std::str::from_utf8(&self.head).unwrap())
    }
}

fn bodyless(method: &str, path: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
}

fn status_of(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

fn parse(answer: &[u8]) -> Reply {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let body = &answer[end + 4..];
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    Reply {
        status: status_of(&head),
        body: if chunked {
            dechunk(body)
        } else {
            body.to_vec()
        },
        head,
    }
}

fn dechunk(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|w| w == b"\r\n").unwrap();
        let size = std::str::from_utf8(&body[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 4 + size..];
    }
}

/// One request to an ingress, answered and closed.
pub async fn ingress(port: u16, method: &str, path: &str, body: &str) -> Reply {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    parse(&answer)
}

/// A `CONNECT`; the stream and, if refused, the rest of the answer.
pub async fn connect(ingress: u16, port: u16) -> Result<TcpStream, Reply> {
    let mut stream = TcpStream::connect(("127.0.0.1", ingress)).await.unwrap();
    let request = format!(
        "CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\
         X-Dst-Addr: 127.0.0.1:{port}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = stream.read_u8();
        head.push(tokio::time::timeout(PATIENCE, byte).await.unwrap().unwrap());
    }
    if status_of(std::str::from_utf8(&head).unwrap()) == 200 {
        return Ok(stream);
    }
    stream.read_to_end(&mut head).await.unwrap();
    Err(parse(&head))
}

/// Sends a word through a tunnel to an echoing application and reads it back.
pub async fn echo(tunnel: &mut TcpStream, word: &str) {
    tunnel.write_all(word.as_bytes()).await.unwrap();
    let mut back = vec![0; word.len()];
    let read = tunnel.read_exact(&mut back);
    tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
    assert_eq!(back, word.as_bytes());
}
