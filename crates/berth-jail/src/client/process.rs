//! Sandboxes and processes in them, as the daemon holds them.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::connection::{Connection, Running, Started};
use crate::cgroup::SandboxGroup;
use crate::error::JailError;
use crate::protocol::{Request, Ticket};
use crate::spec::{Criu, ExitStatus, ProcessSpec, SpawnTimings, Usage};
use crate::sys;
use crate::waits::Waits;

/// File descriptors handed to a new sandbox.
#[derive(Debug)]
pub struct SandboxFds {
    /// The network namespace.
    pub netns: OwnedFd,
    /// Standard input; `None`: /dev/null.
    pub stdin: Option<OwnedFd>,
    /// Standard output. A pipe becomes the property of the container's user, so that
    /// `/dev/stdout` can be opened.
    pub stdout: OwnedFd,
    /// Standard error; as `stdout`.
    pub stderr: OwnedFd,
    /// A detached, never attached mount that has the writable layer; see [`crate::Disk::mount`].
    pub disk: Option<OwnedFd>,
}

/// Descriptors of an exec'ed process.
#[derive(Debug)]
pub enum ExecFds {
    /// Three pipes or files; `None`: /dev/null.
    Pipes {
        /// Standard input.
        stdin: Option<OwnedFd>,
        /// Standard output.
        stdout: Option<OwnedFd>,
        /// Standard error.
        stderr: Option<OwnedFd>,
    },
    /// A new pseudo-terminal inside the sandbox; the master comes back with the process. Its size
    /// is [`ProcessSpec::terminal`], or 24 × 80.
    Terminal,
}

/// A running (or ended) sandbox. Cheap to clone; dropping it does not end the sandbox.
#[derive(Clone, Debug)]
pub struct Sandbox {
    inner: Arc<SandboxInner>,
}

#[derive(Debug)]
struct SandboxInner {
    id: String,
    ticket: Ticket,
    running: Arc<Running>,
    group: SandboxGroup,
    connection: Arc<Connection>,
    /// A checkpoint of it was ever tried.
    rested: AtomicBool,
    waits: Mutex<Waits>,
}

impl SandboxInner {
    fn waits(&self) -> MutexGuard<'_, Waits> {
        // Noting replaces entries one by one, each true by itself.
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sandbox {
    pub(super) fn new(
        id: String,
        ticket: Ticket,
        started: Started,
        connection: Arc<Connection>,
    ) -> Self {
        let group = connection.session().sandbox(&started.cgroup);
        let inner = SandboxInner {
            id,
            ticket,
            running: started.running,
            group,
            connection,
            rested: AtomicBool::new(false),
            waits: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// As in the specification.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// Host pid of the first process; another one after [`Sandbox::restore`].
    pub fn pid(&self) -> u32 {
        self.inner.running.pid()
    }

    /// Where the time of its start went.
    pub fn timings(&self) -> SpawnTimings {
        self.inner.running.timings
    }

    /// The exit status, at once if it has ended. Every process of the sandbox has ended then, and
    /// its control groups are gone.
    pub async fn wait(&self) -> ExitStatus {
        self.inner.running.wait().await
    }

    /// The exit status if it has ended.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.inner.running.exit.borrow()
    }

    /// Whether it was killed because the zygote had ended; its status is 137 then.
    pub fn is_lost(&self) -> bool {
        self.inner.running.lost.load(Ordering::Relaxed)
    }

    /// Leaves descriptors for the next daemon that takes this sandbox over, in place of what has that name;
    /// at most seven. Only for a zygote that outlives its daemon.
    ///
    /// # Errors
    /// [`JailError`] when the zygote cannot be told.
    pub async fn deposit(
        &self,
        name: impl Into<String>,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), JailError> {
        let (name, sandbox) = (name.into(), Some(self.inner.ticket));
        let request = Request::Deposit { name, sandbox };
        self.inner.connection.say(&request, fds).await
    }

    /// Whether its processes are stopped by the freezer, or are about to be.
    pub fn is_frozen(&self) -> bool {
        self.exit_status().is_none() && self.inner.group.is_frozen()
    }

    /// Lets the zygote forget how it ended, and what was left with it: that is recorded. Until then the
    /// zygote tells every successor of this daemon. Harmless to repeat.
    pub async fn acknowledge(&self) {
        let sandbox = self.inner.ticket;
        // A zygote that has ended has forgotten.
        let _ = self
            .inner
            .connection
            .say(&Request::Acknowledge { sandbox }, &[])
            .await;
    }

    /// Signals the first process (through its pidfd). `Ok(false)`: it has ended, or is on disk.
    pub fn kill(&self, signal: i32) -> Result<bool, JailError> {
        self.inner.running.kill(signal)
    }

    /// Kills every process of the sandbox, frozen or not, and waits for the last one.
    pub async fn kill_all(&self) -> Result<(), JailError> {
        if self.exit_status().is_none() {
            // With the first process of a pid namespace the kernel kills all others.
            self.kill(libc::SIGKILL)?;
            self.inner.group.thaw();
            if self.inner.rested.load(Ordering::Relaxed) {
                let sandbox = self.inner.ticket;
                let discard = Request::Discard { sandbox };
                match self.inner.connection.say(&discard, &[]).await {
                    // Everything ends with it.
                    Ok(()) | Err(JailError::ZygoteGone) => {}
                    Err(error) => return Err(error),
                }
            }
            self.wait().await;
        }
        Ok(())
    }

    /// TCP ports on which something in the sandbox has called `listen` so far; changes wake the
    /// receiver.
    pub fn listening(&self) -> watch::Receiver<BTreeSet<u16>> {
        self.inner.running.listening.subscribe()
    }

    /// Starts a process in the sandbox; returns when it has been exec'ed, with the terminal's
    /// master if [`ExecFds::Terminal`] asked for one.
    pub async fn exec(
        &self,
        mut process: ProcessSpec,
        fds: ExecFds,
    ) -> Result<(ExecProcess, Option<OwnedFd>), JailError> {
        let (stdin, stdout, stderr) = match fds {
            ExecFds::Pipes {
                stdin,
                stdout,
                stderr,
            } => {
                process.terminal = None;
                (stdin, stdout, stderr)
            }
            ExecFds::Terminal => {
                process.terminal.get_or_insert((24, 80).into());
                (None, None, None)
            }
        };
        if self.exit_status().is_some() {
            return Err(JailError::Gone);
        }
        let connection = &self.inner.connection;
        let ticket = connection.ticket();
        let request = Request::Exec {
            ticket,
            sandbox: self.inner.ticket,
            process,
            streams: [stdin.is_some(), stdout.is_some(), stderr.is_some()],
        };
        let present: Vec<_> = [&stdin, &stdout, &stderr]
            .into_iter()
            .flatten()
            .map(|fd| fd.as_fd())
            .collect();
        let started = connection.start(ticket, &request, &present).await?;
        let process = ExecProcess {
            running: started.running,
            _connection: Arc::clone(connection),
        };
        Ok((process, started.terminal))
    }

    /// Stops (`true`) or continues (`false`) every process with the cgroup freezer.
    pub async fn freeze(&self, frozen: bool) -> Result<(), JailError> {
        if self.exit_status().is_some() {
            return Err(JailError::Gone);
        }
        let inner = Arc::clone(&self.inner);
        let step = if frozen { "pause" } else { "continue" };
        let freeze = move || {
            let done = inner.group.freeze(frozen);
            if frozen && done.is_ok() {
                inner.waits().note(inner.group.processes());
            }
            done
        };
        tokio::task::spawn_blocking(freeze)
            .await
            .map_err(|error| JailError::setup(step, std::io::Error::other(error)))?
            .map_err(|error| JailError::setup(format!("{step} the container"), error))
    }

    /// Writes its processes to disk with CRIU and ends them, with no system call failing for that; [`Sandbox::wait`] waits on, and what else
    /// there is of the sandbox stays. Continues a frozen sandbox for a moment; if it fails the
    /// sandbox lives on, continued. It must have been started for that
    /// ([`crate::SandboxExtras::checkpointable`]), and no process executed in it may live.
    ///
    /// # Errors
    /// [`JailError::Criu`] with what is known besides CRIU's own log; [`JailError::Gone`] when it has
    /// ended.
    pub async fn checkpoint(&self, criu: Criu) -> Result<(), JailError> {
        let sandbox = self.inner.ticket;
        let images = criu.images.clone();
        self.rest(|ticket| Request::Checkpoint {
            ticket,
            sandbox,
            criu,
        })
        .await?;
        let inner = Arc::clone(&self.inner);
        let resume = move || inner.waits().resume(&images);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(resume).await {
            tracing::warn!(%error, "a restored process will see interrupted system calls");
        }
        Ok(())
    }

    /// Makes its processes again from what [`Sandbox::checkpoint`] wrote, which must be as it was. If
    /// that fails the sandbox has ended, as if killed.
    ///
    /// # Errors
    /// As [`Sandbox::checkpoint`]; [`JailError::Gone`] also when it is not on disk.
    pub async fn restore(&self, criu: Criu) -> Result<(), JailError> {
        let sandbox = self.inner.ticket;
        self.rest(|ticket| Request::Restore {
            ticket,
            sandbox,
            criu,
        })
        .await
    }

    async fn rest(&self, request: impl FnOnce(Ticket) -> Request) -> Result<(), JailError> {
        if self.exit_status().is_some() {
            return Err(JailError::Gone);
        }
        self.inner.rested.store(true, Ordering::Relaxed);
        let ticket = self.inner.connection.ticket();
        self.inner.connection.rest(ticket, &request(ticket)).await
    }

    /// Changes the CPU limit, in thousandths of a CPU; only for a sandbox that was given one.
    ///
    /// # Errors
    /// [`JailError::Gone`] when it has ended, or the kernel's refusal.
    pub fn limit_cpu(&self, milli: u32) -> Result<(), JailError> {
        if self.exit_status().is_some() || !self.inner.group.exists() {
            return Err(JailError::Gone);
        }
        let limited = self.inner.group.limit_cpu(milli);
        limited.map_err(|error| JailError::setup("limit the container's CPU", error))
    }

    /// Nanoseconds of CPU time that it had used when it ended.
    pub fn cpu_ns_at_end(&self) -> Option<u64> {
        self.exit_status()?;
        Some(self.inner.running.cpu_ns.load(Ordering::Relaxed))
    }

    /// Memory in bytes and CPU time in nanoseconds used so far, and processes alive.
    pub fn usage(&self) -> Result<Usage, JailError> {
        if self.exit_status().is_some() || !self.inner.group.exists() {
            return Err(JailError::Gone);
        }
        Ok(self.inner.group.usage())
    }
}

/// A process started in a sandbox with [`Sandbox::exec`]. Cheap to clone; dropping it does not end
/// the process.
#[derive(Clone, Debug)]
pub struct ExecProcess {
    running: Arc<Running>,
    /// Keeps the zygote while the process is of interest.
    _connection: Arc<Connection>,
}

impl ExecProcess {
    /// Host pid.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// The exit status, at once if it has ended.
    pub async fn wait(&self) -> ExitStatus {
        self.running.wait().await
    }

    /// The exit status if it has ended.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.running.exit.borrow()
    }

    /// Signals the process. `Ok(false)`: it has ended.
    pub fn kill(&self, signal: i32) -> Result<bool, JailError> {
        self.running.kill(signal)
    }
}

impl Running {
    async fn wait(&self) -> ExitStatus {
        let mut exit = self.exit.subscribe();
        let status = exit.wait_for(Option::is_some).await.map(|status| *status);
        match status {
            Ok(Some(status)) => status,
            // The sender lives in `self`, so this cannot be reached.
            _ => ExitStatus {
                code: 137,
                signal: Some(libc::SIGKILL),
                oom_killed: false,
            },
        }
    }

    fn kill(&self, signal: i32) -> Result<bool, JailError> {
        let Some(pidfd) = self.pidfd() else {
            return Ok(false);
        };
        sys::signal::send(&*pidfd, signal)
            .map_err(|error| JailError::setup(format!("send signal {signal}"), error))
    }
}
