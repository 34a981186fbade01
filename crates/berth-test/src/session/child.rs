//! A child process of a test, and what must happen to it however the test ends.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use super::{Failed, Killed};
use crate::{Events, Footprint, World};

/// How long an ordered end may take: containers get SIGTERM and some seconds.
pub(crate) const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// The child process and what must happen to it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) pid: i32,
    pub(crate) events: Events,
    stderr: Arc<Mutex<String>>,
    pub(crate) footprint: Option<Footprint>,
}

impl Process {
    /// Spawns a command of which nothing may be left in the end.
    pub(crate) fn spawn(world: &World, command: std::process::Command, project: &Path) -> Self {
        Self::spawn_in(&world.data_dir(), command, project)
    }

    /// The same with a data directory that is not the tests' own.
    pub(crate) fn spawn_in(
        data: &Path,
        mut command: std::process::Command,
        project: &Path,
    ) -> Self {
        // One for each process, and not what a parallel one has.
        let mark = crate::process::mark();
        let (name, value) = mark.split_once('=').unwrap_or_default();
        command
            .env(name, value)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = tokio::process::Command::from(command)
            .spawn()
            .expect("spawn the process");
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let stderr = Arc::default();
        collect(
            child.stderr.take().expect("it is piped"),
            Arc::clone(&stderr),
        );
        Self {
            pid: pid.expect("it has just been spawned"),
            events: Events::read(child.stdout.take().expect("it is piped")),
            child,
            stderr,
            footprint: Some(Footprint::new(mark, pid, data.to_owned(), project)),
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid).expect("a process id is not zero");
        kill_process(pid, signal).expect("signal the session");
    }

    /// Ctrl-C, then waits for the end and checks that nothing is left.
    pub(crate) async fn stop(mut self) {
        self.observe();
        self.signal(Signal::INT);
        let status = self.wait(STOP_PATIENCE).await;
        assert!(
            status.success(),
            "the session ended with {status}\n{}",
            self.transcript()
        );
        self.assert_gone();
    }

    pub(crate) fn observe(&mut self) {
        if let Some(footprint) = &mut self.footprint {
            footprint.observe();
        }
    }

    pub(crate) async fn wait(&mut self, patience: Duration) -> ExitStatus {
        match tokio::time::timeout(patience, self.child.wait()).await {
            Ok(status) => status.expect("wait for the session"),
            Err(_) => panic!(
                "the session runs on for {patience:?}\n{}",
                self.transcript()
            ),
        }
    }

    #[track_caller]
    pub(crate) fn assert_gone(&mut self) {
        if let Some(footprint) = self.footprint.take() {
            let remains = footprint.remains();
            footprint.kill_processes();
            assert!(
                remains.is_empty(),
                "the session left behind:\n  {}\n{}",
                remains.join("\n  "),
                self.transcript()
            );
        }
    }

    /// Asks it to end, and waits for that.
    pub(crate) async fn terminate(mut self) -> Killed {
        self.observe();
        self.signal(Signal::TERM);
        self.crashed().await
    }

    /// Kills it without warning.
    pub(crate) async fn kill(mut self) -> Killed {
        self.observe();
        self.signal(Signal::KILL);
        self.crashed().await
    }

    /// Waits for the end of a process that is killed.
    pub(crate) async fn crashed(self) -> Killed {
        self.crashed_within(STOP_PATIENCE).await
    }

    /// The same of one that may take as long as this.
    pub(crate) async fn crashed_within(mut self, patience: Duration) -> Killed {
        let status = self.wait(patience).await;
        Killed {
            footprint: self.footprint.take().expect("it was not taken before"),
            status,
        }
    }

    /// Kills a child without warning; returns when it has ended.
    pub(crate) async fn kill_child(&self, name: &str) {
        let child = crate::process::child(self.pid, name);
        child.kill();
        let ended = tokio::task::spawn_blocking(move || child.ended_within(STOP_PATIENCE)).await;
        assert!(ended.expect("waiting does not panic"), "`{name}` runs on");
    }

    pub(crate) async fn into_failed(mut self) -> Failed {
        let status = self.wait(STOP_PATIENCE).await;
        self.assert_gone();
        let mut message = String::new();
        for event in self.events.all() {
            if matches!(event.kind(), "error" | "warning") {
                let _ = writeln!(message, "{}", event.text("message"));
            }
        }
        message.push_str(&self.stderr.lock().expect("no holder panics"));
        Failed {
            status,
            message,
            events: self.events.clone(),
        }
    }

    pub(crate) fn transcript(&self) -> String {
        let stderr = self.stderr.lock().expect("no holder panics");
        format!(
            "{}\n--- standard error:\n{stderr}---",
            self.events.transcript()
        )
    }
}

impl Drop for Process {
    /// A test that failed, or forgot to stop: ends the session in order, then by force.
    fn drop(&mut self) {
        let Some(mut footprint) = self.footprint.take() else {
            return;
        };
        footprint.observe();
        if let Some(pid) = Pid::from_raw(self.pid)
            && matches!(self.child.try_wait(), Ok(None))
        {
            let _ = kill_process(pid, Signal::INT);
            // Blocking is right here: nothing else of this test will run any more.
            footprint.await_root(STOP_PATIENCE);
        }
        let _ = self.child.start_kill();
        let remains = footprint.remains();
        footprint.kill_processes();
        if !remains.is_empty() {
            let report = format!("the session left behind:\n  {}", remains.join("\n  "));
            assert!(std::thread::panicking(), "{report}\n{}", self.transcript());
            eprintln!("{report}");
        }
    }
}

fn collect(stderr: tokio::process::ChildStderr, into: Arc<Mutex<String>>) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(stderr).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            let mut text = into.lock().expect("no holder panics");
            text.push_str(&String::from_utf8_lossy(&line));
            text.push('\n');
        }
    });
}
