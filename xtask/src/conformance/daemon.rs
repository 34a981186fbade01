//! A real Docker, of a newer Debian than this machine's, that nobody else notices.
//!
//! Its root file system is made of Debian's packages by `mmdebstrap` and kept in
//! `target/conformance`. The daemon runs in it with its own mount, network and process namespaces: no
//! bridge and no firewall rule of the host, and when its first process ends, everything of it has
//! ended. Its data is removed with it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use berth_conformance::base::install;
use fs_err as fs;

use super::output_of;
use crate::ci::root;

const PACKAGES: &str = "docker.io,docker-cli,docker-buildx,containerd,runc,iptables,ca-certificates,\
    git,coreutils,bash,xz-utils";

/// What the daemon's control groups are called, below the host's.
const CGROUP: &str = "berth-conformance";

/// Started with the root file system as its argument.
const SCRIPT: &str = r#"set -e
mount --make-rprivate /
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount --rbind /sys "$1/sys"
mount --rbind /dev "$1/dev"
mount -t tmpfs tmpfs "$1/run"
mount -t tmpfs tmpfs "$1/tmp"
ip link set lo up
exec chroot "$1" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
  dockerd --host unix:///recorder/docker.sock --data-root /recorder/data --exec-root /run/docker \
  --pidfile /run/dockerd.pid --log-level warn --iptables=false --ip6tables=false \
  --storage-driver overlay2 --cgroup-parent /"$2"
"#;

/// A running daemon; it ends with this.
pub(super) struct Daemon {
    process: Child,
    root: PathBuf,
}

impl Daemon {
    /// Makes the root file system if it is not there, and starts the daemon.
    pub(super) fn start(suite: &str) -> anyhow::Result<Self> {
        install(&["mmdebstrap", "iproute2"])?;
        let directory = root().join("target/conformance").join(suite);
        if !directory.join("usr/sbin/dockerd").exists() {
            make_root(suite, &directory)?;
        }
        let work = directory.join("recorder");
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        fs::create_dir_all(&work)?;
        let log = fs::File::create(work.join("dockerd.log"))?;
        let process = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child"])
            .args(["bash", "-c", SCRIPT, "bash"])
            .arg(&directory)
            .arg(CGROUP)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.into_parts().0)
            .spawn()
            .context("could not start `unshare`")?;
        let mut daemon = Self {
            process,
            root: directory,
        };
        daemon.wait()?;
        Ok(daemon)
    }

    /// Where contexts are; `/recorder` to the daemon and its command.
    pub(super) fn work(&self) -> PathBuf {
        self.root.join("recorder")
    }

    /// The docker command, talking to this daemon.
    pub(super) fn docker(&self) -> Command {
        let mut command = Command::new("chroot");
        command
            .arg(&self.root)
            .args(["/usr/bin/env", "-i"])
            .args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/recorder"])
            .args(["DOCKER_HOST=unix:///recorder/docker.sock", "docker"]);
        command
    }

    /// Versions of the programs that build.
    pub(super) fn version(&self) -> anyhow::Result<String> {
        let mut daemon = self.docker();
        daemon.args(["version", "--format", "{{.Server.Version}}"]);
        let daemon = String::from_utf8(output_of(&mut daemon)?)?;
        let plugin = String::from_utf8(output_of(self.docker().args(["buildx", "version"]))?)?;
        let plugin = plugin.split_whitespace().nth(1).unwrap_or_default();
        Ok(format!("Docker {}, buildx {plugin}", daemon.trim()))
    }

    /// Loads an archive; the name of the image in it.
    pub(super) fn load(&self, archive: &[u8]) -> anyhow::Result<String> {
        let path = self.work().join("archive.tar");
        fs::File::create(&path)?.write_all(archive)?;
        let said = output_of(
            self.docker()
                .args(["load", "--input", "/recorder/archive.tar"]),
        )?;
        let said = String::from_utf8_lossy(&said).into_owned();
        let name = said
            .lines()
            .find_map(|line| line.strip_prefix("Loaded image: "));
        Ok(name
            .with_context(|| format!("no image in the archive: {said}"))?
            .to_owned())
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            let answered = self.docker().arg("version").output()?;
            if answered.status.success() {
                return Ok(());
            }
            let ended = self.process.try_wait()?;
            if ended.is_some() || started.elapsed() > Duration::from_secs(60) {
                let log = fs::read_to_string(self.work().join("dockerd.log"))?;
                bail!("dockerd does not answer: {log}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The first process of the namespace is killed with `unshare`, and takes all others along.
        let _ = self.process.kill();
        let _ = self.process.wait();
        for work in ["recorder/data", "recorder"] {
            let started = Instant::now();
            // The namespace's mounts go a moment after its processes.
            while fs::remove_dir_all(self.root.join(work)).is_err()
                && self.root.join(work).exists()
                && started.elapsed() < Duration::from_secs(5)
            {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        for group in cgroups(Path::new("/sys/fs/cgroup")) {
            let _ = fs::remove_dir(&group);
        }
    }
}

/// The daemon's control groups, deepest first.
fn cgroups(hierarchies: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![hierarchies.join(CGROUP)];
    for entry in fs::read_dir(hierarchies).into_iter().flatten().flatten() {
        open.push(entry.path().join(CGROUP));
    }
    while let Some(directory) = open.pop() {
        if !directory.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
        }
        found.push(directory);
    }
    found.reverse();
    found
}

fn make_root(suite: &str, directory: &Path) -> anyhow::Result<()> {
    println!("making a root file system with Docker from Debian {suite}");
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory.parent().context("a directory has a parent")?)?;
    let status = Command::new("mmdebstrap")
        .args(["--quiet", "--variant=extract"])
        // A mirror that is not updated serves the packages all the same; they are signed.
        .args(["--aptopt=Acquire::Check-Valid-Until \"false\""])
        .arg(format!("--include={}", PACKAGES.replace(' ', "")))
        .arg(suite)
        .arg(directory)
        .status()
        .context("could not start mmdebstrap")?;
    ensure!(status.success(), "mmdebstrap: {status}");
    Ok(())
}
