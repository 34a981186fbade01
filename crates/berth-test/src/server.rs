//! A running `berth serve`, and an unmodified wrangler that deploys to it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use http::{HeaderValue, Method, header};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::sync::mpsc;

use crate::session::child::Process;
use crate::tree::{Tree, run};
use crate::wrangler::Release;
use crate::{Client, Killed, PATIENCE, Project, Reply, START_PATIENCE, WebSocket, World, wrangler};

/// A `berth serve` with a data directory of its own. Ends with [`ServerSession::stop`], or when it is
/// dropped.
#[derive(Debug)]
pub struct ServerSession {
    process: Process,
    world: World,
    client: Client,
    port: String,
    variables: serde_json::Value,
    release: Release,
    data: PathBuf,
    /// What it said when it was ready.
    ready: crate::Event,
}

impl ServerSession {
    /// With these arguments and variables besides those that it always has.
    pub(crate) async fn start(
        world: World,
        data: &Path,
        more: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let command = world.command();
        Self::start_as(world, command, data, more, variables).await
    }

    /// `command` runs `berth`.
    pub(crate) async fn start_as(
        world: World,
        mut command: Command,
        data: &Path,
        more: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        command.args(["serve", "--json"]);
        for listener in ["--listen", "--api", "--registry"] {
            if !more.contains(&listener) {
                command.args([listener, "127.0.0.1:0"]);
            }
        }
        command.args(more).env("BERTH_DATA_DIR", data);
        command.envs(variables.iter().copied());
        // Nothing of the server is in a project.
        let mut process = Process::spawn_in(data, command, Path::new("/nonexistent"));
        let ready = tokio::time::timeout(
            START_PATIENCE,
            process.events.find_from(0, |event| event.kind() == "ready"),
        );
        let Ok(Some(ready)) = ready.await else {
            panic!("the server is not ready\n{}", process.transcript());
        };
        let address = ready.text("address").to_owned();
        if let Some(footprint) = &mut process.footprint {
            footprint.identify(ready.text("session"), None);
        }
        let mut env = world.command();
        env.args(["env", "--json"]).env("BERTH_DATA_DIR", data);
        let variables = env.output().expect("run berth env").stdout;
        let (_, port) = address.rsplit_once(':').expect("it is an address");
        Self {
            port: port.to_owned(),
            client: Client::new(&format!("http://{address}")),
            variables: serde_json::from_slice(&variables).expect("berth env prints JSON"),
            process,
            world,
            release: Release::default(),
            data: data.to_owned(),
            ready,
        }
    }

    /// The same server, with another wrangler from now on.
    pub fn with_wrangler(mut self, release: Release) -> Self {
        self.release = release;
        self
    }

    /// A client of a deployed Worker, as of a session.
    pub fn client(&self, worker: &str) -> Client {
        let host = format!("{worker}.localhost:{}", self.port);
        self.client.clone().of_host(&host)
    }

    /// What `berth env` says of a variable.
    pub fn variable(&self, name: &str) -> &str {
        self.variables[name].as_str().expect("it is a variable")
    }

    /// An address that it said when it was ready (`api`, `metrics`, …).
    pub fn said(&self, name: &str) -> &str {
        self.ready.text(name)
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// `GET path` of a deployed Worker.
    pub async fn get(&self, worker: &str, path: &str) -> Reply {
        self.get_at(&format!("{worker}.localhost:{}", self.port), path)
            .await
    }

    /// `GET path` with this `Host`.
    pub async fn get_at(&self, host: &str, path: &str) -> Reply {
        let mut request = self.client.request(Method::GET, path, "");
        let host = HeaderValue::from_str(host).expect("it is a host");
        request.headers_mut().insert(header::HOST, host);
        self.client.send(request).await
    }

    /// A WebSocket of a deployed Worker.
    pub async fn websocket(&self, worker: &str, path: &str) -> WebSocket {
        let host = format!("{worker}.localhost:{}", self.port);
        WebSocket::connect_as(self.client.base(), path, &host).await
    }

    /// The same, which must answer 200; the text.
    pub async fn text(&self, worker: &str, path: &str) -> String {
        self.get(worker, path).await.ok().text()
    }

    /// Asks the API for a path of the account (`/containers/applications`, …) as an administrator.
    pub async fn api(&self, method: Method, path: &str, body: serde_json::Value) -> Reply {
        let base = self.variable("CLOUDFLARE_API_BASE_URL");
        let after = base.strip_prefix("http://").unwrap_or(base);
        let (address, prefix) = after.split_once('/').expect("it has a path");
        let account = self.variable("CLOUDFLARE_ACCOUNT_ID");
        let path = format!("/{prefix}/accounts/{account}{path}");
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let client = Client::new(&format!("http://{address}"));
        let mut request = client.request(method, &path, body);
        let token = format!("Bearer {}", self.variable("CLOUDFLARE_API_TOKEN"));
        let token = HeaderValue::from_str(&token).expect("a token is visible ASCII");
        request.headers_mut().insert(header::AUTHORIZATION, token);
        client.send(request).await
    }

    /// Runs the pinned wrangler on a project to its end.
    pub async fn wrangler<const N: usize>(
        &self,
        project: &Project,
        arguments: [&str; N],
        input: &str,
    ) -> Output {
        let command = self.wrangler_command(project, arguments);
        run(command, input.as_bytes()).await
    }

    /// The same with other variables than those of `berth env`.
    pub async fn wrangler_with<const N: usize>(
        &self,
        project: &Project,
        arguments: [&str; N],
        variables: &[(&str, &str)],
    ) -> Output {
        let mut command = self.wrangler_command(project, arguments);
        command.envs(variables.iter().copied());
        run(command, b"").await
    }

    /// Runs `berth` itself in a project, as a client that finds the server by `variables`, which are
    /// those of the environment; without any it is the one of its data directory.
    pub async fn berth<const N: usize>(
        &self,
        project: &Project,
        arguments: [&str; N],
        input: &str,
        variables: &[(&str, &str)],
    ) -> Output {
        self.berth_with(project, &arguments, input, variables).await
    }

    /// The same for arguments whose number is not known.
    pub async fn berth_with(
        &self,
        project: &Project,
        arguments: &[&str],
        input: &str,
        variables: &[(&str, &str)],
    ) -> Output {
        let mut command = self.world.command();
        command
            .args(arguments)
            .current_dir(project.path())
            .env("BERTH_DATA_DIR", &self.data);
        for (name, value) in variables {
            command.env(name, value);
        }
        run(command, input.as_bytes()).await
    }

    /// The same for a command of this machine's administrator that must succeed; its standard output.
    pub async fn berth_ok<const N: usize>(
        &self,
        project: &Project,
        arguments: [&str; N],
        input: &str,
    ) -> String {
        let output = self.berth(project, arguments, input, &[]).await;
        self.succeeded(&format!("berth {arguments:?}"), &output)
    }

    /// `berth` itself, as an administrator of this machine, for whoever runs it in a terminal.
    pub fn berth_command<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = self.world.command();
        command.args(arguments).env("BERTH_DATA_DIR", &self.data);
        command
    }

    /// Starts the pinned wrangler with a command that goes on until it is interrupted.
    pub fn wrangler_running<const N: usize>(
        &self,
        project: &Project,
        arguments: [&str; N],
    ) -> RunningWrangler {
        let mut command = self.wrangler_command(project, arguments);
        let tree = Tree::of(&mut command);
        let mut child = tokio::process::Command::from(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("spawn wrangler");
        let (sender, lines) = mpsc::unbounded_channel();
        pass_on(child.stdout.take().expect("it is piped"), sender.clone());
        pass_on(child.stderr.take().expect("it is piped"), sender);
        RunningWrangler {
            child,
            tree,
            lines,
            seen: String::new(),
        }
    }

    /// The pinned wrangler with these arguments, for whoever runs it otherwise: in a terminal, or from
    /// another program.
    pub fn wrangler_command<'a>(
        &self,
        project: &Project,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Command {
        let mut command = wrangler::command(&self.world, project, self.release);
        command.args(arguments);
        for (name, value) in self.variables.as_object().expect("it is an object") {
            command.env(name, value.as_str().expect("it is text"));
        }
        command
    }

    /// What it has printed so far.
    pub fn transcript(&self) -> String {
        self.process.transcript()
    }

    /// The same for a command that must succeed; its standard output.
    pub async fn wrangler_ok<const N: usize>(
        &self,
        project: &Project,
        arguments: [&str; N],
        input: &str,
    ) -> String {
        let output = self.wrangler(project, arguments, input).await;
        self.succeeded(&format!("wrangler {arguments:?}"), &output)
    }

    /// The same for a command that is written as a line, whose arguments have no blanks.
    pub async fn wrangler_line(&self, project: &Project, line: &str, input: &str) -> String {
        let command = self.wrangler_command(project, line.split_whitespace());
        let output = run(command, input.as_bytes()).await;
        self.succeeded(&format!("wrangler {line}"), &output)
    }

    /// The standard output of a command that must have succeeded.
    fn succeeded(&self, what: &str, output: &Output) -> String {
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{what}: {}\n{stdout}{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr),
            self.process.transcript(),
        );
        stdout
    }

    /// The id of its session.
    pub fn session(&self) -> &str {
        self.ready.text("session")
    }

    /// The processes of its containers whose command line has this in it.
    pub fn container_processes(&self, needle: &str) -> Vec<i32> {
        crate::process::of_containers(self.session(), needle)
    }

    /// Asks it to end by SIGTERM, and waits for that.
    pub async fn terminate(self) -> Killed {
        self.process.terminate().await
    }

    /// Asks it to read its certificates again, as `systemctl reload` does.
    pub fn hang_up(&self) {
        self.process.signal(rustix::process::Signal::HUP);
    }

    /// Kills every child of its process that has this name as its first argument, or a path that ends with it,
    /// without warning; how many.
    pub fn kill_children(&self, name: &str) -> usize {
        let children = crate::process::children(self.process.pid, name);
        for child in &children {
            child.kill();
        }
        children.len()
    }

    /// Kills its process without warning.
    pub async fn kill(self) -> Killed {
        self.process.kill().await
    }

    /// Waits until it has killed itself at a point that a test has named.
    pub async fn crashed(self) -> Killed {
        self.process.crashed_within(PATIENCE).await
    }

    /// Ctrl-C, then waits for the end and checks that nothing that ran is left.
    pub async fn stop(self) {
        self.process.stop().await;
    }
}

/// A wrangler that goes on until it is interrupted. Killed when it is dropped.
#[derive(Debug)]
pub struct RunningWrangler {
    child: Child,
    tree: Tree,
    /// Of both streams.
    lines: mpsc::UnboundedReceiver<String>,
    seen: String,
}

impl RunningWrangler {
    /// Waits for a line with this in it.
    pub async fn line(&mut self, needle: &str) -> String {
        let wait = async {
            loop {
                let line = self.lines.recv().await;
                let line =
                    line.unwrap_or_else(|| panic!("it ended without `{needle}`\n{}", self.seen));
                self.seen.push_str(&line);
                self.seen.push('\n');
                if line.contains(needle) {
                    return line;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, wait).await;
        found.unwrap_or_else(|_| panic!("wrangler does not say `{needle}`"))
    }

    /// What it has said until the line that was waited for last.
    pub fn seen(&self) -> &str {
        &self.seen
    }

    /// Ctrl-C, and its end.
    pub async fn interrupt(mut self) -> ExitStatus {
        use rustix::process::{Pid, Signal, kill_process};
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(Pid::from_raw).expect("it runs");
        kill_process(pid, Signal::INT).expect("interrupt wrangler");
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = ended.expect("it ends").expect("wait for wrangler");
        self.tree.assert_ended().await;
        status
    }
}

fn pass_on(stream: impl AsyncRead + Unpin + Send + 'static, to: mpsc::UnboundedSender<String>) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if to.send(line).is_err() {
                return;
            }
        }
    });
}
