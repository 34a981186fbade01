//! Who takes the image in. Each has its data in the benchmark's directory, which goes with it; Debian
//! packages stay installed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::image::{NAME, Packing};
use crate::bench::dev::executable;

/// One of them.
pub(super) trait Loader {
    fn name(&self) -> &'static str;
    fn reads(&self, packing: Packing) -> bool;
    fn load(&self, archive: &Path) -> anyhow::Result<()>;
    /// Removes the image with all its layers.
    fn forget(&self) -> anyhow::Result<()>;
}

/// Debian packages of the other two.
pub(super) fn install() -> anyhow::Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(["install", "--yes", "--no-install-recommends"])
        .args(["docker.io", "podman", "runc"])
        // Services must not start.
        .env("RUNLEVEL", "1")
        .env("DEBIAN_FRONTEND", "noninteractive");
    output(&mut command).map(drop)
}

/// Standard output of a command that must succeed.
fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `berth images import`.
pub(super) struct Berth {
    executable: PathBuf,
    data: PathBuf,
}

impl Berth {
    pub(super) fn new(directory: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            executable: executable()?,
            data: directory.join("berth"),
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command.arg("--data-dir").arg(&self.data).arg("images");
        command
    }
}

impl Loader for Berth {
    fn name(&self) -> &'static str {
        "Berth"
    }

    fn reads(&self, _: Packing) -> bool {
        true
    }

    fn load(&self, archive: &Path) -> anyhow::Result<()> {
        output(self.command().arg("import").arg(archive)).map(drop)
    }

    fn forget(&self) -> anyhow::Result<()> {
        output(self.command().args(["prune", "--all"])).map(drop)
    }
}

/// `docker load`, with a daemon that has no bridge and no firewall rules.
pub(super) struct Docker {
    directory: PathBuf,
    daemon: Child,
}

impl Docker {
    pub(super) fn start(directory: &Path) -> anyhow::Result<Self> {
        let directory = directory.join("docker");
        fs_err::create_dir_all(&directory)?;
        let log = fs_err::File::create(directory.join("log"))?;
        let daemon = Command::new("dockerd")
            .arg("--host")
            .arg(format!("unix://{}", directory.join("socket").display()))
            .arg("--data-root")
            .arg(directory.join("data"))
            .arg("--exec-root")
            .arg(directory.join("exec"))
            .arg("--pidfile")
            .arg(directory.join("pid"))
            .args(["--bridge", "none", "--iptables=false", "--ip6tables=false"])
            .args(["--log-level", "warn"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.into_parts().0)
            .spawn()
            .context("could not start dockerd")?;
        let mut docker = Self { directory, daemon };
        let began = Instant::now();
        while output(docker.command().arg("version")).is_err() {
            if docker.daemon.try_wait()?.is_some() || began.elapsed() > Duration::from_secs(60) {
                let log = fs_err::read_to_string(docker.directory.join("log"))?;
                bail!("dockerd does not answer: {log}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(docker)
    }

    fn command(&self) -> Command {
        // Not another one that is in `PATH` before it.
        let mut command = Command::new("/usr/bin/docker");
        let socket = self.directory.join("socket");
        command
            .env("DOCKER_HOST", format!("unix://{}", socket.display()))
            .env("DOCKER_CONFIG", self.directory.join("config"));
        command
    }
}

impl Loader for Docker {
    fn name(&self) -> &'static str {
        "Docker"
    }

    /// Debian's is older than zstd in Docker.
    fn reads(&self, packing: Packing) -> bool {
        packing == Packing::Gzip
    }

    fn load(&self, archive: &Path) -> anyhow::Result<()> {
        output(self.command().args(["load", "--input"]).arg(archive)).map(drop)
    }

    fn forget(&self) -> anyhow::Result<()> {
        output(self.command().args(["rmi", "--force", NAME])).map(drop)
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let pid = self.daemon.id().to_string();
        let _ = Command::new("kill").arg(pid).status();
        let _ = self.daemon.wait();
        // The daemon mounts its own directories on themselves.
        for mount in ["exec/netns/default", "data/overlay2", "data"] {
            let _ = Command::new("umount")
                .args(["--quiet", "--lazy"])
                .arg(self.directory.join(mount))
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// `podman load`, with a storage of its own.
pub(super) struct Podman {
    directory: PathBuf,
}

impl Podman {
    pub(super) fn new(directory: &Path) -> anyhow::Result<Self> {
        let directory = directory.join("podman");
        fs_err::create_dir_all(&directory)?;
        fs_err::write(
            directory.join("policy.json"),
            r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
        )?;
        Ok(Self { directory })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("podman");
        command
            .arg("--root")
            .arg(self.directory.join("root"))
            .arg("--runroot")
            .arg(self.directory.join("run"))
            .args(["--storage-driver", "overlay"]);
        command
    }
}

impl Loader for Podman {
    fn name(&self) -> &'static str {
        "podman"
    }

    fn reads(&self, _: Packing) -> bool {
        true
    }

    fn load(&self, archive: &Path) -> anyhow::Result<()> {
        let mut command = self.command();
        command
            .args(["load", "--signature-policy"])
            .arg(self.directory.join("policy.json"));
        output(command.arg("--input").arg(archive)).map(drop)
    }

    fn forget(&self) -> anyhow::Result<()> {
        output(self.command().args(["rmi", "--force", "--all"])).map(drop)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        for mount in ["root/overlay", "run/overlay"] {
            let _ = Command::new("umount")
                .args(["--quiet", "--lazy"])
                .arg(self.directory.join(mount))
                .stderr(Stdio::null())
                .status();
        }
    }
}
