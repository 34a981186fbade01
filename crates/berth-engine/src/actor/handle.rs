//! The way to an actor: requests with replies, and what it publishes.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use berth_jail::ExitStatus;
use berth_net::{Network, NetworkUsage};
use tokio::sync::{mpsc, oneshot, watch};

use crate::activity::Activity;
use crate::commit::Origin;
use crate::hold::Liveness;
use crate::log::LogStore;
use crate::meter::{Meter, Metered};
use crate::state::Ask;
use crate::visit::{Gate, Visit};
use crate::{ContainerInfo, EngineError, Exec, ExecSpec};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, EngineError>>;

/// Requests that may wait in an actor's mailbox; more make their callers wait.
const MAILBOX: usize = 64;

/// What callers ask an actor.
#[derive(Debug)]
pub(crate) enum Request {
    Start(Reply<()>),
    Wait(Reply<ExitStatus>),
    Kill {
        signal: i32,
        /// Kill it if it still lives when its patience is over.
        insist: bool,
        reply: Reply<()>,
    },
    Stop {
        grace: Duration,
        reply: Reply<ExitStatus>,
    },
    Exec {
        spec: ExecSpec,
        reply: Reply<Exec>,
    },
    Visit(Reply<Visit>),
    /// Thaw, restore: whatever makes it run.
    Wake(Reply<()>),
    Pause(Reply<()>),
    Unpause(Reply<()>),
    Remove {
        force: bool,
        reply: Reply<()>,
    },
}

impl Request {
    /// The request as the policy sees it.
    pub(crate) fn ask(&self) -> Ask {
        match self {
            Self::Start(_) => Ask::Start,
            Self::Wait(_) => Ask::Wait,
            Self::Kill { .. } => Ask::Kill,
            Self::Stop { .. } => Ask::Stop,
            Self::Exec { .. } => Ask::Exec,
            Self::Visit(_) => Ask::Visit,
            Self::Wake(_) | Self::Pause(_) | Self::Unpause(_) => Ask::Rest,
            Self::Remove { force, .. } => Ask::Remove { force: *force },
        }
    }

    /// Answers with an error. A caller that has gone does not mind.
    pub(crate) fn refuse(self, error: EngineError) {
        match self {
            Self::Start(reply)
            | Self::Kill { reply, .. }
            | Self::Wake(reply)
            | Self::Pause(reply)
            | Self::Unpause(reply)
            | Self::Remove { reply, .. } => {
                let _ = reply.send(Err(error));
            }
            Self::Wait(reply) | Self::Stop { reply, .. } => {
                let _ = reply.send(Err(error));
            }
            Self::Exec { reply, .. } => {
                let _ = reply.send(Err(error));
            }
            Self::Visit(reply) => {
                let _ = reply.send(Err(error));
            }
        }
    }
}

/// What an actor publishes for reading at any time.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: String,
    pub(crate) name: String,
    /// `None` before it is prepared and after it is gone.
    pub(crate) info: watch::Sender<Option<Arc<ContainerInfo>>>,
    pub(crate) liveness: watch::Sender<Liveness>,
    /// Set when it is prepared.
    pub(crate) log: OnceLock<Arc<LogStore>>,
    /// Who uses it, and since when nobody does.
    pub(crate) activity: Arc<Activity>,
    pub(crate) meter: Arc<Meter>,
    /// What its network had carried before it was created.
    pub(crate) carried_before: OnceLock<NetworkUsage>,
    /// Set at create.
    pub(crate) network: OnceLock<Arc<Network>>,
    /// Set when it is prepared.
    pub(crate) origin: OnceLock<Arc<Origin>>,
    /// Its trust stores have the authority of its sidecar.
    pub(crate) trusts_ca: AtomicBool,
    pub(crate) gate: Gate,
    pub(crate) reach: Reach,
}

impl Shared {
    /// What it uses and has used.
    pub(crate) fn metered(&self) -> Metered {
        let mut metered = self.meter.read();
        if let Some(network) = self.network.get() {
            let carried = network.usage();
            let before = self.carried_before.get().copied().unwrap_or_default();
            metered.ingress_bytes = carried.ingress_bytes.saturating_sub(before.ingress_bytes);
            metered.egress_bytes = carried.egress_bytes.saturating_sub(before.egress_bytes);
        }
        metered
    }
}

/// What connections have come to.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// Somebody has tried.
    pub(crate) wanted: AtomicBool,
    /// The last one found the port closed.
    pub(crate) refused: AtomicBool,
}

/// A caller's way to one container. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
}

impl Handle {
    /// A handle and the mailbox of the actor that does not run yet.
    pub(crate) fn new(id: String, name: String) -> (Self, mpsc::Receiver<Request>) {
        let (requests, mailbox) = mpsc::channel(MAILBOX);
        let shared = Arc::new(Shared {
            id,
            name,
            info: watch::Sender::new(None),
            liveness: watch::Sender::new(Liveness::Down),
            log: OnceLock::new(),
            activity: Activity::new(),
            meter: Arc::default(),
            carried_before: OnceLock::new(),
            network: OnceLock::new(),
            origin: OnceLock::new(),
            trusts_ca: AtomicBool::new(false),
            gate: Gate::default(),
            reach: Reach::default(),
        });
        (Self { shared, requests }, mailbox)
    }

    pub(crate) fn id(&self) -> &str {
        &self.shared.id
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The latest snapshot.
    pub(crate) fn info(&self) -> Option<ContainerInfo> {
        self.shared.info.borrow().as_deref().cloned()
    }

    /// Resolves when the actor has ended: the container is gone and its name is free.
    pub(crate) async fn gone(&self) {
        self.requests.closed().await;
    }

    pub(crate) async fn start(&self) -> Result<(), EngineError> {
        self.ask(Request::Start).await
    }

    pub(crate) async fn wait(&self) -> Result<ExitStatus, EngineError> {
        self.ask(Request::Wait).await
    }

    pub(crate) async fn kill(&self, signal: i32, insist: bool) -> Result<(), EngineError> {
        self.ask(|reply| Request::Kill {
            signal,
            insist,
            reply,
        })
        .await
    }

    pub(crate) async fn stop(&self, grace: Duration) -> Result<ExitStatus, EngineError> {
        self.ask(|reply| Request::Stop { grace, reply }).await
    }

    pub(crate) async fn exec(&self, spec: ExecSpec) -> Result<Exec, EngineError> {
        self.ask(|reply| Request::Exec { spec, reply }).await
    }

    /// The right to work in its root.
    pub(crate) async fn visit(&self) -> Result<Visit, EngineError> {
        self.ask(Request::Visit).await
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.shared.gate
    }

    /// Makes sure that it runs, rather than sleeps.
    pub(crate) async fn wake(&self) -> Result<(), EngineError> {
        self.ask(Request::Wake).await
    }

    pub(crate) async fn pause(&self) -> Result<(), EngineError> {
        self.ask(Request::Pause).await
    }

    pub(crate) async fn unpause(&self) -> Result<(), EngineError> {
        self.ask(Request::Unpause).await
    }

    /// A container that has vanished meanwhile is what the caller wanted.
    pub(crate) async fn remove(&self, force: bool) -> Result<(), EngineError> {
        match self.ask(|reply| Request::Remove { force, reply }).await {
            Err(EngineError::NoSuchContainer(_)) => Ok(()),
            other => other,
        }
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, EngineError> {
        let (reply, answer) = oneshot::channel();
        let gone = || EngineError::NoSuchContainer(self.shared.name.clone());
        if self.requests.send(request(reply)).await.is_err() {
            return Err(gone());
        }
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}
