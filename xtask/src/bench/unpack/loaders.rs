//! Who takes the image in. Each has its data in the benchmark's directory, which goes with it; Debian
//! packages stay installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bench::archive::{NAME, Packing};
use crate::bench::dev::executable;
use crate::bench::tools::{Containers, Dockerd, output};

/// One of them.
pub(super) trait Loader {
    fn name(&self) -> &'static str;
    fn reads(&self, packing: Packing) -> bool;
    fn load(&self, archive: &Path) -> anyhow::Result<()>;
    /// Removes the image with all its layers.
    fn forget(&self) -> anyhow::Result<()>;
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

/// `docker load`.
pub(super) struct Docker(pub(super) Dockerd);

impl Loader for Docker {
    fn name(&self) -> &'static str {
        "Docker"
    }

    /// Debian's is older than zstd in Docker.
    fn reads(&self, packing: Packing) -> bool {
        packing == Packing::Gzip
    }

    fn load(&self, archive: &Path) -> anyhow::Result<()> {
        output(self.0.command().args(["load", "--input"]).arg(archive)).map(drop)
    }

    fn forget(&self) -> anyhow::Result<()> {
        output(self.0.command().args(["rmi", "--force", NAME])).map(drop)
    }
}

/// `podman load`.
pub(super) struct Podman(pub(super) Containers);

impl Loader for Podman {
    fn name(&self) -> &'static str {
        "podman"
    }

    fn reads(&self, _: Packing) -> bool {
        true
    }

    fn load(&self, archive: &Path) -> anyhow::Result<()> {
        let mut command = self.0.command();
        command
            .args(["load", "--signature-policy"])
            .arg(&self.0.policy);
        output(command.arg("--input").arg(archive)).map(drop)
    }

    fn forget(&self) -> anyhow::Result<()> {
        output(self.0.command().args(["rmi", "--force", "--all"])).map(drop)
    }
}
