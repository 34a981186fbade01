//! A running `berth dev`: started, awaited, driven, and ended, whatever the test does.

pub(crate) mod child;

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};

use rustix::process::Signal;

use child::{Process, STOP_PATIENCE};

use crate::{
    Client, Event, Events, Footprint, PATIENCE, Project, Reply, START_PATIENCE, Terminal,
    WebSocket, World,
};

/// A session to be.
#[derive(Debug)]
pub struct SessionBuilder {
    world: World,
    project: Project,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    terminal: bool,
}

/// A session that is running. Ends with [`DevSession::stop`], or when it is dropped.
#[derive(Debug)]
pub struct DevSession {
    process: Process,
    client: Client,
    project: Project,
    world: World,
    url: String,
    session: String,
    control: String,
    /// Keyboard, if the session was started with one.
    pub terminal: Option<Terminal>,
}

/// A session that ended before it was ready.
#[derive(Debug)]
pub struct Failed {
    /// How it ended.
    pub status: ExitStatus,
    /// Everything it said: error events and standard error.
    pub message: String,
    /// Its events.
    pub events: Events,
}

/// A session that was killed without a chance to clean up.
#[derive(Debug)]
pub struct Killed {
    /// What the next session has to clean up.
    pub footprint: Footprint,
    /// How its process ended.
    pub status: ExitStatus,
}

impl SessionBuilder {
    pub(crate) fn new(world: World, project: &Project) -> Self {
        Self {
            world,
            project: project.clone(),
            arguments: Vec::new(),
            environment: Vec::new(),
            terminal: false,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<const N: usize>(mut self, arguments: [&str; N]) -> Self {
        self.arguments.extend(arguments.map(OsString::from));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Gives it a terminal as its standard input.
    #[must_use]
    pub fn with_terminal(mut self) -> Self {
        self.terminal = true;
        self
    }

    /// Starts it and waits until it answers requests.
    pub async fn start(self) -> DevSession {
        match self.attempt().await {
            Ok(session) => session,
            Err(failed) => panic!(
                "the session ended ({}) before it was ready\n{}\n{}",
                failed.status,
                failed.message,
                failed.events.transcript()
            ),
        }
    }

    /// Starts it, expecting that it refuses; what it said.
    pub async fn refused(self) -> Failed {
        match self.attempt().await {
            Ok(session) => panic!("the session started at {}", session.url),
            Err(failed) => *failed,
        }
    }

    /// Spawns it and returns at once: for tests about the time before it is ready.
    fn spawn(&self) -> (Process, Option<Terminal>) {
        let mut command = self.world.command();
        command.arg("dev").arg(self.project.path()).arg("--json");
        if !self.arguments.iter().any(|argument| argument == "--port") {
            command.args(["--port", "0"]);
        }
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let terminal = self.terminal.then(|| {
            let (terminal, slave) = Terminal::open();
            command.stdin(Stdio::from(slave));
            terminal
        });
        let process = Process::spawn(&self.world, command, self.project.path());
        (process, terminal)
    }

    async fn attempt(self) -> Result<DevSession, Box<Failed>> {
        let (mut process, terminal) = self.spawn();
        let ready = process.events.find_from(0, |event| event.kind() == "ready");
        let Ok(ready) = tokio::time::timeout(START_PATIENCE, ready).await else {
            panic!(
                "not ready within {START_PATIENCE:?}\n{}",
                process.transcript()
            );
        };
        let Some(ready) = ready else {
            return Err(Box::new(process.into_failed().await));
        };
        let url = ready.text("url").to_owned();
        let port = url.rsplit(':').next().and_then(|port| port.parse().ok());
        let port = port.unwrap_or_else(|| panic!("no port in `{url}`"));
        let session = ready.text("session").to_owned();
        if let Some(footprint) = &mut process.footprint {
            footprint.identify(&session, Some(port));
        }
        Ok(DevSession {
            client: Client::new(&url),
            control: ready.text("control").to_owned(),
            project: self.project,
            world: self.world,
            process,
            url,
            session,
            terminal,
        })
    }
}

impl DevSession {
    /// Where it answers: `http://localhost:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.session
    }

    /// The path of its Docker API socket.
    pub fn control(&self) -> &str {
        &self.control
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.process.pid
    }

    /// What it has reported so far.
    pub fn events(&self) -> &Events {
        &self.process.events
    }

    /// Its project.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// A client for it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// `GET path`, which must answer 200; the text.
    pub async fn text(&self, path: &str) -> String {
        self.client.get(path).await.ok().text()
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Reply {
        self.client.get(path).await
    }

    /// Opens a WebSocket.
    pub async fn websocket(&self, path: &str) -> WebSocket {
        WebSocket::connect(&self.url, path).await
    }

    /// Waits for an event, past or future.
    pub async fn event(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        self.process.events.wait(what, PATIENCE, wanted).await
    }

    /// Waits for a log line that contains `text`, past or future.
    pub async fn log(&self, text: &str) -> Event {
        let what = format!("log line with `{text}`");
        self.event(&what, |event| event.is_log(text)).await
    }

    /// Waits until a container whose name contains `name` has done `action`.
    pub async fn container(&self, action: &str, name: &str) -> Event {
        let what = format!("container `{name}` that {action}");
        self.event(&what, |event| event.is_container(action, name))
            .await
    }

    /// Runs another `berth` command for this session's project: `ps`, `logs`, `exec`.
    pub async fn berth<const N: usize>(&self, arguments: [&str; N]) -> std::process::Output {
        let mut command = self.world.command();
        command.args(arguments).current_dir(self.project.path());
        crate::run(command, b"").await
    }

    /// Sends a signal to its process.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Ctrl-C, then waits for the end and checks that nothing is left.
    pub async fn stop(self) {
        self.process.stop().await;
    }

    /// Waits for the end of a session that was told to leave, and checks that nothing is left.
    pub async fn ended(mut self) -> ExitStatus {
        self.process.observe();
        let status = self.process.wait(STOP_PATIENCE).await;
        self.process.assert_gone();
        status
    }

    /// Kills its process without warning.
    pub async fn kill(self) -> Killed {
        self.process.kill().await
    }

    /// Waits for the end of a session that kills itself at a crash point.
    pub async fn crashed(self) -> Killed {
        self.process.crashed().await
    }

    /// Kills a child of its process without warning: the one that has this name as its first
    /// argument, or a path that ends with it. Returns when it has ended.
    pub async fn kill_child(&self, name: &str) {
        self.process.kill_child(name).await;
    }
}
