//! A daemon that is killed leaves nothing once the next one has swept. The test binary is the
//! daemon (and its zygote) when it is started as one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    dead_code,
    reason = "every function here is part of a test"
)]

#[path = "support/world.rs"]
mod world;

use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use berth_engine::{Session, sessions, sweep};

/// First argument: be a daemon. Then: the directory of sessions, the program.
const DAEMON: &str = "daemon";

fn main() -> ExitCode {
    world::zygote_or_tests(|| {
        let arguments: Vec<String> = std::env::args().collect();
        if let [_, what, root, program] = arguments.as_slice()
            && what == DAEMON
        {
            daemon(Path::new(root), Path::new(program));
        }
        let arguments = libtest_mimic::Arguments::from_args();
        let trial = libtest_mimic::Trial::test("a_killed_daemon_is_swept", || {
            a_killed_daemon_is_swept();
            Ok(())
        });
        libtest_mimic::run(&arguments, vec![trial]).exit_code()
    })
}

/// Runs two containers, says their process ids, and waits to be killed.
fn daemon(root: &Path, program: &Path) -> ! {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let session = Session::create(root, Path::new("/srv/project")).unwrap();
        let (engine, _zygote) = world::open(&session.dir, &session.cgroup, program).await;
        for name in ["one", "two"] {
            engine
                .create(world::spec(name, &["sleep"]).await)
                .await
                .unwrap();
            engine.start(name).await.unwrap();
            println!("{}", engine.inspect(name).unwrap().pid.unwrap());
        }
        println!("ready");
        std::future::pending::<()>().await;
    });
    unreachable!("the daemon waits for ever")
}

/// A container's first process. Whoever inherits it may reap it late, so its directory in /proc
/// says nothing about its life.
struct Process(OwnedFd);

impl Process {
    fn open(pid: &str) -> Self {
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        Self(pidfd_open(pid, PidfdFlags::empty()).unwrap())
    }

    fn lives(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).unwrap() == 0
    }
}

/// A daemon that does not outlive the test, whatever happens to that.
struct Daemon(Child);

impl Daemon {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(root: &Path, program: &Path) -> (Daemon, Vec<Process>) {
    let mut child = Command::new("/proc/self/exe")
        .arg(DAEMON)
        .args([root, program])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let daemon = Daemon(child);
    let processes: Vec<Process> = lines
        .map(|line| line.unwrap())
        .take_while(|line| line != "ready")
        .map(|pid| Process::open(&pid))
        .collect();
    assert_eq!(processes.len(), 2, "the daemon did not come up");
    (daemon, processes)
}

fn a_killed_daemon_is_swept() {
    let temp = tempfile::tempdir().unwrap();
    let program = temp.path().join("app");
    world::compile(&program);
    let root = temp.path().join("sessions");
    let (mut dead, processes) = start(&root, &program);
    let (mut alive, others) = start(&root, &program);
    let records = sessions(&root).unwrap();
    assert_eq!(records.len(), 2);
    let record = records.iter().find(|r| r.pid == dead.0.id()).unwrap();
    assert!(processes.iter().all(Process::lives));
    assert!(!world::cgroups(&record.cgroup).is_empty());
    assert!(sweep(&root).unwrap().is_empty());

    dead.kill();
    assert_eq!(sweep(&root).unwrap(), std::slice::from_ref(&record.id));
    assert!(processes.iter().all(|process| !process.lives()));
    assert_eq!(world::cgroups(&record.cgroup), Vec::<PathBuf>::new());
    assert!(!root.join(&record.id).exists());
    assert!(others.iter().all(Process::lives));
    assert_eq!(sessions(&root).unwrap().len(), 1);

    alive.kill();
    assert_eq!(sweep(&root).unwrap().len(), 1);
    assert!(others.iter().all(|process| !process.lives()));
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
}
