//! What processes use, read from /proc.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use fs_err as fs;

/// What the processes of ours use: the daemon and its zygote.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) processes: u64,
    pub(crate) threads: u64,
    pub(crate) descriptors: u64,
    pub(crate) mounts: u64,
    /// Proportional set size: memory of their own and their share of what is shared.
    pub(crate) memory_kib: u64,
}

/// Sums up every process that runs `executable`, but for those that are about to become something
/// else: a sandbox is no process of ours.
pub(crate) fn usage(executable: &Path) -> anyhow::Result<Usage> {
    let mut usage = Usage::default();
    for (pid, directory) in processes()? {
        let ours = fs::read_link(directory.join("exe")).is_ok_and(|exe| exe == executable);
        let name = fs::read_to_string(directory.join("comm")).unwrap_or_default();
        if !ours || name.trim() == "berth-sandbox" {
            continue;
        }
        usage.processes += 1;
        usage.threads += entries(&directory.join("task"));
        usage.descriptors += entries(&directory.join("fd"));
        let mounts = fs::read_to_string(directory.join("mountinfo")).unwrap_or_default();
        usage.mounts += mounts.lines().count() as u64;
        usage.memory_kib += pss(pid);
    }
    Ok(usage)
}

/// Processes of the machine.
fn processes() -> anyhow::Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        if let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        {
            found.push((pid, entry.path()));
        }
    }
    Ok(found)
}

/// Pids of the processes whose parent is `parent`, and theirs.
pub(crate) fn descendants(parent: u32) -> anyhow::Result<Vec<u32>> {
    let all: Vec<(u32, u32)> = processes()?
        .into_iter()
        .filter_map(|(pid, directory)| {
            let status = fs::read_to_string(directory.join("status")).ok()?;
            let line = status.lines().find(|line| line.starts_with("PPid:"))?;
            Some((pid, line["PPid:".len()..].trim().parse().ok()?))
        })
        .collect();
    let mut found = vec![parent];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        found.extend(all.iter().filter(|(_, of)| *of == pid).map(|(pid, _)| *pid));
        next += 1;
    }
    found.remove(0);
    Ok(found)
}

/// Command name of a process.
pub(crate) fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

/// Proportional set size in KiB; 0 for one that has ended.
pub(crate) fn pss(pid: u32) -> u64 {
    fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .ok()
        .and_then(|text| field(&text, "Pss:"))
        .unwrap_or_default()
}

/// Nanoseconds of CPU time of a process's threads.
pub(crate) fn cpu_ns(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    tasks
        .filter_map(|task| {
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        })
        .sum()
}

/// A line of /proc/meminfo in KiB.
pub(crate) fn memory(key: &str) -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    field(&text, key).with_context(|| format!("no `{key}` in /proc/meminfo"))
}

/// Directories below a session's cgroup, in all hierarchies.
pub(crate) fn cgroups(control: &Path) -> anyhow::Result<u64> {
    let record = control
        .parent()
        .context("a socket without a directory")?
        .join("session.json");
    let record: serde_json::Value = serde_json::from_slice(&fs::read(record)?)?;
    let session = record["cgroup"].as_str().context("no cgroup")?.to_owned();
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let roots = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        after
            .starts_with("cgroup")
            .then(|| before.split(' ').nth(4).map(PathBuf::from))?
    });
    Ok(roots
        .filter_map(|root| fs::read_dir(root.join(&session)).ok())
        .flatten()
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_dir()))
        .count() as u64)
}

fn entries(directory: &Path) -> u64 {
    fs::read_dir(directory).map_or(0, |entries| entries.count() as u64)
}

fn field(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    line[key.len()..]
        .trim_start_matches(':')
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}
