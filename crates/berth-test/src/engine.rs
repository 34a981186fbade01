//! A running `berth engine`, and an unmodified wrangler that uses it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, MutexGuard};

use crate::session::child::{Process, STOP_PATIENCE};
use crate::wrangler;
use crate::{Client, Event, Events, Killed, PATIENCE, Project, Reply, START_PATIENCE, World};

/// One engine at a time: the tests share a data directory.
static ENGINE: Mutex<()> = Mutex::const_new(());

/// A `berth engine`. Ends with [`EngineSession::stop`], or when it is dropped.
#[derive(Debug)]
pub struct EngineSession {
    process: Process,
    world: World,
    host: String,
    docker: PathBuf,
    session: String,
    _one: Option<MutexGuard<'static, ()>>,
}

/// A `wrangler dev`. Ends with [`Wrangler::stop`], or when it is dropped.
#[derive(Debug)]
pub struct Wrangler {
    process: Process,
    client: Client,
}

impl EngineSession {
    pub(crate) async fn start(world: World) -> Self {
        let one = ENGINE.lock().await;
        let mut command = world.command();
        command.args(["engine", "--json"]);
        let data = world.data_dir();
        Self {
            _one: Some(one),
            ..Self::spawn(world, command, &data).await
        }
    }

    pub(crate) async fn start_in(world: World, data: &Path, crash_points: &Path) -> Self {
        let mut command = world.command();
        command
            .args(["engine", "--json"])
            .env("BERTH_DATA_DIR", data)
            .env(berth_crash::VARIABLE, crash_points);
        Self::spawn(world, command, data).await
    }

    async fn spawn(world: World, command: Command, data: &Path) -> Self {
        // Nothing of the engine is in a project.
        let mut process = Process::spawn_in(data, command, Path::new("/nonexistent"));
        let ready = process
            .events
            .wait("readiness", PATIENCE, |event| {
                event.kind() == "engine_ready"
            })
            .await;
        if let Some(footprint) = &mut process.footprint {
            footprint.identify(ready.text("session"), None);
        }
        Self {
            process,
            world,
            host: ready.text("docker_host").to_owned(),
            docker: PathBuf::from(ready.text("docker_bin")),
            session: ready.text("session").to_owned(),
            _one: None,
        }
    }

    /// Its session's id.
    pub fn id(&self) -> &str {
        &self.session
    }

    /// Sends a signal to its process.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Kills its process without warning.
    pub async fn kill(self) -> Killed {
        self.process.kill().await
    }

    /// Waits for the end of an engine that kills itself at a crash point.
    pub async fn crashed(self) -> Killed {
        self.process.crashed().await
    }

    /// Kills a child of its process; see [`crate::DevSession::kill_child`].
    pub async fn kill_child(&self, name: &str) {
        self.process.kill_child(name).await;
    }

    /// One request to its API: status and body. `None` if it died before it had answered.
    pub async fn request(&self, method: &str, path: &str, body: &[u8]) -> Option<(u16, String)> {
        let socket = self.host.strip_prefix("unix://").expect("it is a socket");
        let exchange = async {
            let mut stream = UnixStream::connect(socket).await?;
            let length = body.len();
            // HTTP/1.0: the answer ends with the connection and is not in chunks.
            let head = format!("{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        let answer = exchange.await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// What it says `DOCKER_HOST` must be.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What it says `WRANGLER_DOCKER_BIN` must be.
    pub fn docker_path(&self) -> &Path {
        &self.docker
    }

    /// What it has reported so far.
    pub fn events(&self) -> &Events {
        &self.process.events
    }

    /// Waits until a container whose name contains `name` has done `action`.
    pub async fn container(&self, action: &str, name: &str) -> Event {
        let what = format!("container `{name}` that {action}");
        let wanted = |event: &Event| event.is_container(action, name);
        self.events().wait(&what, PATIENCE, wanted).await
    }

    /// Runs its `docker` command to its end, with nothing but the address in the environment.
    pub async fn docker<const N: usize>(&self, arguments: [&str; N], input: &str) -> Output {
        let mut command = Command::new(&self.docker);
        command
            .args(arguments)
            .env_remove("BERTH_DATA_DIR")
            .env("DOCKER_HOST", &self.host);
        crate::run(command, input.as_bytes()).await
    }

    /// The same for a command that must succeed; its standard output.
    pub async fn docker_ok<const N: usize>(&self, arguments: [&str; N], input: &str) -> String {
        let output = self.docker(arguments, input).await;
        assert!(
            output.status.success(),
            "docker {arguments:?}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("docker prints text")
    }

    /// Starts the pinned wrangler on a project and waits until it is ready.
    pub async fn wrangler(&self, project: &Project) -> Wrangler {
        let mut command = wrangler::command(&self.world, project, wrangler::Release::Newest);
        command
            .args(["dev", "--ip", "127.0.0.1", "--port", "0"])
            .env("DOCKER_HOST", &self.host)
            .env("WRANGLER_DOCKER_BIN", &self.docker);
        let mut process = Process::spawn(&self.world, command, project.path());
        let said = |event: &Event| event.text("message").contains("Ready on ");
        let ready = tokio::time::timeout(START_PATIENCE, process.events.find_from(0, said)).await;
        let Ok(Some(ready)) = ready else {
            panic!("wrangler is not ready\n{}", process.transcript());
        };
        let (_, url) = ready
            .text("message")
            .split_once("Ready on ")
            .expect("it was found");
        let port = url.rsplit(':').next().and_then(|port| port.parse().ok());
        let port = port.unwrap_or_else(|| panic!("no port in `{url}`"));
        if let Some(footprint) = &mut process.footprint {
            footprint.listens(port);
        }
        Wrangler {
            client: Client::new(url),
            process,
        }
    }

    /// Ctrl-C, then waits for the end and checks that nothing is left.
    pub async fn stop(self) {
        let socket = self.host.strip_prefix("unix://").expect("it is a socket");
        self.process.stop().await;
        assert!(
            std::fs::symlink_metadata(socket).is_err(),
            "the address {socket} stays behind"
        );
    }
}

impl Wrangler {
    /// `GET path`.
    pub async fn get(&self, path: &str) -> Reply {
        self.client.get(path).await
    }

    /// `GET path`, which must answer 200; the text.
    pub async fn text(&self, path: &str) -> String {
        self.client.get(path).await.ok().text()
    }

    /// Its output; every line is the `message` of an event.
    pub fn output(&self) -> &Events {
        &self.process.events
    }

    /// Ctrl-C, then waits for the end, also of the process that miniflare leaves to remove what
    /// workerd has not, and checks that nothing of it is left.
    pub async fn stop(mut self) {
        /// wrangler 4.164's way of saying that it was interrupted.
        const INTERRUPTED: i32 = 130;
        self.process.observe();
        self.process.signal(Signal::INT);
        let status = self.process.wait(STOP_PATIENCE).await;
        assert!(
            status.success() || status.code() == Some(INTERRUPTED),
            "wrangler ended with {status}\n{}",
            self.process.transcript()
        );
        if let Some(footprint) = self.process.footprint.take() {
            let awaited = tokio::task::spawn_blocking(move || {
                footprint.await_all(STOP_PATIENCE);
                footprint
            });
            self.process.footprint = Some(awaited.await.expect("waiting does not panic"));
        }
        self.process.assert_gone();
    }
}
