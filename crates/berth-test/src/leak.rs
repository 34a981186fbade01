//! The leak check: what a session may leave on the machine, and that it has left none of it.
//!
//! Everything is told apart by the session's id (it is in the path of its directory, its cgroups
//! and thereby its mounts), by the descendants of its process, and by a mark in their environment,
//! so that sessions of other tests, and of other people, are not seen.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::process::{Member, members, pids};

/// How long the kernel may take to finish processes that were killed before the session ended.
const EXIT_GRACE: Duration = Duration::from_secs(1);

/// What identifies one session's traces, and the processes it had when it was last looked at.
#[derive(Debug)]
pub struct Footprint {
    mark: String,
    root: Option<i32>,
    session: Option<String>,
    data_dir: PathBuf,
    project: PathBuf,
    port: Option<u16>,
    processes: Vec<Member>,
}

impl Footprint {
    /// A session that has just been spawned as process `root` with `mark` in its environment.
    pub(crate) fn new(mark: String, root: Option<i32>, data_dir: PathBuf, project: &Path) -> Self {
        Self {
            mark,
            root,
            session: None,
            data_dir,
            project: project.to_owned(),
            port: None,
            processes: Vec::new(),
        }
    }

    /// Says what is known once the session is ready.
    pub(crate) fn identify(&mut self, session: &str, port: Option<u16>) {
        assert!(
            session.len() >= 6,
            "the session id `{session}` is too short to be searched for"
        );
        self.session = Some(session.to_owned());
        self.port = port;
    }

    /// Says which port it listens on, of something that has no session of its own.
    pub(crate) fn listens(&mut self, port: u16) {
        self.port = Some(port);
    }

    /// Remembers the processes the session has now. Call it while the session runs.
    pub(crate) fn observe(&mut self) {
        self.processes = members(self.root, self.session.as_deref(), &self.mark);
    }

    /// Blocks until the session's own process has ended, for at most `limit`.
    pub(crate) fn await_root(&self, limit: Duration) {
        let mut processes = self.processes.iter();
        if let Some(root) = processes.find(|process| Some(process.pid) == self.root) {
            root.ended_within(limit);
        }
    }

    /// Blocks until every process with the mark has ended, for at most `limit`.
    pub(crate) fn await_all(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        for process in members(None, None, &self.mark) {
            process.ended_within(deadline.saturating_duration_since(Instant::now()));
        }
    }

    /// Everything of the session that is still there, one line each.
    pub fn remains(&self) -> Vec<String> {
        let mut found = Vec::new();
        let late = members(None, self.session.as_deref(), &self.mark);
        let deadline = Instant::now() + EXIT_GRACE;
        for process in self.processes.iter().chain(&late) {
            if !process.ended_within(deadline.saturating_duration_since(Instant::now())) {
                found.push(format!("process {}: {}", process.pid, process.command));
            }
        }
        if let Some(session) = &self.session {
            if found.is_empty() {
                await_sweeper(&self.data_dir.join("sessions").join(session));
            }
            found.extend(mounts(session));
            found.extend(cgroups(session));
            found.extend(loop_devices(session));
            found.extend(unix_sockets(session));
            let directory = self.data_dir.join("sessions").join(session);
            if directory.exists() {
                found.push(format!("directory {}", directory.display()));
            }
            let record = self.project.join(".berth/session.json");
            if std::fs::read_to_string(&record).is_ok_and(|text| text.contains(session)) {
                found.push(format!("record {}", record.display()));
            }
        }
        if let Some(port) = self.port
            && TcpStream::connect(("localhost", port)).is_ok()
        {
            found.push(format!("listener on port {port}"));
        }
        found.sort();
        found.dedup();
        found
    }

    /// Blocks until every process the session had when it was last looked at has ended.
    ///
    /// # Panics
    ///
    /// If one runs on.
    pub fn assert_processes_end(&self) {
        let deadline = Instant::now() + crate::PATIENCE;
        for process in &self.processes {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(process.ended_within(left), "{} runs on", process.command);
        }
    }

    /// Blocks until every process that a server of this session had when it was last looked at has ended, but
    /// for the containers and the process that keeps them for the next server.
    ///
    /// # Panics
    ///
    /// If one runs on.
    pub fn assert_server_ends(&self) {
        let deadline = Instant::now() + crate::PATIENCE;
        let session = self.session.as_deref().unwrap_or_default();
        for process in &self.processes {
            if process.is_kept(session) {
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(process.ended_within(left), "{} runs on", process.command);
        }
    }

    /// Fails if anything of the session is still there.
    #[track_caller]
    pub fn assert_gone(&self) {
        let remains = self.remains();
        assert!(
            remains.is_empty(),
            "the session left behind:\n  {}",
            remains.join("\n  ")
        );
    }

    /// Ends all that is left, as a power cut does: processes, and what the kernel has for them. What is on disk
    /// stays.
    ///
    /// # Panics
    ///
    /// If something does not end.
    pub fn lose_power(&self) {
        self.kill_processes();
        self.await_all(crate::PATIENCE);
        let session = self.session.as_deref().unwrap_or_default();
        for member in members(None, Some(session), &self.mark) {
            let ended = member.ended_within(crate::PATIENCE);
            assert!(ended, "{} runs on", member.command);
        }
        for directory in cgroup_directories(session) {
            remove_cgroup(&directory);
        }
    }

    /// Kills the processes that are left of a session whose test has failed.
    pub(crate) fn kill_processes(&self) {
        let late = members(None, self.session.as_deref(), &self.mark);
        for process in self.processes.iter().chain(&late) {
            if !process.ended_within(Duration::ZERO) {
                process.kill();
            }
        }
    }
}

/// Another session of the same data directory may be the one that cleans up: it has the lock for as
/// long as that takes.
fn await_sweeper(session: &Path) {
    if let Ok(lock) = std::fs::File::open(session.join("lock")) {
        // An error means that there is nothing to wait for: what remains is found below.
        let _ = rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive);
    }
}

/// Mounts with the session in their line, in every mount namespace of the machine. Network
/// namespaces that are kept by a mount show here too; others live only as long as a process.
fn mounts(session: &str) -> Vec<String> {
    let mut namespaces = BTreeSet::new();
    let mut found = Vec::new();
    for pid in pids() {
        let Ok(namespace) = std::fs::read_link(format!("/proc/{pid}/ns/mnt")) else {
            continue;
        };
        if !namespaces.insert(namespace.clone()) {
            continue;
        }
        let table = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        let lines = table.lines().filter(|line| line.contains(session));
        found.extend(lines.map(|line| format!("mount in {}: {line}", namespace.display())));
    }
    found
}

fn cgroups(session: &str) -> Vec<String> {
    let found = cgroup_directories(session).into_iter();
    found
        .map(|directory| format!("cgroup {}", directory.display()))
        .collect()
}

/// A cgroup without processes, and those below it.
fn remove_cgroup(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    // The kernel may still be counting those that have just ended.
    let deadline = Instant::now() + crate::PATIENCE;
    while let Err(error) = std::fs::remove_dir(directory) {
        let busy = rustix::io::Errno::BUSY.raw_os_error();
        assert!(
            error.raw_os_error() == Some(busy) && Instant::now() < deadline,
            "{}: {error}",
            directory.display()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn cgroup_directories(session: &str) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let roots = table.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let point = mount.split_whitespace().nth(4)?;
        kind.starts_with("cgroup").then(|| PathBuf::from(point))
    });
    let mut found = Vec::new();
    for root in roots {
        find_directories(&root, session, &mut found);
    }
    found
}

/// Directories whose name contains `needle`; what is below them is not listed again.
fn find_directories(directory: &Path, needle: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name().to_string_lossy().contains(needle) {
            found.push(entry.path());
        } else {
            find_directories(&entry.path(), needle, found);
        }
    }
}

fn loop_devices(session: &str) -> Vec<String> {
    let Ok(devices) = std::fs::read_dir("/sys/block") else {
        return Vec::new();
    };
    let backing = |path: PathBuf| std::fs::read_to_string(path.join("loop/backing_file")).ok();
    devices
        .flatten()
        .filter_map(|device| Some((device.file_name(), backing(device.path())?)))
        .filter(|(_, file)| file.contains(session))
        .map(|(device, file)| format!("loop device {}: {}", device.display(), file.trim_end()))
        .collect()
}

fn unix_sockets(session: &str) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let sockets = table.lines().filter(|line| line.contains(session));
    sockets
        .map(|line| format!("socket {}", line.split_whitespace().last().unwrap_or(line)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process that ends with the test.
    struct Helper(Child);

    impl Helper {
        /// Runs a shell script until it has printed a line; it goes on until it is dropped.
        fn start(script: &str, mark: &str) -> Self {
            let (name, value) = mark.split_once('=').unwrap();
            let mut child = Command::new("unshare")
                .args(["--mount", "--fork", "--pid", "--kill-child", "sh", "-ec"])
                .arg(format!("{script}; echo ready; exec sleep 1000"))
                .env(name, value)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            let stdout = child.stdout.as_mut().unwrap();
            BufReader::new(stdout).read_line(&mut line).unwrap();
            assert_eq!(line, "ready\n");
            Self(child)
        }
    }

    impl Drop for Helper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn footprint(mark: &str, session: &str, data_dir: &Path) -> Footprint {
        let mut footprint = Footprint::new(mark.to_owned(), None, data_dir.to_owned(), data_dir);
        footprint.session = Some(session.to_owned());
        footprint
    }

    #[track_caller]
    fn finds(footprint: &Footprint, kind: &str) {
        let remains = footprint.remains();
        assert!(
            remains.iter().any(|line| line.starts_with(kind)),
            "no {kind} in {remains:?}"
        );
    }

    #[test]
    fn processes_and_mounts_are_found_wherever_they_are() {
        let data = tempfile::tempdir().unwrap();
        let session = format!("leaktest{}", std::process::id());
        let mark = format!("BERTH_TEST_MARK={session}-mark");
        let target = data.path().join("sessions").join(&session);
        std::fs::create_dir_all(&target).unwrap();
        let mount = format!("mount -t tmpfs tmpfs '{}'", target.display());
        let helper = Helper::start(&mount, &mark);
        let mut footprint = footprint(&mark, &session, data.path());
        footprint.observe();
        finds(&footprint, "process ");
        finds(&footprint, "mount in ");
        finds(&footprint, "directory ");
        drop(helper);
        std::fs::remove_dir_all(&target).unwrap();
        footprint.assert_gone();
    }

    #[test]
    fn cgroups_and_sockets_are_found() {
        let data = tempfile::tempdir().unwrap();
        let session = format!("leakgroup{}", std::process::id());
        let footprint = footprint("BERTH_TEST_MARK=nobody", &session, data.path());
        footprint.assert_gone();
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let root = table
            .lines()
            .filter(|line| line.contains(" - cgroup"))
            .filter_map(|line| line.split_whitespace().nth(4))
            .next()
            .unwrap();
        let cgroup = Path::new(root).join(&session);
        std::fs::create_dir(&cgroup).unwrap();
        let found = footprint.remains();
        std::fs::remove_dir(&cgroup).unwrap();
        assert!(
            found.iter().any(|line| line.starts_with("cgroup ")),
            "{found:?}"
        );
        let path = data.path().join(format!("{session}.sock"));
        let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        finds(&footprint, "socket ");
        drop(socket);
        footprint.assert_gone();
    }
}
