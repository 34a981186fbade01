//! The socket to the zygote: requests out, replies and events in.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};

use crate::cgroup::{Capabilities, Session};
use crate::error::JailError;
use crate::protocol::{Reply, Request, Ticket};
use crate::spec::{ExitStatus, SpawnTimings};
use crate::{packet, sys};

/// What is known of a process that the zygote started.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
    /// Of a sandbox's first process only.
    pub(super) timings: SpawnTimings,
    pub(super) exit: watch::Sender<Option<ExitStatus>>,
    /// Of a sandbox's first process only.
    pub(super) listening: watch::Sender<BTreeSet<u16>>,
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
    running: HashMap<Ticket, Arc<Running>>,
    dead: bool,
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

/// The connection; dropping it closes the socket.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    last_ticket: AtomicU64,
    dead: watch::Receiver<bool>,
    session: Session,
    capabilities: Capabilities,
}

impl Connection {
    /// Waits for the zygote's greeting and starts the reading task.
    pub(super) async fn open(
        socket: OwnedFd,
        mut child: tokio::process::Child,
        mut session: Session,
    ) -> Result<Arc<Self>, JailError> {
        let shared = Arc::new(Shared {
            socket: sys::async_fd::register(socket).map_err(JailError::Launch)?,
            state: Mutex::default(),
        });
        let capabilities = match receive(&shared.socket).await {
            Ok(Some((Reply::Hello { capabilities }, _))) => capabilities,
            Ok(Some(_)) => return Err(JailError::Launch(io::Error::other("unexpected greeting"))),
            Ok(None) => {
                let status = child.wait().await.map_err(JailError::Launch)?;
                let text = format!("it ended at once: {status}");
                return Err(JailError::Launch(io::Error::other(text)));
            }
            Err(error) => return Err(JailError::Launch(error)),
        };
        // The zygote has made the session's groups; this finds out which controllers took part.
        session.create().map_err(JailError::Launch)?;
        if !capabilities.missing_limits.is_empty() {
            tracing::warn!(
                missing = capabilities.missing_limits.join(", "),
                "this machine has no control group for some limits; they are not enforced"
            );
        }
        let (dead_sender, dead) = watch::channel(false);
        tokio::spawn(read(Arc::clone(&shared), child, dead_sender));
        Ok(Arc::new(Self {
            shared,
            last_ticket: AtomicU64::new(0),
            dead,
            session,
            capabilities,
        }))
    }

    pub(super) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
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
            return Err(match error.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => JailError::ZygoteGone,
                _ => JailError::setup("send a request to the jail's helper process", error),
            });
        }
        receiver.await.unwrap_or(Err(JailError::ZygoteGone))
    }

    /// Asks the zygote to kill everything and leave, and waits until it has.
    pub(super) async fn shutdown(&self) {
        // An error means that it has gone already.
        let _ = self.send(&Request::Shutdown, &[]).await;
        let mut dead = self.dead.clone();
        let _ = dead.wait_for(|dead| *dead).await;
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
        let _ = rustix::net::shutdown(self.shared.socket.get_ref(), rustix::net::Shutdown::Both);
    }
}

async fn receive(socket: &AsyncFd<OwnedFd>) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
    socket
        .async_io(Interest::READABLE, |socket| packet::receive(socket))
        .await
}

async fn read(shared: Arc<Shared>, mut child: tokio::process::Child, dead: watch::Sender<bool>) {
    loop {
        match receive(&shared.socket).await {
            Ok(Some((reply, fds))) => handle(&shared, reply, fds),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::warn!(%error, "unreadable message from the jail's helper process");
            }
            Ok(None) | Err(_) => break,
        }
    }
    let (pending, running) = {
        let mut state = shared.state();
        state.dead = true;
        (
            std::mem::take(&mut state.pending),
            std::mem::take(&mut state.running),
        )
    };
    // Pending calls fail as their senders go.
    drop(pending);
    for process in running.into_values() {
        process.exit.send_replace(Some(ExitStatus {
            code: 137,
            signal: Some(libc::SIGKILL),
            oom_killed: false,
        }));
    }
    let _ = child.wait().await;
    dead.send_replace(true);
}

fn handle(shared: &Shared, reply: Reply, fds: Vec<OwnedFd>) {
    match reply {
        Reply::Hello { .. } => {}
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
            let waiting = shared.state().pending.remove(&ticket);
            if let Some(sender) = waiting {
                let _ = sender.send(Err(failure.into()));
            }
        }
        Reply::Exited { ticket, status } => {
            let process = shared.state().running.remove(&ticket);
            if let Some(process) = process {
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
    let running = Arc::new(Running {
        pid,
        pidfd,
        timings,
        exit: watch::Sender::new(None),
        listening: watch::Sender::new(BTreeSet::new()),
    });
    state.running.insert(ticket, Arc::clone(&running));
    drop(state);
    let answer = Ok(Started {
        running: Arc::clone(&running),
        cgroup,
        terminal,
    });
    if sender.send(answer).is_err() {
        // Whoever asked does not wait any more: nobody would ever own this process.
        let _ = sys::signal::send(&running.pidfd, libc::SIGKILL);
    }
}
