//! The workerd process: start, readiness, output, crashes, replacement.

use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_error::Hint;
use tokio::sync::mpsc;

use crate::Listen;

/// How workerd is run.
#[derive(Clone, Debug)]
pub struct WorkerdOptions {
    /// The executable.
    pub executable: PathBuf,
    /// The configuration file that holds what [`crate::compose`] returned.
    pub config: PathBuf,
    /// Where the configuration listens.
    pub listen: Listen,
    /// Working directory.
    pub directory: PathBuf,
}

/// What happens to workerd.
#[derive(Clone, Debug)]
pub enum WorkerdEvent {
    /// A process has been started; it is not ready yet. Put `pid` where it must be.
    Started {
        /// Its process id.
        pid: u32,
    },
    /// It listens.
    Ready {
        /// Where. For [`Listen::Loopback`] `127.0.0.1:port`.
        upstream: Upstream,
    },
    /// The Worker or workerd itself printed something.
    Log {
        /// How urgent.
        level: LogLevel,
        /// The text without a trailing newline; may have several lines (stack traces).
        text: String,
    },
    /// The process ended by itself.
    Crashed {
        /// Exit status in words.
        status: String,
        /// It is started again after this time.
        restart_in: Duration,
    },
}

/// Where workerd listens, as the gateway connects to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// TCP.
    Tcp(std::net::SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Levels of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// `console.debug`.
    Debug,
    /// `console.log`.
    Log,
    /// `console.info`.
    Info,
    /// `console.warn` and workerd's warnings.
    Warn,
    /// `console.error`, uncaught exceptions, workerd's errors.
    Error,
}

/// Why workerd does not run.
#[derive(Debug, thiserror::Error)]
pub enum WorkerdError {
    /// It ended before it was ready.
    #[error("workerd stopped while starting ({status})\n{output}")]
    Startup {
        /// Exit status in words.
        status: String,
        /// What it printed.
        output: String,
    },
}

impl Hint for WorkerdError {}

/// A supervised workerd. Dropping the handle kills the process.
#[derive(Debug)]
pub struct Workerd {}

#[allow(unused_variables, clippy::todo, clippy::unused_async)]
impl Workerd {
    /// Starts workerd and waits until it listens. Later crashes restart it with a growing delay
    /// and are reported through `events`.
    pub async fn start(
        options: WorkerdOptions,
        events: mpsc::UnboundedSender<WorkerdEvent>,
    ) -> Result<Self, WorkerdError> {
        todo!()
    }

    /// Where it listens now; `None` while it restarts.
    pub fn upstream(&self) -> tokio::sync::watch::Receiver<Option<Upstream>> {
        todo!()
    }

    /// Process id, while one runs.
    pub fn pid(&self) -> Option<u32> {
        todo!()
    }

    /// Replaces the process by one with the configuration as it is now: SIGKILL, which leaves the
    /// containers running, then start; the new process adopts them. Hold the gateway around it.
    /// On an error no process runs until the next call.
    pub async fn replace(&self, config: &Path, listen: Listen) -> Result<(), WorkerdError> {
        todo!()
    }

    /// Ends it with SIGTERM, upon which workerd destroys its containers; SIGKILL after `grace`.
    pub async fn stop(&self, grace: Duration) {
        todo!()
    }

    /// Ends it with SIGKILL; containers keep running.
    pub async fn kill(&self) {
        todo!()
    }
}
