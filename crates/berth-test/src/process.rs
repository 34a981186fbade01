//! Processes as the kernel shows them, and which of them belong to a session.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};

/// A variable, with a value that nothing else of any test has.
pub(crate) fn mark() -> String {
    use std::hash::{BuildHasher, RandomState};
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let random = RandomState::new().hash_one(number);
    let own = std::process::id();
    format!("BERTH_TEST_MARK={own}-{number}-{random:016x}")
}

/// One process that belonged to a session, held by pidfd so that its number cannot be reused on us.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) pid: i32,
    pub(crate) command: String,
    pidfd: OwnedFd,
}

impl Member {
    pub(crate) fn open(pid: i32) -> Option<Self> {
        let pidfd = rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        Some(Self {
            pid,
            command: command.trim_end().to_owned(),
            pidfd,
        })
    }

    /// Whether it has ended, waiting for that for at most `limit`.
    pub(crate) fn ended_within(&self, limit: Duration) -> bool {
        let mut poll = [rustix::event::PollFd::new(
            &self.pidfd,
            rustix::event::PollFlags::IN,
        )];
        let limit = rustix::event::Timespec::try_from(limit).expect("a short time");
        matches!(rustix::event::poll(&mut poll, Some(&limit)), Ok(1))
    }

    /// Whether it is a container's, or has them.
    pub(crate) fn is_kept(&self, session: &str) -> bool {
        let cgroups = std::fs::read_to_string(format!("/proc/{}/cgroup", self.pid));
        let sandbox = format!("/{session}/s");
        self.command.starts_with("berth-zygote")
            || cgroups.is_ok_and(|cgroups| cgroups.contains(&sandbox))
    }

    /// Kills it.
    pub(crate) fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

/// The living processes of a session: the descendants of `root`, whoever is in a cgroup with the
/// session's id in its path, and whoever carries `mark` in its environment.
pub(crate) fn members(root: Option<i32>, session: Option<&str>, mark: &str) -> Vec<Member> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for pid in pids() {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
        if in_session(pid, session) || marked(pid, mark) {
            found.insert(pid);
        }
    }
    let mut queue: Vec<_> = root.into_iter().chain(found.iter().copied()).collect();
    while let Some(pid) = queue.pop() {
        found.insert(pid);
        queue.extend(children.remove(&pid).unwrap_or_default());
    }
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    found.remove(&own);
    found.into_iter().filter_map(Member::open).collect()
}

/// The processes of a session's containers with `needle` in their command line.
pub(crate) fn of_containers(session: &str, needle: &str) -> Vec<i32> {
    let mut found = members(None, Some(session), "BERTH_TEST_MARK=nobody");
    found.retain(|member| {
        let zygote = member.command.starts_with("berth-zygote");
        !zygote && member.is_kept(session) && member.command.contains(needle)
    });
    found.into_iter().map(|member| member.pid).collect()
}

/// The child of a process that has `name` as its first argument, or a path that ends with it.
pub(crate) fn child(of: i32, name: &str) -> Member {
    let mut found = children(of, name).into_iter();
    let child = found.next().unwrap_or_else(|| panic!("no child `{name}`"));
    assert!(found.next().is_none(), "more than one child is `{name}`");
    child
}

/// All of them.
pub(crate) fn children(of: i32, name: &str) -> Vec<Member> {
    let named = |member: &Member| {
        let first = member.command.split(' ').next().unwrap_or_default();
        first.rsplit('/').next() == Some(name)
    };
    let children = pids().into_iter().filter(|pid| parent(*pid) == Some(of));
    children.filter_map(Member::open).filter(named).collect()
}

/// All process ids.
pub(crate) fn pids() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("read /proc");
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn in_session(pid: i32, session: Option<&str>) -> bool {
    session.is_some_and(|session| {
        let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
        cgroups.is_ok_and(|cgroups| cgroups.contains(session))
    })
}

fn marked(pid: i32, mark: &str) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment
        .split(|byte| *byte == 0)
        .any(|entry| entry == mark.as_bytes())
}
