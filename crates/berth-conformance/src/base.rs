//! The images that the corpus builds on, as `docker save` archives: both programs import the same
//! bytes.
//!
//! `corpus/base` is Debian's static busybox with links for its commands, a few users and odd places
//! to copy to. `corpus/rich` is the same file system with every setting that a configuration has, for
//! what is inherited. The busybox differs between machines, so no case may copy it.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use fs_err as fs;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use crate::FIXED_TIME;

/// Debian's package and its program.
const PACKAGE: &str = "busybox-static";
const BUSYBOX: &str = "/bin/busybox";

/// Commands that cases use.
const COMMANDS: &str = "sh ash basename cat chgrp chmod chown cmp cp cut date dd dirname du echo env \
    expr false find grep head hostname id ln ls md5sum mkdir mkfifo mknod mktemp mount mv nc nproc od \
    printenv printf ps pwd readlink realpath rm rmdir sed seq sha256sum sleep sort stat sync tail tar \
    tee test touch tr true truncate umount uname unlink wc wget which whoami xargs yes [";

/// An archive that holds the base images, and the digest of their one layer.
#[derive(Clone, Debug)]
pub struct Base {
    /// For `docker load` and `berth images import`, one for each image: its name and the archive.
    pub archives: Vec<(&'static str, Vec<u8>)>,
    /// Digest of the uncompressed layer.
    pub diff_id: String,
}

/// Makes the base images. Installs busybox if it is missing.
///
/// # Errors
/// It cannot be installed.
pub fn make() -> anyhow::Result<Base> {
    if !Path::new(BUSYBOX).exists() {
        install(&[PACKAGE])?;
    }
    let layer = root(&fs::read(BUSYBOX)?)?;
    let diff_id = format!("sha256:{}", hex(&layer));
    let archives = [("corpus/base", plain()), ("corpus/rich", rich())]
        .into_iter()
        .map(|(name, config)| Ok((name, archive(name, &layer, &diff_id, &config)?)))
        .collect::<anyhow::Result<_>>()?;
    Ok(Base { archives, diff_id })
}

/// Installs Debian packages, if there are any that are missing.
///
/// # Errors
/// The package client's.
pub fn install(packages: &[&str]) -> anyhow::Result<()> {
    let there = Command::new("dpkg")
        .arg("--status")
        .args(packages)
        .output()?;
    if there.status.success() {
        return Ok(());
    }
    let output = Command::new("apt-get")
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(["install", "--yes", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .context("could not start apt-get")?;
    ensure!(
        output.status.success(),
        "could not install {}: {}",
        packages.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn plain() -> Value {
    json!({ "Env": [PATH], "Cmd": ["/bin/sh"] })
}

fn rich() -> Value {
    json!({
        "Env": [PATH, "INHERITED=from the base", "EMPTY=", "EQUALS=a=b"],
        "Cmd": ["--base"],
        "Entrypoint": ["/bin/base-entrypoint"],
        "WorkingDir": "/srv/base",
        "User": "app",
        "Labels": { "base.label": "one", "shared.label": "base" },
        "ExposedPorts": { "80/tcp": {} },
        "Volumes": { "/base-volume": {} },
        "StopSignal": "SIGQUIT",
        "Healthcheck": { "Test": ["CMD", "/bin/true"], "Interval": 5_000_000_000_u64 },
        "Shell": ["/bin/ash", "-e", "-c"],
    })
}

fn root(busybox: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut tar = Root(Builder::new(Vec::new()));
    for (path, mode) in [
        ("bin/", 0o755),
        ("dev/", 0o755),
        ("etc/", 0o755),
        ("home/", 0o755),
        ("proc/", 0o755),
        ("root/", 0o700),
        ("srv/", 0o755),
        ("srv/base/", 0o755),
        ("srv/full/", 0o750),
        ("srv/full/inner/", 0o755),
        ("sys/", 0o755),
        ("tmp/", 0o1777),
        ("usr/", 0o755),
        ("usr/lib/", 0o755),
        ("var/", 0o755),
    ] {
        tar.add(path, EntryType::Directory, mode, 0, None, b"")?;
    }
    tar.add("home/app/", EntryType::Directory, 0o750, 1000, None, b"")?;
    tar.add("bin/busybox", EntryType::Regular, 0o755, 0, None, busybox)?;
    for command in COMMANDS.split_whitespace() {
        let path = format!("bin/{command}");
        tar.add(&path, EntryType::Symlink, 0o777, 0, Some("busybox"), b"")?;
    }
    for (path, text) in [
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n",
        ),
        ("etc/hosts", ""),
        ("etc/resolv.conf", ""),
        ("etc/group", "root:x:0:\napp:x:1001:\nstaff:x:50:app\n"),
        ("srv/full/a", "a of the base\n"),
        ("srv/full/b", "b of the base\n"),
        ("srv/full/inner/c", "c of the base\n"),
        ("srv/link-target", "behind a link\n"),
    ] {
        tar.add(path, EntryType::Regular, 0o644, 0, None, text.as_bytes())?;
    }
    for (path, target) in [
        ("lib", "usr/lib"),
        ("srv/absolute", "/srv/full"),
        ("srv/relative", "full/inner"),
        ("srv/file-link", "link-target"),
        ("srv/dangling", "/nowhere/at/all"),
    ] {
        tar.add(path, EntryType::Symlink, 0o777, 0, Some(target), b"")?;
    }
    tar.add(
        "srv/full/second-name-of-a",
        EntryType::Link,
        0o644,
        0,
        Some("srv/full/a"),
        b"",
    )?;
    Ok(tar.0.into_inner()?)
}

struct Root(Builder<Vec<u8>>);

impl Root {
    fn add(
        &mut self,
        path: &str,
        kind: EntryType,
        mode: u32,
        owner: u64,
        link: Option<&str>,
        data: &[u8],
    ) -> anyhow::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(if owner == 0 { 0 } else { 1001 });
        header.set_mtime(FIXED_TIME.unsigned_abs());
        header.set_size(data.len() as u64);
        if let Some(link) = link {
            header.set_link_name(link)?;
        }
        self.0.append_data(&mut header, path, data)?;
        Ok(())
    }
}

fn archive(name: &str, layer: &[u8], diff_id: &str, config: &Value) -> anyhow::Result<Vec<u8>> {
    let configuration = serde_json::to_vec(&json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "2001-09-09T01:46:40Z",
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        "history": [{
            "created": "2001-09-09T01:46:40Z",
            "created_by": "the corpus's base image",
        }],
    }))?;
    let config_name = format!("{}.json", hex(&configuration));
    let manifest = serde_json::to_vec(&json!([{
        "Config": config_name,
        "RepoTags": [format!("{name}:latest")],
        "Layers": ["base/layer.tar"],
    }]))?;
    let mut tar = Builder::new(Vec::new());
    for (path, bytes) in [
        (config_name.as_str(), configuration.as_slice()),
        ("base/layer.tar", layer),
        ("manifest.json", &manifest),
    ] {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, bytes)?;
    }
    let mut bytes = tar.into_inner()?;
    bytes.flush()?;
    Ok(bytes)
}
