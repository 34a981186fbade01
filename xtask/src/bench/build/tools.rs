//! The builders that are compared. Each has its data in the benchmark's directory, which goes with it;
//! Debian packages stay installed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::bench::dev::executable;

/// The image that the Dockerfiles begin with.
const BASE: &str = "bench/base";

/// One builder.
pub(super) trait Tool {
    fn name(&self) -> &'static str;
    /// Builds `<context>/Dockerfile`.
    fn build(&self, context: &Path, tag: &str) -> anyhow::Result<()>;
    /// Empties its build cache; the base image stays.
    fn forget(&self) -> anyhow::Result<()>;
}

/// Debian packages of the other two.
pub(super) fn install() -> anyhow::Result<()> {
    let packages = ["docker.io", "buildah", "runc", "iptables"];
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

/// A root file system with a shell: Debian's static busybox. Its tar.
pub(in crate::bench) fn base(directory: &Path) -> anyhow::Result<PathBuf> {
    let busybox = Path::new("/bin/busybox");
    let is_static = Command::new("dpkg-query")
        .args([
            "--show",
            "--showformat=${db:Status-Status}",
            "busybox-static",
        ])
        .output()
        .is_ok_and(|output| output.stdout == b"installed");
    if !is_static {
        let mut command = Command::new("apt-get");
        command
            .args(["-o", "DPkg::Lock::Timeout=300"])
            .args([
                "install",
                "--yes",
                "--no-install-recommends",
                "busybox-static",
            ])
            .env("DEBIAN_FRONTEND", "noninteractive");
        output(&mut command)?;
    }
    let root = directory.join("base");
    for name in [
        "bin", "etc", "root", "tmp", "dev", "proc", "sys", "run", "usr/bin",
    ] {
        fs_err::create_dir_all(root.join(name))?;
    }
    fs_err::copy(busybox, root.join("bin/busybox"))?;
    fs_err::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs_err::write(root.join("etc/group"), "root:x:0:\n")?;
    for applet in output(Command::new(busybox).arg("--list"))?.lines() {
        let link = root.join("bin").join(applet);
        if applet != "busybox" {
            std::os::unix::fs::symlink("busybox", link)?;
        }
    }
    let tar = directory.join("base.tar");
    output(
        Command::new("tar")
            .arg("-C")
            .arg(&root)
            .arg("-cf")
            .arg(&tar)
            .arg("."),
    )?;
    Ok(tar)
}

/// Standard output of a command that must succeed.
pub(in crate::bench) fn output(command: &mut Command) -> anyhow::Result<String> {
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

/// Ends a daemon by its pid and waits for it.
fn end(child: &mut Child) {
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    let _ = child.wait();
}

/// Berth, with an engine of its own.
pub(super) struct Berth {
    executable: PathBuf,
    data: PathBuf,
    engine: Child,
}

impl Berth {
    pub(super) fn start(directory: &Path, base: &Path) -> anyhow::Result<Self> {
        let executable = executable()?;
        let data = directory.join("berth");
        let berth = || {
            let mut command = Command::new(&executable);
            command
                .arg("--data-dir")
                .arg(&data)
                .env_remove("DOCKER_HOST");
            command
        };
        output(berth().args(["images", "import"]).arg(base).arg(BASE))?;
        let engine = berth()
            .args(["engine", "--json"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("could not start berth engine")?;
        let berth = Self {
            executable,
            data,
            engine,
        };
        let began = Instant::now();
        while output(berth.command().arg("version")).is_err() {
            ensure!(
                began.elapsed() < Duration::from_secs(30),
                "berth engine does not answer"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(berth)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command
            .arg("--data-dir")
            .arg(&self.data)
            .arg("docker")
            .env_remove("DOCKER_HOST");
        command
    }
}

impl Tool for Berth {
    fn name(&self) -> &'static str {
        "Berth"
    }

    fn build(&self, context: &Path, tag: &str) -> anyhow::Result<()> {
        output(self.command().args(["build", "--tag", tag]).arg(context)).map(drop)
    }

    fn forget(&self) -> anyhow::Result<()> {
        match fs_err::remove_dir_all(self.data.join("cache/build")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        end(&mut self.engine);
    }
}

/// dockerd with BuildKit: no bridge, no firewall rules, everything of it in one directory.
pub(super) struct Docker {
    directory: PathBuf,
    daemon: Child,
}

/// Not another one that is in `PATH` before it.
const DOCKER: &str = "/usr/bin/docker";

impl Docker {
    pub(super) fn start(directory: &Path, base: &Path) -> anyhow::Result<Self> {
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
        output(docker.command().arg("import").arg(base).arg(BASE))?;
        Ok(docker)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(DOCKER);
        command
            .env(
                "DOCKER_HOST",
                format!("unix://{}", self.directory.join("socket").display()),
            )
            .env("DOCKER_CONFIG", self.directory.join("config"))
            .env("DOCKER_BUILDKIT", "1");
        command
    }
}

impl Tool for Docker {
    fn name(&self) -> &'static str {
        "BuildKit"
    }

    fn build(&self, context: &Path, tag: &str) -> anyhow::Result<()> {
        let mut command = self.command();
        command.args(["build", "--network", "host", "--tag", tag]);
        output(command.arg(context)).map(drop)
    }

    fn forget(&self) -> anyhow::Result<()> {
        output(
            self.command()
                .args(["builder", "prune", "--all", "--force"]),
        )
        .map(drop)
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        end(&mut self.daemon);
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

/// buildah, with a storage of its own.
pub(super) struct Buildah {
    directory: PathBuf,
}

impl Buildah {
    pub(super) fn start(directory: &Path, base: &Path) -> anyhow::Result<Self> {
        let directory = directory.join("buildah");
        fs_err::create_dir_all(&directory)?;
        // Short names must not be asked for at a registry, and none is allowed without a policy.
        fs_err::write(
            directory.join("policy.json"),
            r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
        )?;
        fs_err::write(
            directory.join("registries.conf"),
            "unqualified-search-registries = [\"localhost\"]\n",
        )?;
        let buildah = Self { directory };
        let context = buildah.directory.join("base");
        fs_err::create_dir_all(&context)?;
        fs_err::copy(base, context.join("base.tar"))?;
        fs_err::write(context.join("Dockerfile"), "FROM scratch\nADD base.tar /\n")?;
        buildah.build(&context, BASE)?;
        fs_err::remove_dir_all(&context)?;
        Ok(buildah)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("buildah");
        command
            .arg("--root")
            .arg(self.directory.join("root"))
            .arg("--runroot")
            .arg(self.directory.join("run"))
            .args(["--storage-driver", "overlay"])
            .arg("--registries-conf")
            .arg(self.directory.join("registries.conf"));
        command
    }
}

impl Tool for Buildah {
    fn name(&self) -> &'static str {
        "buildah"
    }

    fn build(&self, context: &Path, tag: &str) -> anyhow::Result<()> {
        let mut command = self.command();
        command
            .args([
                "build",
                "--layers",
                "--isolation",
                "chroot",
                "--network",
                "host",
            ])
            .args(["--pull-never", "--jobs", "4"])
            .arg("--signature-policy")
            .arg(self.directory.join("policy.json"));
        output(command.args(["--tag", tag]).arg(context)).map(drop)
    }

    fn forget(&self) -> anyhow::Result<()> {
        let images =
            output(
                self.command()
                    .args(["images", "--all", "--format", "{{.ID}} {{.Name}}"]),
            )?;
        let mut others: Vec<_> = images
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(_, name)| !name.ends_with(BASE))
            .map(|(id, _)| id)
            .collect();
        others.sort_unstable();
        others.dedup();
        if others.is_empty() {
            return Ok(());
        }
        // Those that others are made of go with them.
        let _ = self
            .command()
            .args(["rmi", "--force"])
            .args(others)
            .output();
        Ok(())
    }
}

impl Drop for Buildah {
    fn drop(&mut self) {
        let _ = self.command().args(["rm", "--all"]).output();
        for mount in ["root/overlay", "run/overlay"] {
            let _ = Command::new("umount")
                .args(["--quiet", "--lazy"])
                .arg(self.directory.join(mount))
                .stderr(Stdio::null())
                .status();
        }
    }
}
