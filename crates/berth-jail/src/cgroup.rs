//! Control groups, version 1, 2 and mixtures of them.
//!
//! Owner: the zygote creates and removes a sandbox's groups, its child joins them and applies the
//! limits, the daemon reads usage and freezes. Invariants: a session's groups are
//! `<hierarchy>/<session>/<name>` in every hierarchy in use; groups of others are never touched; a
//! controller the machine lacks is left out and listed in [`Capabilities`].

mod freeze;
mod hierarchy;
mod limits;
mod session;
mod sweep;
mod usage;

use std::io;
use std::path::{Path, PathBuf};

pub use hierarchy::Capabilities;
pub(crate) use hierarchy::Hierarchies;
pub(crate) use session::Session;
pub(crate) use sweep::sweep;

/// The groups of one sandbox; only paths, so cheap to make on either side of the socket.
#[derive(Clone, Debug)]
pub(crate) struct SandboxGroup {
    /// Version 2 directory and the controllers that work there.
    unified: Option<(PathBuf, Vec<String>)>,
    /// Version 1 controllers and the directory each is at; co-mounted ones share it.
    v1: Vec<(String, PathBuf)>,
}

impl SandboxGroup {
    fn new(hierarchies: &Hierarchies, session: &str, name: &str) -> Self {
        let below = |root: &Path| root.join(session).join(name);
        Self {
            unified: hierarchies
                .unified
                .as_ref()
                .map(|root| (below(root), hierarchies.unified_controllers.clone())),
            v1: hierarchies
                .v1
                .iter()
                .map(|(controller, root)| (controller.clone(), below(root)))
                .collect(),
        }
    }

    /// Each directory once.
    fn directories(&self) -> Vec<&Path> {
        let mut all: Vec<&Path> = Vec::new();
        let v1 = self.v1.iter().map(|(_, path)| path.as_path());
        let unified = self.unified.iter().map(|(path, _)| path.as_path());
        for path in unified.chain(v1) {
            if !all.contains(&path) {
                all.push(path);
            }
        }
        all
    }

    /// Version 1 directory of a controller.
    fn v1(&self, controller: &str) -> Option<&Path> {
        let found = self.v1.iter().find(|(name, _)| name == controller);
        found.map(|(_, path)| path.as_path())
    }

    /// Version 2 directory, if that controller works there.
    fn v2(&self, controller: &str) -> Option<&Path> {
        let (path, controllers) = self.unified.as_ref()?;
        controllers
            .iter()
            .any(|name| name == controller)
            .then_some(path.as_path())
    }

    /// Version 2 directory, whatever controllers work there.
    fn unified(&self) -> Option<&Path> {
        self.unified.as_ref().map(|(path, _)| path.as_path())
    }

    /// Makes the directories.
    pub(crate) fn create(&self) -> io::Result<()> {
        for directory in self.directories() {
            match std::fs::create_dir(directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Moves the calling process in. The first move after a quiet time waits for an RCU grace
    /// period (some milliseconds); the ones right after it do not.
    pub(crate) fn join(&self) -> io::Result<()> {
        for directory in self.directories() {
            write(&directory.join("cgroup.procs"), "0")?;
        }
        Ok(())
    }

    /// Pids of the processes in it.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let read = |directory: &&Path| std::fs::read_to_string(directory.join("cgroup.procs")).ok();
        let text = self.directories().first().and_then(read);
        let lines = text.as_deref().unwrap_or_default().lines();
        lines.filter_map(|line| line.parse().ok()).collect()
    }

    /// Removes the directories. `ResourceBusy`: a process in them is still ending.
    pub(crate) fn remove(&self) -> io::Result<()> {
        for directory in self.directories() {
            match std::fs::remove_dir(directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Directories worth showing inside, as (name below /sys/fs/cgroup, host directory). The name
    /// is empty for a pure version 2 machine.
    pub(crate) fn visible(&self) -> Vec<(&str, &Path)> {
        let shown = ["memory", "cpu", "cpuacct", "pids"];
        let v1: Vec<_> = self
            .v1
            .iter()
            .filter(|(name, _)| shown.contains(&name.as_str()))
            .map(|(name, path)| (name.as_str(), path.as_path()))
            .collect();
        if v1.is_empty() {
            self.unified().map(|path| ("", path)).into_iter().collect()
        } else {
            v1
        }
    }
}

/// Writes a control file. Never creates one.
fn write(path: &Path, value: &str) -> io::Result<()> {
    use std::io::Write as _;
    std::fs::OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(value.as_bytes())
}

/// Reads the number behind `key` in a file of `key value` lines.
fn keyed(path: &Path, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
        .and_then(|value| value.trim().parse().ok())
}

/// Reads a file that is one number.
fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}
