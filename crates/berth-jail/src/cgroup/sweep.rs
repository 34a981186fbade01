//! Removing what a dead session left.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};

use super::{SandboxGroup, Session, write};
use crate::sys;

/// Rounds of killing; each one kills all it finds, so that only a fork during a round needs another.
const ROUNDS: usize = 100;
/// How long one round waits for its processes to end.
const ROUND: Duration = Duration::from_secs(5);

/// Kills every process of the session but this one, and removes its groups.
pub(crate) fn sweep(path: &str) -> io::Result<()> {
    let session = Session::open(path)?;
    clear(&session.directories())?;
    session.remove();
    if session.directories().iter().any(|path| path.exists()) {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    Ok(())
}

/// Kills every process in these groups and below but this one, and removes the groups.
pub(super) fn clear(roots: &[PathBuf]) -> io::Result<()> {
    for _ in 0..ROUNDS {
        let groups: Vec<PathBuf> = roots.iter().flat_map(|root| below(root)).collect();
        if groups.is_empty() {
            break;
        }
        for group in &groups {
            thaw(group);
        }
        let killed = kill_all(&groups, None)?;
        if killed.is_empty() && remove_all(&groups) {
            break;
        }
        wait_for_all(&killed)?;
    }
    Ok(())
}

/// Kills every process in one group but this one and `spared`, and waits for their end.
pub(super) fn end_all_but(group: &Path, spared: u32) -> io::Result<()> {
    for _ in 0..ROUNDS {
        let group = [group.to_owned()];
        let killed = kill_all(&group, i32::try_from(spared).ok())?;
        if killed.is_empty() {
            break;
        }
        wait_for_all(&killed)?;
    }
    Ok(())
}

/// The group and all below it, innermost first.
fn below(group: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    if let Ok(entries) = std::fs::read_dir(group) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                all.extend(below(&entry.path()));
            }
        }
        all.push(group.to_owned());
    }
    all
}

/// A frozen process of version 1 does not die before it is thawed.
fn thaw(group: &Path) {
    for (file, value) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        let file = group.join(file);
        if file.exists() {
            let _ = write(&file, value);
        }
    }
}

impl SandboxGroup {
    /// Kills every process in the groups, thawed. Does not wait.
    pub(crate) fn kill(&self) {
        let groups = self.directories().into_iter().map(Path::to_owned);
        let groups: Vec<PathBuf> = groups.collect();
        for group in &groups {
            thaw(group);
        }
        // What cannot be killed now is the next session's.
        let _ = kill_all(&groups, None);
    }
}

fn kill_all(groups: &[PathBuf], spared: Option<i32>) -> io::Result<Vec<OwnedFd>> {
    let mut killed = Vec::new();
    let spared = spared.and_then(Pid::from_raw);
    for group in groups {
        for pid in members(group) {
            if pid == rustix::process::getpid() || Some(pid) == spared {
                continue;
            }
            let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else {
                continue;
            };
            // The number may have been given to another process before the pidfd was opened.
            if members(group).contains(&pid) && sys::signal::send(&process, libc::SIGKILL)? {
                killed.push(process);
            }
        }
    }
    Ok(killed)
}

fn members(group: &Path) -> Vec<Pid> {
    let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines()
        .filter_map(|line| Pid::from_raw(line.parse().ok()?))
        .collect()
}

fn wait_for_all(processes: &[OwnedFd]) -> io::Result<()> {
    let timeout = Timespec::try_from(ROUND).map_err(io::Error::other)?;
    for process in processes {
        let mut fds = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if processes.is_empty() {
        // Nobody left to wait for, yet a group is busy: its last process is half-way out, which
        // the kernel announces nowhere.
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn remove_all(groups: &[PathBuf]) -> bool {
    let mut all = true;
    for group in groups {
        all &= std::fs::remove_dir(group).is_ok() || !group.exists();
    }
    all
}
