//! The builders that are compared. Each has its data in the benchmark's directory, which goes with it;
//! Debian packages stay installed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::bench::dev::executable;
use crate::bench::tools::{Containers, Dockerd, end, install, output};

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

/// A root file system with a shell: Debian's static busybox. Its tar.
pub(in crate::bench) fn base(directory: &Path) -> anyhow::Result<PathBuf> {
    let busybox = Path::new("/bin/busybox");
    install(&["busybox-static"])?;
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

/// dockerd with BuildKit.
pub(super) struct Docker(Dockerd);

impl Docker {
    pub(super) fn start(directory: &Path, base: &Path) -> anyhow::Result<Self> {
        let docker = Self(Dockerd::start(directory)?);
        output(docker.command().arg("import").arg(base).arg(BASE))?;
        Ok(docker)
    }

    fn command(&self) -> Command {
        let mut command = self.0.command();
        command.env("DOCKER_BUILDKIT", "1");
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

/// buildah, with a storage of its own.
pub(super) struct Buildah(Containers);

impl Buildah {
    pub(super) fn start(directory: &Path, base: &Path) -> anyhow::Result<Self> {
        let buildah = Self(Containers::new("buildah", directory)?);
        // Short names must not be asked for at a registry.
        fs_err::write(
            buildah.registries(),
            "unqualified-search-registries = [\"localhost\"]\n",
        )?;
        let context = buildah.0.directory.join("base");
        fs_err::create_dir_all(&context)?;
        fs_err::copy(base, context.join("base.tar"))?;
        fs_err::write(context.join("Dockerfile"), "FROM scratch\nADD base.tar /\n")?;
        buildah.build(&context, BASE)?;
        fs_err::remove_dir_all(&context)?;
        Ok(buildah)
    }

    fn registries(&self) -> PathBuf {
        self.0.directory.join("registries.conf")
    }

    fn command(&self) -> Command {
        let mut command = self.0.command();
        command.arg("--registries-conf").arg(self.registries());
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
            .arg(&self.0.policy);
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
    }
}
