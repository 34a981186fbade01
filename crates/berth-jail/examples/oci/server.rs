//! The process that has a container between the commands: its zygote and its sandbox.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use berth_jail::{ExecFds, JailError, OnDisconnect, Sandbox, SandboxFds, Zygote, ZygoteConfig};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};

use crate::{Result, bundle, mounts, process};

/// Signals by name.
const SIGNALS: [(&str, i32); 8] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("TERM", libc::SIGTERM),
    ("WINCH", libc::SIGWINCH),
];

/// A container between `create` and `delete`.
struct Container {
    id: String,
    bundle: PathBuf,
    home: PathBuf,
    cgroup: String,
    zygote: Zygote,
    phase: Mutex<Phase>,
    paused: watch::Sender<bool>,
}

enum Phase {
    /// With the standard output and error that it will have.
    Created(OwnedFd, OwnedFd),
    Started(Sandbox),
    /// It never ran.
    Stopped,
}

/// Serves until the container is deleted.
pub(crate) fn serve(home: &Path, id: &str, bundle: &Path) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?
        .block_on(serve_requests(home, id, bundle))
        .map_err(|error| error.to_string())
}

async fn serve_requests(home: &Path, id: &str, bundle: &Path) -> std::io::Result<()> {
    let listener = UnixListener::from(rustix::stdio::stdin().try_clone_to_owned()?);
    let stdout = rustix::stdio::stdout().try_clone_to_owned()?;
    let stderr = rustix::stdio::stderr().try_clone_to_owned()?;
    // The container's end of the streams ends with the container, not with this process.
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    let cgroup = format!("berth-oci/{}", std::process::id());
    let config = ZygoteConfig {
        executable: std::env::current_exe()?,
        cgroup: cgroup.clone(),
        on_disconnect: OnDisconnect::KillAll,
    };
    let zygote = Zygote::launch(config)
        .await
        .map_err(std::io::Error::other)?;
    let container = Arc::new(Container {
        id: id.to_owned(),
        bundle: bundle.to_owned(),
        home: home.to_owned(),
        cgroup,
        zygote,
        phase: Mutex::new(Phase::Created(stdout, stderr)),
        paused: watch::channel(false).0,
    });
    let (deleted, mut is_deleted) = tokio::sync::mpsc::channel(1);
    std::thread::spawn({
        let runtime = tokio::runtime::Handle::current();
        move || {
            while let Ok((stream, _)) = listener.accept() {
                let (container, deleted) = (Arc::clone(&container), deleted.clone());
                runtime.spawn(async move {
                    if container.serve(stream).await {
                        let _ = deleted.send(()).await;
                    }
                });
            }
        }
    });
    is_deleted.recv().await;
    Ok(())
}

impl Container {
    /// Answers one request; whether the container is gone then.
    async fn serve(&self, mut stream: UnixStream) -> bool {
        let mut line = String::new();
        let read = BufReader::new(&stream).read_line(&mut line);
        let request: Value = match read {
            Ok(_) => serde_json::from_str(&line).unwrap_or_default(),
            Err(_) => return false,
        };
        let answer = self.answer(&request).await;
        let deleted = request["do"] == "delete" && answer.is_ok();
        if deleted {
            self.end_zygote().await;
            // The mounts beside the bundle end with this process; the next `create` may come first.
            let _ = std::fs::remove_file(self.home.join("socket"));
            for line in std::fs::read_dir(self.home.join("mounts"))
                .into_iter()
                .flatten()
            {
                let path = line.map(|entry| entry.path()).unwrap_or_default();
                let _ = rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH);
            }
            let _ = std::fs::remove_dir_all(&self.home);
        }
        let answer = match answer {
            Ok(value) => json!({"ok": value}),
            Err(error) => json!({"error": error}),
        };
        let _ = write!(stream, "{answer}");
        deleted
    }

    async fn end_zygote(&self) {
        self.zygote.shutdown().await;
        let _ = berth_jail::sweep_session(&self.cgroup);
    }

    async fn answer(&self, request: &Value) -> Result<Value> {
        let mut phase = self.phase.lock().await;
        let status = self.status(&phase);
        match (request["do"].as_str().unwrap_or_default(), status) {
            ("state", _) => Ok(self.state(&phase)),
            ("start", "created") => self.start(&mut phase).await,
            ("kill", "running" | "paused" | "created") => kill(&mut phase, request).await,
            ("delete", "stopped" | "created") => {
                *phase = Phase::Stopped;
                Ok(Value::Null)
            }
            (verb @ ("pause" | "resume"), "running" | "paused") => {
                let paused = verb == "pause";
                let sandbox = started(&phase)?;
                sandbox.freeze(paused).await.map_err(|error| told(&error))?;
                self.paused.send_replace(paused);
                Ok(Value::Null)
            }
            ("exec", "running" | "paused") => {
                let sandbox = started(&phase)?;
                drop(phase);
                self.exec(&sandbox, request).await
            }
            (verb, status) => Err(format!("cannot {verb} a {status} container")),
        }
    }

    fn status(&self, phase: &Phase) -> &'static str {
        match phase {
            Phase::Created(..) => "created",
            Phase::Started(sandbox) if sandbox.exit_status().is_some() => "stopped",
            Phase::Started(_) if *self.paused.borrow() => "paused",
            Phase::Started(_) => "running",
            Phase::Stopped => "stopped",
        }
    }

    fn state(&self, phase: &Phase) -> Value {
        let status = self.status(phase);
        let mut state = json!({
            "ociVersion": "1.0.2", "id": self.id, "status": status, "bundle": self.bundle,
        });
        let pid = match phase {
            Phase::Started(sandbox) => sandbox.pid(),
            _ => std::process::id(),
        };
        if status != "stopped" {
            state["pid"] = json!(pid);
        }
        state
    }

    async fn start(&self, phase: &mut Phase) -> Result<Value> {
        let Phase::Created(stdout, stderr) = std::mem::replace(phase, Phase::Stopped) else {
            return Err("it was started".to_owned());
        };
        // Whoever looks at the container's streams only learns it, too.
        let mut said = std::fs::File::from(stderr.try_clone().map_err(|error| error.to_string())?);
        match self.spawn(stdout, stderr).await {
            Ok(sandbox) => {
                *phase = Phase::Started(sandbox);
                Ok(Value::Null)
            }
            Err(error) => {
                let _ = writeln!(said, "error: {error}");
                self.end_zygote().await;
                Err(error)
            }
        }
    }

    async fn spawn(&self, stdout: OwnedFd, stderr: OwnedFd) -> Result<Sandbox> {
        let config = bundle::read(&self.bundle)?;
        let mounts = mounts::mounts(&config, &self.bundle, &self.home)?;
        let spec = bundle::specification(&self.id, &self.bundle, &config, mounts)?;
        let fds = SandboxFds {
            netns: netns(&config)?,
            stdin: None,
            stdout,
            stderr,
            disk: None,
        };
        self.zygote
            .spawn(spec, fds)
            .await
            .map_err(|error| told(&error))
    }

    async fn exec(&self, sandbox: &Sandbox, request: &Value) -> Result<Value> {
        if request["when_paused"] == true {
            let mut paused = self.paused.subscribe();
            let _ = paused.wait_for(|paused| !paused).await;
        }
        let first = process::process(&bundle::read(&self.bundle)?["process"]);
        let [stdin, stdout, stderr] = streams_of(&request["pid"])?;
        let fds = ExecFds::Pipes {
            stdin: Some(stdin),
            stdout: Some(stdout),
            stderr: Some(stderr),
        };
        let process = process::executed(request, first);
        let executed = sandbox.exec(process, fds).await;
        let (process, _) = executed.map_err(|error| told(&error))?;
        Ok(json!(process.wait().await.code))
    }
}

fn started(phase: &Phase) -> Result<Sandbox> {
    match phase {
        Phase::Started(sandbox) => Ok(sandbox.clone()),
        _ => Err("it does not run".to_owned()),
    }
}

async fn kill(phase: &mut Phase, request: &Value) -> Result<Value> {
    let Phase::Started(sandbox) = phase else {
        *phase = Phase::Stopped;
        return Ok(Value::Null);
    };
    let signal = request["signal"].as_str().unwrap_or_default();
    let name = signal.trim_start_matches("SIG");
    let known = SIGNALS.iter().find(|(known, _)| *known == name);
    let number = match known {
        Some((_, number)) => *number,
        None => name.parse().map_err(|_| format!("signal `{signal}`"))?,
    };
    if number == libc::SIGKILL {
        sandbox.kill_all().await.map_err(|error| told(&error))?;
    } else {
        sandbox.kill(number).map_err(|error| told(&error))?;
    }
    Ok(Value::Null)
}

/// The three streams of the command that asks.
fn streams_of(pid: &Value) -> Result<[OwnedFd; 3]> {
    let raw = pid.as_i64().and_then(|pid| i32::try_from(pid).ok());
    let pid = raw.and_then(Pid::from_raw).ok_or("no process id")?;
    let text = |error: rustix::io::Errno| error.to_string();
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(text)?;
    let stream = |number| {
        rustix::process::pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).map_err(text)
    };
    Ok([stream(0)?, stream(1)?, stream(2)?])
}

/// The error with its cause; for what the jail refuses to mount on, in the words that those who know
/// `runc` look for.
fn told(error: &JailError) -> String {
    let mut text = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        text = format!("{text}: {source}");
    }
    if matches!(error, JailError::UnsafePath { .. }) {
        text.push_str(" (must be mounted on ordinary directory)");
    }
    text
}

/// A network namespace with the bundle's kernel parameters, or the one that it names.
fn netns(config: &Value) -> Result<OwnedFd> {
    let text = |error: std::io::Error| error.to_string();
    let namespaces = config["linux"]["namespaces"].as_array();
    let network = namespaces.into_iter().flatten();
    let mut network = network.filter(|namespace| namespace["type"] == "network");
    if let Some(path) = network.next().and_then(|found| found["path"].as_str()) {
        return Ok(std::fs::File::open(path).map_err(text)?.into());
    }
    let script = "while [ $# -gt 1 ]; do printf %s \"$2\" > \"$1\" || exit 1; shift 2; done; \
                  echo up; read _";
    let mut holder = Command::new("unshare");
    holder.args(["--net", "sh", "-c", script, "sh"]);
    for (path, value) in bundle::sysctls(config)? {
        holder.arg(path).arg(value);
    }
    let holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = holder.spawn().map_err(text)?;
    let mut line = String::new();
    let mut stdout = BufReader::new(holder.stdout.take().ok_or("no output")?);
    stdout.read_line(&mut line).map_err(text)?;
    if line.is_empty() {
        let _ = holder.wait();
        return Err("linux.sysctl: could not be set".to_owned());
    }
    let namespace = std::fs::File::open(format!("/proc/{}/ns/net", holder.id()));
    drop(holder.stdin.take());
    let _ = holder.wait();
    Ok(namespace.map_err(text)?.into())
}
