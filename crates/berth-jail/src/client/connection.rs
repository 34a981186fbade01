//! The socket to the zygote: requests out, replies and events in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};

use crate::cgroup::{Capabilities, Session};
use crate::error::JailError;
use crate::protocol::{PROTOCOL, Reply, Request, Ticket};
use crate::spec::{ExitStatus, SpawnTimings};
use crate::{packet, sys};

use super::attach::Deposits;

/// A process; a sandbox has another one after it was restored.
#[derive(Clone, Debug)]
struct Living {
    pid: u32,
    /// `None`: it had ended before we heard of it.
    pidfd: Option<Arc<OwnedFd>>,
}

/// What is known of a process that the zygote started.
#[derive(Debug)]
pub(super) struct Running {
    process: Mutex<Living>,
    /// CPU time of a sandbox that has ended, in nanoseconds.
    pub(super) cpu_ns: AtomicU64,
    /// Of a sandbox's first process only.
    pub(super) timings: SpawnTimings,
    pub(super) exit: watch::Sender<Option<ExitStatus>>,
    /// Of a sandbox's first process only.
    pub(super) listening: watch::Sender<BTreeSet<u16>>,
    /// It was killed because its zygote had ended.
    pub(super) lost: AtomicBool,
}

impl Running {
    fn new(
        pid: u32,
        pidfd: Option<OwnedFd>,
        timings: SpawnTimings,
        exit: Option<ExitStatus>,
        ports: BTreeSet<u16>,
    ) -> Arc<Self> {
        let pidfd = pidfd.map(Arc::new);
        Arc::new(Self {
            process: Mutex::new(Living { pid, pidfd }),
            cpu_ns: AtomicU64::new(0),
            timings,
            exit: watch::Sender::new(exit),
            listening: watch::Sender::new(ports),
            lost: AtomicBool::new(false),
        })
    }

    /// Its pid; of a sandbox on disk the last one.
    pub(super) fn pid(&self) -> u32 {
        self.living().pid
    }

    pub(super) fn pidfd(&self) -> Option<Arc<OwnedFd>> {
        self.living().pidfd.clone()
    }

    fn living(&self) -> MutexGuard<'_, Living> {
        // Written by one assignment.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to a request that starts a process.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) running: Arc<Running>,
    /// Name of the sandbox's control group; empty for an exec.
    pub(super) cgroup: String,
    pub(super) terminal: Option<OwnedFd>,
}

type Answer = Result<Started, JailError>;

#[derive(Debug, Default)]
struct State {
    pending: HashMap<Ticket, oneshot::Sender<Answer>>,
    /// Checkpoints and restorations.
    resting: HashMap<Ticket, oneshot::Sender<Result<(), JailError>>>,
    running: HashMap<Ticket, Arc<Running>>,
    dead: bool,
    /// It is us who closed the connection.
    dropped: bool,
    /// The zygote was asked to leave.
    leaving: bool,
}

/// Shared by the handles and the reading task.
#[derive(Debug)]
struct Shared {
    socket: AsyncFd<OwnedFd>,
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent between statements, so that a panic elsewhere changes nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The zygote's process.
#[derive(Debug)]
pub(super) enum Peer {
    /// Started by this process, which reaps it.
    Child(tokio::process::Child),
    /// Started by a process before.
    Other(Other),
}

/// A zygote that another process started.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
}

impl Peer {
    /// Waits for its end.
    async fn ended(self) -> io::Result<String> {
        match self {
            Self::Child(mut child) => child.wait().await.map(|status| status.to_string()),
            Self::Other(other) => {
                // Readable from its end on.
                let _ = sys::async_fd::register(other.pidfd)?.readable().await?;
                Ok("it was another process's child".to_owned())
            }
        }
    }

    fn kill(&mut self) {
        // It may have ended.
        let _ = match self {
            Self::Child(child) => child.start_kill(),
            Self::Other(other) => sys::signal::send(&other.pidfd, libc::SIGKILL).map(|_| ()),
        };
    }

    fn pid(&self) -> u32 {
        match self {
            // 0 would mean that it has been waited for.
            Self::Child(child) => child.id().unwrap_or_default(),
            Self::Other(other) => other.pid,
        }
    }
}

/// What a zygote has for a successor.
#[derive(Debug, Default)]
pub(super) struct Greeting {
    pub(super) sandboxes: Vec<(String, Ticket, Started)>,
    /// By the sandbox that they belong to.
    pub(super) deposits: BTreeMap<Option<Ticket>, Deposits>,
}

/// The connection; dropping it closes the socket.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    last_ticket: AtomicU64,
    dead: watch::Receiver<bool>,
    session: Session,
    capabilities: Capabilities,
    pid: u32,
}

impl Connection {
    /// Takes the zygote's end of a fresh connection and reads its greeting.
    pub(super) async fn open(
        socket: OwnedFd,
        peer: Peer,
        mut session: Session,
    ) -> Result<(Arc<Self>, Greeting), JailError> {
        let shared = Arc::new(Shared {
            socket: sys::async_fd::register(socket).map_err(JailError::Launch)?,
            state: Mutex::default(),
        });
        let Some((hello, _)) = receive::<serde_json::Value>(&shared.socket)
            .await
            .map_err(JailError::Launch)?
        else {
            let status = peer.ended().await.map_err(JailError::Launch)?;
            let text = format!("it ended at once: {status}");
            return Err(JailError::Launch(io::Error::other(text)));
        };
        let (capabilities, last_ticket) = greeted(hello)?;
        let greeting = greeting(&shared).await?;
        // The zygote has made the session's groups; this finds out which controllers took part.
        session.create().map_err(JailError::Launch)?;
        if !capabilities.missing_limits.is_empty() {
            tracing::warn!(
                missing = capabilities.missing_limits.join(", "),
                "this machine has no control group for some limits; they are not enforced"
            );
        }
        let pid = peer.pid();
        let (dead_sender, dead) = watch::channel(false);
        tokio::spawn(read(
            Arc::clone(&shared),
            peer,
            session.clone(),
            dead_sender,
        ));
        let connection = Self {
            shared,
            last_ticket: AtomicU64::new(last_ticket),
            dead,
            session,
            capabilities,
            pid,
        };
        Ok((Arc::new(connection), greeting))
    }

    /// Whether the zygote is known to have ended.
    pub(super) fn is_dead(&self) -> bool {
        self.shared.state().dead
    }

    /// Waits until the zygote has ended and nothing of its sandboxes is left.
    pub(super) async fn ended(&self) {
        let mut dead = self.dead.clone();
        // An error means the same.
        let _ = dead.wait_for(|dead| *dead).await;
    }

    /// Tells the zygote something that has no answer.
    pub(super) async fn say(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), JailError> {
        self.send(request, fds).await.map_err(unsent)
    }

    pub(super) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// The zygote's process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// A new ticket.
    pub(super) fn ticket(&self) -> Ticket {
        self.last_ticket.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Sends a request that starts a process and waits for its answer.
    pub(super) async fn start(
        &self,
        ticket: Ticket,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Answer {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.shared.state();
            if state.dead {
                return Err(JailError::ZygoteGone);
            }
            state.pending.insert(ticket, sender);
        }
        if let Err(error) = self.send(request, fds).await {
            self.shared.state().pending.remove(&ticket);
            return Err(unsent(error));
        }
        receiver.await.unwrap_or(Err(JailError::ZygoteGone))
    }

    /// Sends a request for a checkpoint or restoration and waits for its end.
    pub(super) async fn rest(&self, ticket: Ticket, request: &Request) -> Result<(), JailError> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.shared.state();
            if state.dead {
                return Err(JailError::ZygoteGone);
            }
            state.resting.insert(ticket, sender);
        }
        if let Err(error) = self.send(request, &[]).await {
            self.shared.state().resting.remove(&ticket);
            return Err(unsent(error));
        }
        receiver.await.unwrap_or(Err(JailError::ZygoteGone))
    }

    /// Asks the zygote to kill everything and leave, and waits until it has.
    pub(super) async fn shutdown(&self) {
        // An error means that it has gone already.
        self.shared.state().leaving = true;
        let _ = self.send(&Request::Shutdown, &[]).await;
        self.ended().await;
    }

    async fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = packet::encode(request)?;
        self.shared
            .socket
            .async_io(Interest::WRITABLE, |socket| {
                packet::send_encoded(socket, &bytes, fds)
            })
            .await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The reading task shares the descriptor; this ends it, and tells the zygote.
        self.shared.state().dropped = true;
        let _ = rustix::net::shutdown(self.shared.socket.get_ref(), rustix::net::Shutdown::Both);
    }
}

fn unsent(error: io::Error) -> JailError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => JailError::ZygoteGone,
        _ => JailError::setup("send a request to the jail's helper process", error),
    }
}

async fn receive<T: DeserializeOwned>(
    socket: &AsyncFd<OwnedFd>,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    socket
        .async_io(Interest::READABLE, |socket| packet::receive(socket))
        .await
}

/// Checks the first packet, which is the same in every version as far as this looks at it.
fn greeted(hello: serde_json::Value) -> Result<(Capabilities, Ticket), JailError> {
    if hello.as_str() == Some("Busy") {
        return Err(JailError::ZygoteBusy);
    }
    let protocol = hello.pointer("/Hello/protocol");
    let theirs = protocol.and_then(serde_json::Value::as_u64).unwrap_or(1);
    if theirs != u64::from(PROTOCOL) {
        return Err(JailError::ZygoteVersion {
            theirs,
            ours: PROTOCOL,
        });
    }
    match serde_json::from_value(hello) {
        Ok(Reply::Hello {
            capabilities,
            last_ticket,
            ..
        }) => Ok((capabilities, last_ticket)),
        Ok(_) => Err(JailError::Launch(io::Error::other("unexpected greeting"))),
        Err(error) => Err(JailError::Launch(error.into())),
    }
}

/// The rest of the greeting.
async fn greeting(shared: &Shared) -> Result<Greeting, JailError> {
    let mut greeting = Greeting::default();
    loop {
        let packet = receive(&shared.socket).await.map_err(JailError::Launch)?;
        let (reply, mut fds) = packet.ok_or(JailError::ZygoteGone)?;
        match reply {
            Reply::Greeted => return Ok(greeting),
            Reply::Deposited { name, sandbox } => {
                let of_sandbox = greeting.deposits.entry(sandbox).or_default();
                of_sandbox.insert(name, fds);
            }
            Reply::Survivor {
                ticket,
                id,
                pid,
                cgroup,
                ports,
                ended,
                cpu_ns,
            } => {
                let pidfd = fds.pop();
                if pidfd.is_none() && ended.is_none() {
                    continue;
                }
                let ports = ports.into_iter().collect();
                let timings = SpawnTimings::default();
                let running = Running::new(pid, pidfd, timings, ended, ports);
                running.cpu_ns.store(cpu_ns, Ordering::Relaxed);
                if ended.is_none() {
                    let mut state = shared.state();
                    state.running.insert(ticket, Arc::clone(&running));
                }
                let started = Started {
                    running,
                    cgroup,
                    terminal: None,
                };
                greeting.sandboxes.push((id, ticket, started));
            }
            other => handle(shared, other, fds),
        }
    }
}

async fn read(shared: Arc<Shared>, mut peer: Peer, session: Session, dead: watch::Sender<bool>) {
    loop {
        match receive(&shared.socket).await {
            Ok(Some((reply, fds))) => handle(&shared, reply, fds),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::warn!(%error, "unreadable message from the jail's helper process");
            }
            Ok(None) | Err(_) => break,
        }
    }
    let dropped = shared.state().dropped;
    let pending = {
        let mut state = shared.state();
        state.dead = true;
        let pending = std::mem::take(&mut state.pending);
        (pending, std::mem::take(&mut state.resting))
    };
    // Pending calls fail as their senders go.
    drop(pending);
    if dropped {
        // Whether it leaves now or waits for a successor is its own affair.
        if let Peer::Child(mut child) = peer {
            tokio::spawn(async move { child.wait().await });
        }
        return;
    }
    // It has ended, or does not talk to us any more, which is no better.
    if !shared.state().leaving {
        peer.kill();
    }
    let _ = peer.ended().await;
    // Its children die with it, as the kernel sees to; not those that arranged otherwise.
    let swept = tokio::task::spawn_blocking(move || session.sweep_sandboxes()).await;
    if let Ok(Err(error)) = swept {
        tracing::warn!(%error, "cannot clean up after the jail's helper process");
    }
    let running = std::mem::take(&mut shared.state().running);
    for process in running.into_values() {
        process.lost.store(true, Ordering::Relaxed);
        process.exit.send_replace(Some(ExitStatus {
            code: 137,
            signal: Some(libc::SIGKILL),
            oom_killed: false,
        }));
    }
    dead.send_replace(true);
}

fn handle(shared: &Shared, reply: Reply, fds: Vec<OwnedFd>) {
    match reply {
        Reply::Hello { .. }
        | Reply::Busy
        | Reply::Survivor { .. }
        | Reply::Deposited { .. }
        | Reply::Greeted => {}
        Reply::Spawned {
            ticket,
            pid,
            cgroup,
            timings,
        } => started(shared, ticket, pid, cgroup, timings, fds),
        Reply::Executed { ticket, pid } => {
            let timings = SpawnTimings::default();
            started(shared, ticket, pid, String::new(), timings, fds);
        }
        Reply::Failed { ticket, failure } => {
            let mut state = shared.state();
            let waiting = state.pending.remove(&ticket);
            let resting = state.resting.remove(&ticket);
            drop(state);
            if let Some(sender) = waiting {
                let _ = sender.send(Err(failure.into()));
            } else if let Some(sender) = resting {
                let _ = sender.send(Err(failure.into()));
            }
        }
        Reply::Checkpointed { ticket } => rested(shared, ticket),
        Reply::Restored {
            ticket,
            sandbox,
            pid,
        } => {
            let running = shared.state().running.get(&sandbox).cloned();
            if let Some(running) = running {
                let pidfd = fds.into_iter().next().map(Arc::new);
                *running.living() = Living { pid, pidfd };
            }
            rested(shared, ticket);
        }
        Reply::Exited {
            ticket,
            status,
            cpu_ns,
        } => {
            let process = shared.state().running.remove(&ticket);
            if let Some(process) = process {
                process.cpu_ns.store(cpu_ns, Ordering::Relaxed);
                process.exit.send_replace(Some(status));
            }
        }
        Reply::Listening { sandbox, port } => {
            let process = shared.state().running.get(&sandbox).cloned();
            if let Some(process) = process {
                process
                    .listening
                    .send_if_modified(|ports| ports.insert(port));
            }
        }
        Reply::Warning(text) => tracing::warn!("{text}"),
    }
}

fn rested(shared: &Shared, ticket: Ticket) {
    let waiting = shared.state().resting.remove(&ticket);
    if let Some(sender) = waiting {
        let _ = sender.send(Ok(()));
    }
}

fn started(
    shared: &Shared,
    ticket: Ticket,
    pid: u32,
    cgroup: String,
    timings: SpawnTimings,
    fds: Vec<OwnedFd>,
) {
    let mut fds = fds.into_iter();
    let (pidfd, terminal) = (fds.next(), fds.next());
    let mut state = shared.state();
    let sender = state.pending.remove(&ticket);
    let (Some(pidfd), Some(sender)) = (pidfd, sender) else {
        return;
    };
    let running = Running::new(pid, Some(pidfd), timings, None, BTreeSet::new());
    state.running.insert(ticket, Arc::clone(&running));
    drop(state);
    let answer = Ok(Started {
        running: Arc::clone(&running),
        cgroup,
        terminal,
    });
    if sender.send(answer).is_err() {
        // Whoever asked does not wait any more: nobody would ever own this process.
        if let Some(pidfd) = running.pidfd() {
            let _ = sys::signal::send(&*pidfd, libc::SIGKILL);
        }
    }
}
