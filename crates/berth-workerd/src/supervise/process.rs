//! One workerd process: spawning it, waiting until it listens, its output, its end.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::net::unix::pipe::Receiver as PipeReader;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::log::{self, LogLine};
use super::source_map::SourceMap;
use super::spawner::Spawner;
use super::{Upstream, WorkerdError, WorkerdEvent, WorkerdOptions};
use crate::Listen;
use crate::compose::{HTTP_SOCKET, TRACE_SOCKET, TRIGGER_SOCKET, socket_path};

/// Lines that are read ahead before workerd's own writes have to wait.
const LINES_AHEAD: usize = 1024;
/// How long a start may take. Only a broken machine needs this.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long output that is still in the pipes is waited for when the process has ended.
const OUTPUT_LIMIT: Duration = Duration::from_secs(1);

/// A process that listens.
pub(super) struct Process {
    child: Child,
    pub(super) pid: u32,
    /// Where requests go.
    pub(super) upstream: Upstream,
    /// Where handlers are triggered by hand.
    pub(super) triggers: Option<Upstream>,
    /// Where traces are wanted or not.
    pub(super) traces: Option<Upstream>,
    lines: mpsc::Receiver<LogLine>,
}

/// What a running process does next.
pub(super) enum Next {
    Line(LogLine),
    Ended(String),
}

/// A message on the control descriptor.
#[derive(Deserialize)]
struct Control {
    event: String,
    #[serde(default)]
    socket: String,
    #[serde(default)]
    port: u16,
}

impl Process {
    /// Starts workerd and waits until every socket of its configuration listens.
    pub(super) async fn start(
        spawner: &Spawner,
        options: &WorkerdOptions,
        events: &mpsc::UnboundedSender<WorkerdEvent>,
    ) -> Result<Self, WorkerdError> {
        let start = Self::start_unlimited(spawner, options, events);
        match tokio::time::timeout(START_LIMIT, start).await {
            Ok(result) => result,
            Err(_) => Err(WorkerdError::Startup {
                status: format!("not ready after {} s", START_LIMIT.as_secs()),
                output: String::new(),
            }),
        }
    }

    async fn start_unlimited(
        spawner: &Spawner,
        options: &WorkerdOptions,
        events: &mpsc::UnboundedSender<WorkerdEvent>,
    ) -> Result<Self, WorkerdError> {
        remove_sockets(&options.listen);
        let (control, control_write) = pipe_with(PipeFlags::CLOEXEC)
            .map_err(|error| WorkerdError::Spawn(options.executable.clone(), error.into()))?;
        let mut child = spawner
            .spawn(command(options, control_write))
            .await
            .map_err(|error| WorkerdError::Spawn(options.executable.clone(), error))?;
        let pid = child.id().unwrap_or_default();
        let _ = events.send(WorkerdEvent::Started { pid });
        let map = options.source_map.as_deref();
        let map = map.and_then(|path| SourceMap::read(path, &options.directory));
        let (sender, mut lines) = mpsc::channel(LINES_AHEAD);
        tokio::spawn(read_lines(child.stdout.take(), sender.clone(), map.clone()));
        tokio::spawn(read_lines(child.stderr.take(), sender, map));

        let mut early = Vec::new();
        let control = PipeReader::from_owned_fd(control)
            .map_err(|error| WorkerdError::Spawn(options.executable.clone(), error))?;
        let sockets = {
            let sockets = read_control(control);
            tokio::pin!(sockets);
            loop {
                tokio::select! {
                    sockets = &mut sockets => break sockets,
                    Some(line) = lines.recv() => early.push(line),
                }
            }
        };
        let Some(upstream) = address(&sockets, HTTP_SOCKET, &options.listen) else {
            // The descriptor closed before the socket listened: workerd is ending.
            let status = ended(&mut child, &mut lines, &mut early).await;
            return Err(failure(status, early));
        };
        for line in early {
            send_line(events, line);
        }
        let triggers = address(&sockets, TRIGGER_SOCKET, &options.listen);
        let traces = address(&sockets, TRACE_SOCKET, &options.listen);
        Ok(Self {
            child,
            pid,
            upstream,
            triggers,
            traces,
            lines,
        })
    }

    /// The next line, or the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Next {
        tokio::select! {
            biased;
            Some(line) = self.lines.recv() => Next::Line(line),
            status = self.child.wait() => Next::Ended(describe(status)),
        }
    }

    /// Sends SIGTERM, and SIGKILL after `grace`; returns when the process is gone.
    pub(super) async fn terminate(
        mut self,
        grace: Duration,
        events: &mpsc::UnboundedSender<WorkerdEvent>,
    ) {
        self.signal(Signal::TERM);
        let limit = tokio::time::sleep(grace);
        tokio::pin!(limit);
        loop {
            tokio::select! {
                next = self.next() => match next {
                    Next::Line(line) => send_line(events, line),
                    Next::Ended(_) => break,
                },
                () = &mut limit => {
                    tracing::warn!(?grace, "workerd did not stop in time");
                    return self.kill(events).await;
                }
            }
        }
        self.drain(events).await;
    }

    /// Sends SIGKILL; returns when the process is gone.
    pub(super) async fn kill(mut self, events: &mpsc::UnboundedSender<WorkerdEvent>) {
        self.signal(Signal::KILL);
        while let Next::Line(line) = self.next().await {
            send_line(events, line);
        }
        self.drain(events).await;
    }

    /// Passes on what an ended process had printed.
    pub(super) async fn drain(&mut self, events: &mpsc::UnboundedSender<WorkerdEvent>) {
        let rest = async {
            while let Some(line) = self.lines.recv().await {
                send_line(events, line);
            }
        };
        let _ = tokio::time::timeout(OUTPUT_LIMIT, rest).await;
    }

    /// The child has not been waited for, so its pid cannot be another process's.
    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw)
            && let Err(error) = kill_process(pid, signal)
        {
            tracing::debug!(%error, "could not signal workerd");
        }
    }
}

pub(super) fn send_line(events: &mpsc::UnboundedSender<WorkerdEvent>, line: LogLine) {
    let LogLine { level, text } = line;
    let _ = events.send(WorkerdEvent::Log { level, text });
}

fn command(options: &WorkerdOptions, control: OwnedFd) -> Command {
    let mut command = Command::new(&options.executable);
    command
        // Experimental: the bundled Workers and assets. Verbose: stacks of uncaught exceptions.
        .args(["serve", "--experimental", "--verbose", "--control-fd=0"])
        // What the configuration embeds is named from the root.
        .args(["--import-path", "/"])
        .args(socket_overrides(options))
        .arg(options.config.path())
        .arg("config")
        .current_dir(&options.directory)
        // workerd never reads its standard input; as descriptor 0 the pipe needs no inheritance
        // that other children could get, too.
        .stdin(Stdio::from(control))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in the terminal is the daemon's to handle.
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Where sockets are that two may have which run with the same configuration, whatever it says.
fn socket_overrides(options: &WorkerdOptions) -> Vec<OsString> {
    let Listen::Unix(path) = &options.listen else {
        return Vec::new();
    };
    // What it does not have, workerd does not take.
    let has = |name: &&str| *name == HTTP_SOCKET || options.config.has_socket(name);
    let names = [HTTP_SOCKET, TRACE_SOCKET].into_iter().filter(has);
    let arguments = names.map(|name| {
        let mut argument = OsString::from(format!("--socket-addr={name}=unix:"));
        argument.push(socket_path(path, name));
        argument
    });
    arguments.collect()
}

/// Reads until the socket for requests listens, which the configuration has last, or until the end
/// of the descriptor: socket → port.
async fn read_control(control: PipeReader) -> Vec<(String, u16)> {
    let mut lines = BufReader::new(control).lines();
    let mut sockets = Vec::new();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(control) = serde_json::from_str::<Control>(&line)
            && control.event == "listen"
        {
            sockets.push((control.socket, control.port));
        }
        if sockets.iter().any(|(name, _)| name == HTTP_SOCKET) {
            break;
        }
    }
    sockets
}

fn address(sockets: &[(String, u16)], name: &str, listen: &Listen) -> Option<Upstream> {
    let (_, port) = sockets.iter().find(|(socket, _)| socket == name)?;
    Some(match listen {
        Listen::Loopback => Upstream::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, *port))),
        Listen::Unix(path) => Upstream::Unix(socket_path(path, name)),
    })
}

/// Removes the sockets of a workerd that has ended, or of a former one: workerd binds anew, which fails on a
/// path that exists.
pub fn remove_sockets(listen: &Listen) {
    use std::os::unix::fs::FileTypeExt as _;
    let Listen::Unix(path) = listen else {
        return;
    };
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return;
    };
    let name = name.to_string_lossy();
    let others = format!("{name}-");
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let found = found.to_string_lossy();
        let ours = found == name || found.starts_with(&others);
        let socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
        if ours
            && socket
            && let Err(error) = fs_err::remove_file(entry.path())
        {
            tracing::warn!(%error, "could not remove a socket");
        }
    }
}

async fn read_lines(
    stream: Option<impl AsyncRead + Unpin>,
    sender: mpsc::Sender<LogLine>,
    map: Option<SourceMap>,
) {
    let Some(stream) = stream else {
        return;
    };
    let mut reader = BufReader::new(stream);
    let mut buffer = Vec::new();
    while let Ok(1..) = reader.read_until(b'\n', &mut buffer).await {
        let line = String::from_utf8_lossy(&buffer);
        if let Some(mut line) = log::parse(&line) {
            if let Some(map) = &map {
                line.text = map.rewrite(&line.text);
            }
            if sender.send(line).await.is_err() {
                return;
            }
        }
        buffer.clear();
    }
}

/// Waits for the end of a process that failed to start, collecting what it says. `None`: it runs on, or did.
async fn ended(
    child: &mut Child,
    lines: &mut mpsc::Receiver<LogLine>,
    early: &mut Vec<LogLine>,
) -> Option<std::io::Result<ExitStatus>> {
    let rest = async {
        while let Some(line) = lines.recv().await {
            early.push(line);
        }
        child.wait().await
    };
    let status = tokio::time::timeout(OUTPUT_LIMIT, rest).await;
    if status.is_err() {
        let _ = child.kill().await;
    }
    status.ok()
}

/// Why a process has not become ready that ended with this status.
fn failure(status: Option<std::io::Result<ExitStatus>>, early: Vec<LogLine>) -> WorkerdError {
    use std::os::unix::process::ExitStatusExt as _;
    let killed = |status: &ExitStatus| status.signal() == Some(Signal::KILL.as_raw());
    let status = match status {
        Some(Ok(status)) if killed(&status) => return WorkerdError::Killed,
        Some(status) => describe(status),
        None => "it did not listen".to_owned(),
    };
    let output: Vec<_> = early.into_iter().map(|line| line.text).collect();
    WorkerdError::Startup {
        status,
        output: output.join("\n"),
    }
}

fn describe(status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}
