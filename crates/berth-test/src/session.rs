//! A running `berth dev`: started, awaited, driven, and ended, whatever the test does.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::SemaphorePermit;

use crate::{
    Client, Event, Events, Footprint, PATIENCE, Project, Reply, START_PATIENCE, Terminal,
    WebSocket, World,
};

/// How long an ordered end may take: containers get SIGTERM and some seconds.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

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
    _slot: SemaphorePermit<'static>,
}

/// The child process and what must happen to it.
#[derive(Debug)]
struct Process {
    child: Child,
    pid: i32,
    events: Events,
    stderr: Arc<Mutex<String>>,
    footprint: Option<Footprint>,
    slot: Option<SemaphorePermit<'static>>,
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
    async fn spawn(&self) -> (Process, Option<Terminal>) {
        let slot = self.world.slot().await;
        // One for each session, and not what a parallel one has.
        let mark = format!("BERTH_TEST_MARK={}", mark());
        let (name, value) = mark.split_once('=').unwrap_or_default();
        let mut command = self.world.command();
        command.arg("dev").arg(self.project.path()).arg("--json");
        if !self.arguments.iter().any(|argument| argument == "--port") {
            command.args(["--port", "0"]);
        }
        command
            .args(&self.arguments)
            .env(name, value)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let terminal = self.terminal.then(|| {
            let (terminal, slave) = Terminal::open();
            command.stdin(Stdio::from(slave));
            terminal
        });
        let mut child = tokio::process::Command::from(command)
            .spawn()
            .expect("spawn berth dev");
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let stderr = Arc::default();
        collect(
            child.stderr.take().expect("it is piped"),
            Arc::clone(&stderr),
        );
        let process = Process {
            pid: pid.expect("it has just been spawned"),
            events: Events::read(child.stdout.take().expect("it is piped")),
            child,
            stderr,
            footprint: Some(Footprint::new(
                mark,
                pid,
                self.world.data_dir(),
                self.project.path(),
            )),
            slot: Some(slot),
        };
        (process, terminal)
    }

    async fn attempt(self) -> Result<DevSession, Box<Failed>> {
        let (mut process, terminal) = self.spawn().await;
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
            footprint.identify(&session, port);
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
        tokio::process::Command::from(command)
            .kill_on_drop(true)
            .output()
            .await
            .expect("run berth")
    }

    /// Sends a signal to its process.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.pid).expect("a process id is not zero");
        kill_process(pid, signal).expect("signal the session");
    }

    /// Ctrl-C, then waits for the end and checks that nothing is left.
    pub async fn stop(mut self) {
        self.process.observe();
        self.signal(Signal::INT);
        let status = self.process.wait(STOP_PATIENCE).await;
        assert!(
            status.success(),
            "the session ended with {status}\n{}",
            self.process.transcript()
        );
        self.process.assert_gone();
    }

    /// Waits for the end of a session that was told to leave, and checks that nothing is left.
    pub async fn ended(mut self) -> ExitStatus {
        self.process.observe();
        let status = self.process.wait(STOP_PATIENCE).await;
        self.process.assert_gone();
        status
    }

    /// Kills its process without warning.
    pub async fn kill(mut self) -> Killed {
        self.process.observe();
        self.signal(Signal::KILL);
        self.process.wait(STOP_PATIENCE).await;
        Killed {
            footprint: self
                .process
                .footprint
                .take()
                .expect("it was not taken before"),
            _slot: self.process.slot.take().expect("it was not taken before"),
        }
    }
}

impl Process {
    fn observe(&mut self) {
        if let Some(footprint) = &mut self.footprint {
            footprint.observe();
        }
    }

    async fn wait(&mut self, patience: Duration) -> ExitStatus {
        match tokio::time::timeout(patience, self.child.wait()).await {
            Ok(status) => status.expect("wait for the session"),
            Err(_) => panic!(
                "the session runs on for {patience:?}\n{}",
                self.transcript()
            ),
        }
    }

    #[track_caller]
    fn assert_gone(&mut self) {
        if let Some(footprint) = self.footprint.take() {
            let remains = footprint.remains();
            footprint.kill_processes();
            assert!(
                remains.is_empty(),
                "the session left behind:\n  {}\n{}",
                remains.join("\n  "),
                self.transcript()
            );
        }
    }

    async fn into_failed(mut self) -> Failed {
        let status = self.wait(STOP_PATIENCE).await;
        self.assert_gone();
        let mut message = String::new();
        for event in self.events.all() {
            if matches!(event.kind(), "error" | "warning") {
                let _ = writeln!(message, "{}", event.text("message"));
            }
        }
        message.push_str(&self.stderr.lock().expect("no holder panics"));
        Failed {
            status,
            message,
            events: self.events.clone(),
        }
    }

    fn transcript(&self) -> String {
        let stderr = self.stderr.lock().expect("no holder panics");
        format!(
            "{}\n--- standard error:\n{stderr}---",
            self.events.transcript()
        )
    }
}

impl Drop for Process {
    /// A test that failed, or forgot to stop: ends the session in order, then by force.
    fn drop(&mut self) {
        let Some(mut footprint) = self.footprint.take() else {
            return;
        };
        footprint.observe();
        if let Some(pid) = Pid::from_raw(self.pid)
            && matches!(self.child.try_wait(), Ok(None))
        {
            let _ = kill_process(pid, Signal::INT);
            // Blocking is right here: nothing else of this test will run any more.
            footprint.await_root(STOP_PATIENCE);
        }
        let _ = self.child.start_kill();
        let remains = footprint.remains();
        footprint.kill_processes();
        if !remains.is_empty() {
            let report = format!("the session left behind:\n  {}", remains.join("\n  "));
            assert!(std::thread::panicking(), "{report}\n{}", self.transcript());
            eprintln!("{report}");
        }
    }
}

fn collect(stderr: tokio::process::ChildStderr, into: Arc<Mutex<String>>) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(stderr).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            let mut text = into.lock().expect("no holder panics");
            text.push_str(&String::from_utf8_lossy(&line));
            text.push('\n');
        }
    });
}

/// A value no other session of any test has.
fn mark() -> String {
    use std::hash::{BuildHasher, RandomState};
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let random = RandomState::new().hash_one(number);
    format!("{}-{number}-{random:016x}", std::process::id())
}
