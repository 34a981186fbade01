//! The workerd process: start, readiness, output, crashes, replacement.
//!
//! One task owns the process; the handle sends it commands. Invariants: at most one process runs
//! at a time (two would fight over the SQLite files), and none outlives the handle or, by the
//! kernel's care, this process. SIGKILL leaves containers running and the next process with the
//! same session adopts them, SIGTERM destroys them: that is the difference between
//! [`Workerd::replace`] and [`Workerd::stop`].

mod config_file;
mod log;
mod process;
mod source_map;
mod spawner;
mod traces;

use std::path::PathBuf;
use std::time::Duration;

use berth_error::Hint;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::Listen;
pub use config_file::ConfigFile;
pub use process::remove_sockets;
use process::{Next, Process, send_line};
use spawner::Spawner;
pub use traces::{TraceSwitch, Traces};

/// How workerd is run.
#[derive(Clone, Debug)]
pub struct WorkerdOptions {
    /// The executable.
    pub executable: PathBuf,
    /// What [`crate::compose`] returned.
    pub config: ConfigFile,
    /// Where the configuration listens.
    pub listen: Listen,
    /// Working directory; stack traces show source files relative to it.
    pub directory: PathBuf,
    /// [`crate::Bundle::source_map`], read at every start.
    pub source_map: Option<PathBuf>,
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
    /// It could not be executed.
    #[error("could not start workerd at `{0}`")]
    Spawn(PathBuf, #[source] std::io::Error),
    /// It ended before it was ready, mostly because the Worker throws while it is loaded.
    #[error("workerd stopped while starting ({status})\n{output}")]
    Startup {
        /// Exit status in words.
        status: String,
        /// What it printed.
        output: String,
    },
    /// Somebody else killed it before it was ready, or the kernel for want of memory: that says nothing about
    /// the Worker.
    #[error("workerd was killed while starting")]
    Killed,
    /// The supervisor is gone.
    #[error("workerd has been stopped")]
    Stopped,
}

impl Hint for WorkerdError {}

/// A supervised workerd. Dropping the handle kills the process.
#[derive(Debug)]
pub struct Workerd {
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<State>,
    upstream: watch::Receiver<Option<Upstream>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    pid: Option<u32>,
    triggers: Option<Upstream>,
    traces: Option<Upstream>,
}

#[derive(Debug)]
enum Command {
    Replace(ConfigFile, Listen, IfNot, Reply),
    Stop(Duration, oneshot::Sender<()>),
    Kill(oneshot::Sender<()>),
}

type Reply = oneshot::Sender<Result<(), WorkerdError>>;

/// What comes after a start that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IfNot {
    /// Nothing: whoever asked for it decides.
    Idle,
    /// It is tried again as after a crash.
    TryAgain,
}

/// How often it is started that somebody kills while it starts.
const STARTS: usize = 3;
/// First delay before a crashed process is started again; it doubles up to the last.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(5);
/// A process that ran this long has not failed because of its start.
const STABLE_AFTER: Duration = Duration::from_secs(10);

impl Workerd {
    /// Starts workerd and waits until it listens. Later crashes restart it with a growing delay
    /// and are reported through `events`.
    ///
    /// # Errors
    ///
    /// The process could not be started or ended before it listened; no process is left then.
    pub async fn start(
        options: WorkerdOptions,
        events: mpsc::UnboundedSender<WorkerdEvent>,
    ) -> Result<Self, WorkerdError> {
        let (commands, receiver) = mpsc::channel(1);
        let (state, state_receiver) = watch::channel(State::default());
        let (upstream, upstream_receiver) = watch::channel(None);
        let spawner = Spawner::new()
            .map_err(|error| WorkerdError::Spawn(options.executable.clone(), error))?;
        let mut supervisor = Supervisor {
            spawner,
            options,
            events,
            commands: receiver,
            state,
            upstream,
            delay: FIRST_DELAY,
        };
        let process = supervisor.launch_patiently().await?;
        tokio::spawn(supervisor.run(process));
        Ok(Self {
            commands,
            state: state_receiver,
            upstream: upstream_receiver,
        })
    }

    /// Where it listens now; `None` while it restarts.
    pub fn upstream(&self) -> watch::Receiver<Option<Upstream>> {
        self.upstream.clone()
    }

    /// Where `/cdn-cgi/handler/…` is answered, if the project has cron triggers.
    pub fn triggers(&self) -> Option<Upstream> {
        self.state.borrow().triggers.clone()
    }

    /// Says to the process that runs now whether what the Worker does is to be told, if its
    /// configuration has [`crate::TraceOptions`].
    pub fn trace_switch(&self) -> Option<TraceSwitch> {
        self.state.borrow().traces.clone().map(TraceSwitch::new)
    }

    /// Process id, while one runs.
    pub fn pid(&self) -> Option<u32> {
        self.state.borrow().pid
    }

    /// Replaces the process by one with the configuration as it is now: SIGKILL, which leaves the
    /// containers running, then start; the new process adopts them. Hold the gateway around it.
    /// On an error no process runs until the next call.
    ///
    /// # Errors
    ///
    /// As [`Workerd::start`].
    pub async fn replace(&self, config: &ConfigFile, listen: Listen) -> Result<(), WorkerdError> {
        self.start_anew(config, listen, IfNot::Idle).await
    }

    /// The same for a configuration that has run already: if it does not start, it is tried again as after a
    /// crash, until it does or something else is asked for.
    ///
    /// # Errors
    ///
    /// As [`Workerd::start`], of the first time.
    pub async fn restore(&self, config: &ConfigFile, listen: Listen) -> Result<(), WorkerdError> {
        self.start_anew(config, listen, IfNot::TryAgain).await
    }

    async fn start_anew(
        &self,
        config: &ConfigFile,
        listen: Listen,
        if_not: IfNot,
    ) -> Result<(), WorkerdError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Replace(config.clone(), listen, if_not, reply);
        let sent = self.commands.send(command).await;
        sent.map_err(|_| WorkerdError::Stopped)?;
        answer.await.unwrap_or(Err(WorkerdError::Stopped))
    }

    /// Ends it with SIGTERM, upon which workerd destroys its containers; SIGKILL after `grace`.
    /// Nothing can be started through this handle afterwards.
    pub async fn stop(&self, grace: Duration) {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Stop(grace, reply)).await;
        let _ = answer.await;
    }

    /// Ends it with SIGKILL; containers keep running. [`Workerd::replace`] starts it again.
    pub async fn kill(&self) {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Kill(reply)).await;
        let _ = answer.await;
    }
}

/// The task that owns the process.
struct Supervisor {
    spawner: Spawner,
    options: WorkerdOptions,
    events: mpsc::UnboundedSender<WorkerdEvent>,
    commands: mpsc::Receiver<Command>,
    state: watch::Sender<State>,
    upstream: watch::Sender<Option<Upstream>>,
    delay: Duration,
}

/// What became of a process.
enum Outcome {
    /// Ended by a command; the handle decides what comes next.
    Idle,
    /// Ended by itself.
    Crashed(String),
    /// Stopped, or the handle is gone.
    Finished,
    /// Another one runs in its place.
    Replaced(Box<Process>),
}

impl Supervisor {
    async fn launch(&mut self) -> Result<Process, WorkerdError> {
        let process = Process::start(&self.spawner, &self.options, &self.events).await?;
        self.state.send_replace(State {
            pid: Some(process.pid),
            triggers: process.triggers.clone(),
            traces: process.traces.clone(),
        });
        let upstream = process.upstream.clone();
        self.upstream.send_replace(Some(upstream.clone()));
        let _ = self.events.send(WorkerdEvent::Ready { upstream });
        Ok(process)
    }

    /// Once more, and again, if somebody kills it meanwhile.
    async fn launch_patiently(&mut self) -> Result<Process, WorkerdError> {
        let mut starts = 1;
        loop {
            match self.launch().await {
                Err(WorkerdError::Killed) if starts < STARTS => starts += 1,
                outcome => return outcome,
            }
        }
    }

    fn gone(&self) {
        self.state.send_replace(State::default());
        self.upstream.send_replace(None);
    }

    async fn run(mut self, process: Process) {
        let mut running = Some(process);
        loop {
            let outcome = match running.take() {
                Some(process) => {
                    let started = Instant::now();
                    let outcome = self.watch(process).await;
                    if started.elapsed() > STABLE_AFTER {
                        self.delay = FIRST_DELAY;
                    }
                    outcome
                }
                None => match self.commands.recv().await {
                    Some(command) => self.obey(command, None).await,
                    None => Outcome::Finished,
                },
            };
            let next = match outcome {
                Outcome::Crashed(status) => self.restart(status).await,
                other => other,
            };
            match next {
                Outcome::Replaced(process) => running = Some(*process),
                Outcome::Finished => return,
                Outcome::Idle | Outcome::Crashed(_) => {}
            }
        }
    }

    /// Passes on what a process prints until it ends or a command comes.
    async fn watch(&mut self, mut process: Process) -> Outcome {
        loop {
            tokio::select! {
                command = self.commands.recv() => {
                    let command = command.unwrap_or_else(|| Command::Stop(Duration::ZERO, oneshot::channel().0));
                    return self.obey(command, Some(process)).await;
                }
                next = process.next() => match next {
                    Next::Line(line) => send_line(&self.events, line),
                    Next::Ended(status) => {
                        self.gone();
                        process.drain(&self.events).await;
                        return Outcome::Crashed(status);
                    }
                },
            }
        }
    }

    async fn obey(&mut self, command: Command, process: Option<Process>) -> Outcome {
        match command {
            Command::Replace(config, listen, if_not, reply) => {
                self.end(process, None).await;
                self.options.config = config;
                self.options.listen = listen;
                self.delay = FIRST_DELAY;
                let (outcome, result) = match self.launch_patiently().await {
                    Ok(process) => (Outcome::Replaced(Box::new(process)), Ok(())),
                    Err(error) if if_not == IfNot::TryAgain => {
                        (Outcome::Crashed(error.to_string()), Err(error))
                    }
                    Err(error) => (Outcome::Idle, Err(error)),
                };
                let _ = reply.send(result);
                outcome
            }
            Command::Stop(grace, reply) => {
                self.end(process, Some(grace)).await;
                let _ = reply.send(());
                Outcome::Finished
            }
            Command::Kill(reply) => {
                self.end(process, None).await;
                let _ = reply.send(());
                Outcome::Idle
            }
        }
    }

    /// Ends a process: with SIGTERM first if there is time for it.
    async fn end(&mut self, process: Option<Process>, grace: Option<Duration>) {
        self.gone();
        match (process, grace) {
            (Some(process), Some(grace)) if !grace.is_zero() => {
                process.terminate(grace, &self.events).await;
            }
            (Some(process), _) => process.kill(&self.events).await,
            (None, _) => {}
        }
    }

    /// Starts a crashed process again, until it runs or a command comes.
    async fn restart(&mut self, mut status: String) -> Outcome {
        loop {
            let restart_in = self.delay;
            self.delay = (self.delay * 2).min(LAST_DELAY);
            let _ = self
                .events
                .send(WorkerdEvent::Crashed { status, restart_in });
            tokio::select! {
                () = tokio::time::sleep(restart_in) => {}
                command = self.commands.recv() => {
                    let Some(command) = command else {
                        return Outcome::Finished;
                    };
                    return self.obey(command, None).await;
                }
            }
            match self.launch().await {
                Ok(process) => return Outcome::Replaced(Box::new(process)),
                Err(error) => status = error.to_string(),
            }
        }
    }
}
