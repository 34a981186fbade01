//! The long work of an actor, as tasks that end with a fact.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_jail::crash_point;
use berth_jail::{Disk, ExitStatus, JailError, Limits};
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::Shared;
use crate::EngineError;
use crate::checkpoint::NotWritten;
use crate::launch::{Guest, Launcher};
use crate::log::{Capture, Sink};
use crate::visit::Gate;

/// What a task of the actor reports.
pub(super) enum Fact<G> {
    Launched(Result<Launched<G>, EngineError>),
    FirstListen(Duration),
    /// The first process has ended and its output is in the log.
    Exited(ExitStatus),
    /// The freezing of this launch has been tried.
    Froze(u32, Result<(), JailError>),
    Thawed(u32, Result<(), JailError>),
    /// This launch is on disk, after so long; or why it cannot be.
    Checkpointed(u32, Result<Duration, String>),
    /// It lives again; or why it does not, and then it has ended.
    Restored(u32, Result<Duration, String>),
    /// The killing is done; the exit is reported by itself.
    Killed,
    Cleaned,
}

/// A launch that succeeded.
pub(super) struct Launched<G> {
    pub(super) guest: G,
    pub(super) capture: Capture,
    pub(super) open: Duration,
    pub(super) spawn: Duration,
}

/// Makes the pipes and the process.
#[tracing::instrument(level = "debug", name = "start", skip_all, fields(container = %sink.name))]
pub(super) async fn launch<L: Launcher>(
    launcher: Arc<L>,
    ordinal: u32,
    sink: Sink,
    gate: Gate,
) -> Fact<L::Guest> {
    // Nobody works in the root while it becomes a living one's.
    let _closed = gate.close().await;
    Fact::Launched(try_launch(launcher.as_ref(), ordinal, sink).await)
}

async fn try_launch<L: Launcher>(
    launcher: &L,
    ordinal: u32,
    sink: Sink,
) -> Result<Launched<L::Guest>, EngineError> {
    let begin = Instant::now();
    let started = Capture::start(sink.clone());
    let (capture, output, reading) = started.map_err(|source| EngineError::Kernel {
        step: "make output pipes",
        name: sink.name.as_ref().to_owned(),
        source,
    })?;
    let open = begin.elapsed();
    crash_point("start.pipes");
    match launcher.launch(ordinal, output).await {
        Ok(guest) => {
            crash_point("start.launched");
            let spawn = begin.elapsed().saturating_sub(open);
            launcher.leave(&guest, reading).await;
            crash_point("start.left");
            tracing::debug!(?open, ?spawn, pid = guest.pid(), "first process runs");
            Ok(Launched {
                guest,
                capture,
                open,
                spawn,
            })
        }
        Err(error) => {
            capture.finish().await;
            sink.note(&berth_error::chain(&error)).await;
            Err(error)
        }
    }
}

/// What a shell would have said: 127 for a program (or its interpreter) that is not there, else 126.
pub(super) fn exit_of_failed_start(error: &EngineError) -> ExitStatus {
    let missing = matches!(
        error,
        EngineError::Start {
            source: JailError::NotFound(_) | JailError::MissingInterpreter(_),
            ..
        }
    );
    ExitStatus {
        code: if missing { 127 } else { 126 },
        signal: None,
        oom_killed: false,
    }
}

/// Waits for the end of the first process, then for its output to be in the log.
pub(super) async fn watch_exit<G: Guest>(
    guest: G,
    capture: Capture,
    sink: Sink,
    limits: Limits,
) -> Fact<G> {
    let status = guest.wait().await;
    crash_point("exit.seen");
    capture.finish().await;
    if guest.is_lost() {
        sink.note("killed: the helper process that ran it had ended")
            .await;
    }
    if status.oom_killed {
        sink.note(&out_of_memory(limits)).await;
    }
    tracing::debug!(container = %sink.name, ?status, "first process ended");
    Fact::Exited(status)
}

fn out_of_memory(limits: Limits) -> String {
    match limits.memory_bytes {
        Some(bytes) => format!(
            "killed: out of memory (limit {} MiB)",
            bytes.div_ceil(1 << 20)
        ),
        None => "killed: out of memory".to_owned(),
    }
}

/// Waits for the first `listen`; pending for ever if there is none (the actor aborts it).
pub(super) async fn first_listen<G>(
    mut listening: watch::Receiver<BTreeSet<u16>>,
    since: Instant,
) -> Fact<G> {
    let found = listening.wait_for(|ports| !ports.is_empty()).await.is_ok();
    if !found {
        std::future::pending::<()>().await;
    }
    Fact::FirstListen(since.elapsed())
}

/// Writes the container to disk.
pub(super) async fn checkpoint<G: Guest>(
    criu: Option<PathBuf>,
    guest: G,
    dir: PathBuf,
    sink: Sink,
    launch: u32,
) -> Fact<G> {
    let begin = Instant::now();
    let written = crate::checkpoint::write(criu, &guest, &dir).await;
    tracing::debug!(container = %sink.name, took = ?begin.elapsed(), ?written, "checkpoint");
    let written = match written {
        Ok(()) => Ok(begin.elapsed()),
        Err(NotWritten::Ended) => Err("it has ended".to_owned()),
        Err(NotWritten::Because(reason)) => {
            sink.note(&format!("stays frozen in memory: {reason}"))
                .await;
            Err(reason)
        }
    };
    Fact::Checkpointed(launch, written)
}

/// Makes it again from there.
pub(super) async fn restore<G: Guest>(
    criu: Option<PathBuf>,
    guest: G,
    dir: PathBuf,
    sink: Sink,
    launch: u32,
) -> Fact<G> {
    let begin = Instant::now();
    let restored = crate::checkpoint::restore(criu, &guest, &dir).await;
    tracing::debug!(container = %sink.name, took = ?begin.elapsed(), ?restored, "restoration");
    if let Err(reason) = &restored {
        // In the log before the exit is told.
        sink.note(reason).await;
    }
    Fact::Restored(launch, restored.map(|()| begin.elapsed()))
}

/// Freezes or thaws everything.
pub(super) async fn freeze<G: Guest>(guest: G, frozen: bool, launch: u32) -> Fact<G> {
    let result = guest.freeze(frozen).await;
    if frozen {
        Fact::Froze(launch, result)
    } else {
        Fact::Thawed(launch, result)
    }
}

/// Kills everything; if the jail cannot, at least the first process.
pub(super) async fn kill_all<G: Guest>(guest: G, shared: Arc<Shared>) -> Fact<G> {
    if let Err(error) = guest.kill_all().await {
        tracing::error!(container = %shared.name, %error, "cannot kill a container as a whole");
        if let Err(error) = guest.kill(Signal::KILL.as_raw()) {
            tracing::error!(container = %shared.name, %error, "cannot kill a container");
        }
    }
    Fact::Killed
}

/// A container's directory, and where it goes.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    /// Upper, work and log.
    pub(crate) dir: PathBuf,
    /// A directory on the same file system for what is to be deleted.
    pub(crate) trash: PathBuf,
    /// Who waits for deletions at shutdown.
    pub(crate) deletions: TaskTracker,
    /// The writable layer if it has a limit. Nobody else keeps it alive.
    pub(crate) disk: Option<Arc<Disk>>,
}

/// Moves the container's directory out of the way at once, and deletes it in the background: a
/// container may have written gigabytes, and its successor waits for the name.
pub(super) async fn clean<G>(home: Home, gate: Gate) -> Fact<G> {
    let _closed = gate.close().await;
    let Some(name) = home.dir.file_name() else {
        return Fact::Cleaned;
    };
    let target = home.trash.join(name);
    let doomed = match fs_err::tokio::rename(&home.dir, &target).await {
        Ok(()) => {
            crash_point("remove.moved");
            target
        }
        Err(error) => {
            tracing::warn!(%error, "cannot move a container's directory away");
            home.dir.clone()
        }
    };
    home.deletions.spawn_blocking(move || {
        if let Err(error) = fs_err::remove_dir_all(&doomed) {
            tracing::warn!(%error, "cannot delete a container's directory");
        }
        // Here and not on a runtime's thread: unmounting may take a while.
        drop(home.disk);
    });
    Fact::Cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_memory_names_the_limit() {
        let limits = Limits {
            memory_bytes: Some(256 << 20),
            ..Limits::default()
        };
        assert_eq!(
            out_of_memory(limits),
            "killed: out of memory (limit 256 MiB)"
        );
        assert_eq!(out_of_memory(Limits::default()), "killed: out of memory");
    }

    #[test]
    fn a_failed_start_has_the_code_that_a_shell_would_give() {
        let missing = EngineError::Start {
            name: "c".to_owned(),
            source: JailError::NotFound("/nope".to_owned()),
        };
        assert_eq!(exit_of_failed_start(&missing).code, 127);
        assert_eq!(
            berth_error::chain(&missing),
            "cannot start container `c`: executable `/nope` not found in the image"
        );
        let other = EngineError::NoIdRange;
        assert_eq!(exit_of_failed_start(&other).code, 126);
    }
}
