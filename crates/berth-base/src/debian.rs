//! Debian's minimal system, as `debian:<codename>-slim` has it, plus `ca-certificates`.

use std::path::Path;

use berth_image::{Image, ImageStore};
use tokio::process::Command;

use crate::command::{isolated, run};
use crate::error::file;
use crate::image::{Description, assemble};
use crate::lock::scratch;
use crate::recipe::Release;
use crate::{BaseError, sources};

/// What slim images leave out.
const EXCLUDED: [&str; 6] = [
    "/usr/share/doc/*",
    "/usr/share/groff/*",
    "/usr/share/info/*",
    "/usr/share/linda/*",
    "/usr/share/lintian/*",
    "/usr/share/man/*",
];

/// Certificates that the host's administrator added go into the image, before `ca-certificates` is
/// configured there. `$1` is the new root.
const CERTIFICATES_HOOK: &str = "mkdir -p \"$1/usr/local/share/ca-certificates\"; \
     for file in /usr/local/share/ca-certificates/*.crt; do \
     [ ! -e \"$file\" ] || cp \"$file\" \"$1/usr/local/share/ca-certificates/\"; done";

/// Files that would describe this machine; each container gets its own.
const MACHINE_FILES: [&str; 2] = ["etc/resolv.conf", "etc/hostname"];

/// Makes the image; its layer is complete when this returns, its name is the caller's job.
pub(crate) async fn make(
    store: &ImageStore,
    release: &Release,
    report: &(dyn Fn(&str) + Send + Sync),
) -> Result<Image, BaseError> {
    let host = Host::read(Path::new("/etc/os-release"));
    let name = format!("debian:{}-slim", release.codename);
    let codename = host.debian_codename(&name)?;
    let sources = sources::find(Path::new("/etc/apt"), codename);
    if sources.is_empty() {
        return Err(BaseError::NoSources {
            codename: codename.to_owned(),
        });
    }
    ensure_mmdebstrap(report).await?;
    let scratch = scratch(store)?;
    // The name is kept in the image's /etc/apt/sources.list.d.
    let source_file = scratch.path().join("debian.sources");
    fs_err::write(
        &source_file,
        sources::render(&sources, codename, release.codename),
    )
    .map_err(file("write", &source_file))?;
    let root = scratch.path().join("root");
    report("installing Debian's minimal system (about a minute, once)");
    run(
        &mut bootstrap(release, &root, &source_file),
        "mmdebstrap",
        &|line| {
            if let Some(line) = line.strip_prefix("I: ")
                && !line.contains("-hook")
            {
                report(line);
            }
        },
    )
    .await?;
    for path in MACHINE_FILES.map(|path| root.join(path)) {
        fs_err::write(&path, "").map_err(file("empty", &path))?;
    }
    report("storing");
    let description = Description {
        env: Vec::new(),
        command: "bash",
        recipe: format!("mmdebstrap minbase {} + ca-certificates", release.codename),
    };
    assemble(store, None, root, description).await
}

fn bootstrap(release: &Release, root: &Path, source_file: &Path) -> Command {
    let mut command = isolated("mmdebstrap");
    command
        .args(["--mode=root", "--variant=minbase", "--format=directory"])
        .args(["--architectures=amd64", "--include=ca-certificates"])
        .arg("--aptopt=Acquire::Languages \"none\"")
        .arg("--dpkgopt=force-unsafe-io")
        .args(EXCLUDED.map(|path| format!("--dpkgopt=path-exclude={path}")))
        .arg("--dpkgopt=path-include=/usr/share/doc/*/copyright")
        .arg(format!("--essential-hook={CERTIFICATES_HOOK}"))
        .arg(release.codename)
        .arg(root)
        .arg(source_file);
    command
}

/// Installs `mmdebstrap` by name when the machine does not have it.
async fn ensure_mmdebstrap(report: &(dyn Fn(&str) + Send + Sync)) -> Result<(), BaseError> {
    if Path::new("/usr/bin/mmdebstrap").exists() {
        return Ok(());
    }
    report("installing the Debian package mmdebstrap on this machine");
    if install_mmdebstrap().await.is_ok() {
        return Ok(());
    }
    // The package lists may be missing or old, as they are in container images.
    run(
        Command::new("apt-get").args(["update", "-q"]),
        "apt-get update",
        &|_| {},
    )
    .await?;
    install_mmdebstrap().await
}

async fn install_mmdebstrap() -> Result<(), BaseError> {
    run(
        Command::new("apt-get")
            .args([
                "install",
                "-q",
                "-y",
                "--no-install-recommends",
                "mmdebstrap",
            ])
            .env("DEBIAN_FRONTEND", "noninteractive"),
        "installing mmdebstrap",
        &|_| {},
    )
    .await
}

/// What `/etc/os-release` says.
struct Host {
    id: String,
    codename: String,
    pretty_name: String,
}

impl Host {
    fn read(path: &Path) -> Self {
        Self::parse(&std::fs::read_to_string(path).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let value = |key: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| *name == key)
                .map(|(_, value)| value.trim_matches(['"', '\'']).to_owned())
        };
        Self {
            id: value("ID").unwrap_or_default(),
            codename: value("VERSION_CODENAME").unwrap_or_default(),
            pretty_name: value("PRETTY_NAME").unwrap_or_else(|| "an unknown system".to_owned()),
        }
    }

    fn debian_codename(&self, name: &str) -> Result<&str, BaseError> {
        if self.id == "debian" && !self.codename.is_empty() {
            return Ok(&self.codename);
        }
        Err(BaseError::NotDebian {
            name: name.to_owned(),
            os: self.pretty_name.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use berth_error::Hint as _;

    use super::*;

    #[test]
    fn a_debian_host_is_recognised() {
        let host = Host::parse("PRETTY_NAME=\"Debian 12\"\nID=debian\nVERSION_CODENAME=bookworm\n");
        assert_eq!(host.debian_codename("debian:12").unwrap(), "bookworm");
    }

    #[test]
    fn another_host_gets_one_clear_error() {
        let host = Host::parse("ID=fedora\nPRETTY_NAME=\"Fedora Linux 43\"\n");
        let error = host.debian_codename("node:22-slim").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the base image `node:22-slim` is made from Debian packages, \
             but this machine runs Fedora Linux 43"
        );
        assert!(error.hint().unwrap().contains("berth images import"));
    }
}
