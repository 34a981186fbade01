//! Standing a workerd still for a moment, so that its files can be copied as they are at one instant:
//! what a process that is stopped has written is what a killed one would leave, and that is always whole.
//!
//! Invariant: whoever asks cannot keep it still for longer than [`LIMIT`], nor by going away.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::{mpsc, oneshot};

use super::health::Health;

/// The longest pause.
const LIMIT: Duration = Duration::from_secs(30);
/// How long a process may take to stop after it was told: a system call under way ends first.
const STOPPING: Duration = Duration::from_secs(2);

/// Somebody wants a pause.
pub(super) type PauseRequest = oneshot::Sender<Paused>;

/// A pause, until it is dropped.
#[derive(Debug)]
pub(super) struct Paused {
    _end: oneshot::Sender<()>,
}

/// Asks an app's task for a pause.
pub(super) async fn ask(pauses: &mpsc::Sender<PauseRequest>) -> Option<Paused> {
    let (reply, granted) = oneshot::channel();
    pauses.send(reply).await.ok()?;
    granted.await.ok()
}

/// Grants one: returns when it is over.
pub(super) async fn grant(asked: PauseRequest, health: &Health) {
    let still = match health.state().pid {
        Some(pid) => Still::stand(pid).await,
        None => None,
    };
    let (end, ended) = oneshot::channel();
    if asked.send(Paused { _end: end }).is_ok() && tokio::time::timeout(LIMIT, ended).await.is_err()
    {
        tracing::warn!("a copy takes too long: its Worker goes on");
    }
    drop(still);
}

/// A process that stands still until this is dropped.
#[derive(Debug)]
pub(super) struct Still(Pid);

impl Still {
    /// Stops a process. `None`: there is none of this id any more.
    pub(super) async fn stand(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        kill_process(pid, Signal::STOP).ok()?;
        let still = Self(pid);
        let begun = Instant::now();
        // The kernel tells only its parent, which is the supervisor and waits for its end.
        while !is_stopped(pid) && begun.elapsed() < STOPPING {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Some(still)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// Whether every thread of a process stands still.
fn is_stopped(pid: Pid) -> bool {
    let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
    let Ok(tasks) = std::fs::read_dir(tasks) else {
        return true;
    };
    tasks.flatten().all(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // `<pid> (<name>) <state> …`; the name may hold anything.
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        matches!(state, None | Some('T' | 't' | 'Z' | 'X'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_stands_still_until_it_may_go_on() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let still = Still::stand(child.id()).await.unwrap();
        assert!(is_stopped(pid));
        drop(still);
        let begun = Instant::now();
        while is_stopped(pid) && begun.elapsed() < STOPPING {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!is_stopped(pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Still::stand(0).await.is_none());
    }
}
