//! A `berth dev` session under measurement.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};

use super::http::Client;
use crate::ci::root;

/// The program: built in release mode, or the one that `BERTH_BENCH_BINARY` names.
pub(super) fn executable() -> anyhow::Result<PathBuf> {
    if let Some(binary) = std::env::var_os("BERTH_BENCH_BINARY") {
        return Ok(fs_err::canonicalize(PathBuf::from(binary))?);
    }
    let status = Command::new("cargo")
        .args(["build", "--release", "--package", "berth"])
        .current_dir(root())
        .status()
        .context("could not start cargo")?;
    ensure!(status.success(), "the release build failed: {status}");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    Ok(fs_err::canonicalize(target.join("release/berth"))?)
}

/// A running container, from outside.
pub(crate) struct Running {
    pub(crate) pid: u32,
    /// Where tunnels into it begin.
    pub(crate) ingress: SocketAddr,
}

/// A running session; ended when dropped.
pub(crate) struct Dev {
    child: Child,
    pub(crate) address: SocketAddr,
    /// The session's socket, on which it answers the Docker API.
    pub(crate) control: PathBuf,
    /// The program under measurement.
    pub(crate) executable: PathBuf,
}

impl Dev {
    /// Starts the project with the program under measurement and waits until it is ready.
    pub(crate) fn start(project: &Path) -> anyhow::Result<Self> {
        Self::start_with(project, &[])
    }

    /// The same with more in its environment.
    pub(crate) fn start_with(project: &Path, variables: &[(&str, &str)]) -> anyhow::Result<Self> {
        let executable = executable()?;
        let mut child = Command::new(&executable)
            .args(["dev", "--json", "--port", "0", "--ip", "127.0.0.1"])
            .arg(project)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("could not start berth")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = loop {
            let line = lines.next().context("berth ended before it was ready")??;
            let event: serde_json::Value =
                serde_json::from_str(&line).with_context(|| format!("not an event: {line}"))?;
            if event["event"] == "error" {
                println!("{line}");
            }
            if event["event"] == "ready" {
                break event;
            }
        };
        // What it prints from here on is read so that it never waits for a reader.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let text = |field: &str| {
            let text = ready[field].as_str().map(str::to_owned);
            text.with_context(|| format!("an event without its {field}"))
        };
        let url = text("url")?;
        let address = url
            .trim_start_matches("http://")
            .replace("localhost", "127.0.0.1");
        Ok(Self {
            child,
            address: address.parse().with_context(|| format!("bad url {url}"))?,
            control: text("control")?.into(),
            executable,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks the Worker; anything but 200 is an error.
    pub(crate) fn ask(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let (status, body) = Client::connect(self.address)?.get(path)?;
        ensure!(
            status == 200,
            "{path} answered {status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(body)
    }

    /// A JSON document of the session's Docker API.
    pub(crate) fn engine(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        let (status, body) = Client::connect_unix(&self.control)?.get(path)?;
        ensure!(status == 200, "{path} answered {status}");
        Ok(serde_json::from_slice(&body)?)
    }

    /// Starts a container of the same image that no Worker knows of; its pid.
    pub(crate) fn bare_container(&self) -> anyhow::Result<u32> {
        let list = self.engine("/containers/json")?;
        let image = list.as_array().and_then(|list| {
            let own = |entry: &&serde_json::Value| entry["Sidecar"].as_bool() != Some(true);
            list.iter().find(own)?["Image"].as_str()
        });
        let body = serde_json::json!({"Image": image.context("no container runs")?});
        let path = "/containers/create?name=berth-bench-alone";
        let (status, _) = Client::connect_unix(&self.control)?.post(path, &body.to_string())?;
        ensure!(status == 201, "create answered {status}");
        let path = "/containers/berth-bench-alone/start";
        let (status, _) = Client::connect_unix(&self.control)?.post(path, "{}")?;
        ensure!(status == 204, "start answered {status}");
        let info = self.engine("/containers/berth-bench-alone/json")?;
        let pid = info["State"]["Pid"].as_u64().context("no pid")?;
        Ok(u32::try_from(pid)?)
    }

    /// Starts the container of an object and says how to reach it without the Worker.
    pub(crate) fn container(&self, object: &str) -> anyhow::Result<Running> {
        self.ask(&format!("/container/{object}"))?;
        let list = self.engine("/containers/json")?;
        let entry = list.as_array().and_then(|list| {
            let own = |entry: &&serde_json::Value| entry["Sidecar"].as_bool() != Some(true);
            list.iter().find(own)
        });
        let name = entry
            .and_then(|entry| entry["Names"][0].as_str())
            .context("no container runs")?
            .trim_start_matches('/')
            .to_owned();
        let pid = self.engine(&format!("/containers/{name}/json"))?["State"]["Pid"].as_u64();
        let sidecar = self.engine(&format!("/containers/{name}-proxy/json"))?;
        let port = sidecar["NetworkSettings"]["Ports"]["39001/tcp"][0]["HostPort"].as_str();
        Ok(Running {
            pid: u32::try_from(pid.context("no pid")?)?,
            ingress: format!("127.0.0.1:{}", port.context("no ingress port")?).parse()?,
        })
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status();
        let _ = self.child.wait();
    }
}
