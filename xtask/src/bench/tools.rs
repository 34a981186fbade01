//! What is measured against: Debian packages, a Docker daemon and podman, each with everything of it in
//! one directory. The packages stay installed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

/// Not another one that is in `PATH` before it.
const DOCKER: &str = "/usr/bin/docker";

/// Installs the Debian packages that are missing.
pub(super) fn install(packages: &[&str]) -> anyhow::Result<()> {
    let missing = packages.iter().filter(|package| {
        let status = Command::new("dpkg-query")
            .args(["--show", "--showformat=${db:Status-Status}", package])
            .output();
        !status.is_ok_and(|output| output.stdout == b"installed")
    });
    let missing: Vec<_> = missing.collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing Debian packages: {missing:?}");
    // An old list may name what is not there any more; without any, nothing is found.
    let _ = Command::new("apt-get").args(["-qq", "update"]).status();
    let mut command = Command::new("apt-get");
    command
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(["install", "--yes", "--no-install-recommends"])
        .args(missing)
        // Services must not start.
        .env("RUNLEVEL", "1")
        .env("DEBIAN_FRONTEND", "noninteractive");
    output(&mut command).map(drop)
}

/// Standard output of a command that must succeed; it reads nothing unless it was told what.
pub(super) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .with_context(|| format!("could not start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Ends a daemon by its pid and waits for it.
pub(super) fn end(child: &mut Child) {
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    let _ = child.wait();
}

/// Whatever is not on disk yet belongs to the one who was measured last.
pub(super) fn sync() -> anyhow::Result<()> {
    output(&mut Command::new("sync")).map(drop)
}

/// Takes away mounts that a tool leaves in its directory.
fn unmount(directory: &Path, mounts: &[&str]) {
    for mount in mounts {
        let _ = Command::new("umount")
            .args(["--quiet", "--lazy"])
            .arg(directory.join(mount))
            .stderr(Stdio::null())
            .status();
    }
}

/// dockerd: no bridge, no firewall rules.
pub(super) struct Dockerd {
    directory: PathBuf,
    daemon: Child,
}

impl Dockerd {
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

    /// `docker`, as a client of it.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(DOCKER);
        let socket = self.directory.join("socket");
        command
            .env("DOCKER_HOST", format!("unix://{}", socket.display()))
            .env("DOCKER_CONFIG", self.directory.join("config"));
        command
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        end(&mut self.daemon);
        // The daemon mounts its own directories on themselves.
        let mounts = ["exec/netns/default", "data/overlay2", "data"];
        unmount(&self.directory, &mounts);
    }
}

/// A policy for podman, skopeo and buildah that takes images without signatures.
pub(super) fn policy(directory: &Path) -> anyhow::Result<PathBuf> {
    let path = directory.join("policy.json");
    fs_err::write(&path, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#)?;
    Ok(path)
}

/// podman or buildah, with a storage of its own.
pub(super) struct Containers {
    program: &'static str,
    pub(super) directory: PathBuf,
    pub(super) policy: PathBuf,
}

impl Containers {
    pub(super) fn new(program: &'static str, directory: &Path) -> anyhow::Result<Self> {
        let directory = directory.join(program);
        fs_err::create_dir_all(&directory)?;
        Ok(Self {
            program,
            policy: policy(&directory)?,
            directory,
        })
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command
            .arg("--root")
            .arg(self.directory.join("root"))
            .arg("--runroot")
            .arg(self.directory.join("run"))
            .args(["--storage-driver", "overlay"]);
        command
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        unmount(&self.directory, &["root/overlay", "run/overlay"]);
    }
}
