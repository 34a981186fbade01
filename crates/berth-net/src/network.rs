//! One network sandbox and its tasks.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::ca::Ca;
use crate::capture::Capture;
use crate::dns::Names;
use crate::ingress::Ingress;
use crate::namespace::Namespace;
use crate::pass_on::{self, Descriptors, NetworkRecord, Sockets};
use crate::usage::Counters;
use crate::{Egress, NetError, NetworkOptions, NetworkUsage, Upstream, egress, namespace, udp};

/// How long a connection waits when nobody knows who decides about it: workerd starts, and the object that
/// the container belongs to has yet to be wanted.
const UNDECIDED: Duration = Duration::from_secs(60);

/// One network sandbox: namespace, egress proxy, resolver.
#[derive(Debug)]
pub struct Network {
    namespace: Arc<OwnedFd>,
    shared: Arc<Shared>,
    ingress: Ingress,
    capture: Mutex<Option<Capture>>,
    /// Second descriptors of what the tasks have, for [`Network::descriptors`].
    sockets: Mutex<Option<Sockets>>,
    changed: Mutex<Option<OnChange>>,
}

/// Called with what a successor must know, whenever that has changed.
struct OnChange(Box<dyn Fn(&NetworkRecord) + Send>);

impl std::fmt::Debug for OnChange {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("OnChange")
    }
}

/// What the tasks of a network share with its handle.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) token: CancellationToken,
    pub(crate) options: NetworkOptions,
    pub(crate) counters: Counters,
    pub(crate) ca: Ca,
    policy: RwLock<Arc<Policy>>,
    decided: Notify,
}

/// An egress, compiled.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) egress: Egress,
    pub(crate) names: Names,
}

impl Policy {
    fn new(egress: Egress) -> Arc<Self> {
        let names = Names::new(&egress.dns.allow_hostnames);
        Arc::new(Self { egress, names })
    }
}

impl Shared {
    pub(crate) fn new(egress: Egress, options: NetworkOptions, counters: Counters, ca: Ca) -> Self {
        Self {
            token: CancellationToken::new(),
            options,
            counters,
            ca,
            policy: RwLock::new(Policy::new(egress)),
            decided: Notify::new(),
        }
    }

    /// The policy in force for a new connection, once it is known who decides; the last one known after
    /// some time.
    pub(crate) async fn decided_policy(&self) -> Arc<Policy> {
        let decided = async {
            loop {
                let mut changed = pin!(self.decided.notified());
                // Before it is looked, so that no change is missed.
                changed.as_mut().enable();
                let policy = self.policy();
                let nobody =
                    matches!(policy.egress.upstream, Upstream::Tunnel(at) if at.port() == 0);
                if !nobody {
                    return policy;
                }
                changed.await;
            }
        };
        let decided = tokio::time::timeout(UNDECIDED, decided).await;
        decided.unwrap_or_else(|_| self.policy())
    }

    /// The policy in force now. A connection keeps the one it started with.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        // A panic while the lock was held cannot have left a half-written pointer.
        let policy = self.policy.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&policy)
    }

    /// Starts a task that ends with the network.
    pub(crate) fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        let token = self.token.clone();
        tokio::spawn(async move {
            token.run_until_cancelled(task).await;
        });
    }
}

impl Network {
    /// Makes a namespace and starts its tasks on the current tokio runtime.
    ///
    /// # Errors
    ///
    /// [`NetError`] when the kernel refuses any part: without root, without BPF, without
    /// descriptors. Nothing is left behind.
    pub async fn create(egress: Egress) -> Result<Arc<Self>, NetError> {
        Self::create_with(egress, NetworkOptions::default()).await
    }

    /// [`create`](Self::create) with options.
    pub async fn create_with(
        egress: Egress,
        options: NetworkOptions,
    ) -> Result<Arc<Self>, NetError> {
        Self::start(namespace::create().await?, egress, options)
    }

    /// Starts the tasks of a new namespace.
    pub(crate) fn start(
        namespace: Namespace,
        egress: Egress,
        options: NetworkOptions,
    ) -> Result<Arc<Self>, NetError> {
        let counters = if options.passes_on {
            Counters::shared().map_err(|source| NetError::Socket {
                what: "byte counts'",
                source,
            })?
        } else {
            Counters::default()
        };
        let shared = Shared::new(egress, options, counters, Ca::default());
        Self::run(namespace, Arc::new(shared))
    }

    /// Takes a network over of which a process before has left everything: [`Network::descriptors`], and
    /// the record that it was told of last ([`Network::on_change`]). What it sent to workerd waits until
    /// somebody says where that is now.
    ///
    /// # Errors
    ///
    /// [`NetError::Incomplete`]. Nothing is left then.
    pub fn adopt(
        descriptors: &mut Descriptors,
        record: &NetworkRecord,
        options: NetworkOptions,
    ) -> Result<Arc<Self>, NetError> {
        let (namespace, counters) = pass_on::take(descriptors)?;
        let ca = record.ca().map_err(|source| NetError::Incomplete {
            what: "certificate authority",
            source,
        })?;
        let shared = Shared::new(record.egress(), options, counters, ca);
        Self::run(namespace, Arc::new(shared))
    }

    fn run(namespace: Namespace, shared: Arc<Shared>) -> Result<Arc<Self>, NetError> {
        let sockets = if shared.options.passes_on {
            let copied = Sockets::of(&namespace);
            Some(copied.map_err(|source| NetError::Socket {
                what: "copy of a",
                source,
            })?)
        } else {
            None
        };
        let slots = Arc::new(Semaphore::new(shared.options.max_connections));
        for listener in namespace.tcp {
            let listener = TcpListener::from_std(listener).map_err(|source| NetError::Socket {
                what: "connection capture",
                source,
            })?;
            let task = egress::serve(listener, Arc::clone(&shared), Arc::clone(&slots));
            shared.start(task);
        }
        for port in namespace.udp {
            shared.start(udp::serve(port, Arc::clone(&shared)));
        }
        let fd = Arc::new(namespace.fd);
        Ok(Arc::new(Self {
            ingress: Ingress::new(Arc::clone(&fd), namespace.ingress),
            namespace: fd,
            shared,
            capture: Mutex::new(Some(namespace.capture)),
            sockets: Mutex::new(sockets),
            changed: Mutex::new(None),
        }))
    }

    /// Everything of the network but its tasks and its record, by name, each with at most seven: for a
    /// process that takes it over while or after this one ends ([`Network::adopt`]). Nothing unless
    /// [`NetworkOptions::passes_on`], or when it is closed.
    ///
    /// # Errors
    ///
    /// When no descriptor is left.
    pub fn descriptors(&self) -> std::io::Result<Descriptors> {
        let capture = lock(&self.capture);
        let sockets = lock(&self.sockets);
        let (Some(capture), Some(sockets)) = (&*capture, &*sockets) else {
            return Ok(Descriptors::new());
        };
        let Some(counters) = self.shared.counters.descriptor()? else {
            return Ok(Descriptors::new());
        };
        let own = vec![self.namespace.try_clone()?, capture.descriptor()?, counters];
        sockets.descriptors(own)
    }

    /// Has `keep` called with the network's record, now and whenever it has changed, before the change is
    /// said to be done. In place of what was called before.
    pub fn on_change(&self, keep: impl Fn(&NetworkRecord) + Send + 'static) {
        let mut changed = lock(&self.changed);
        keep(&self.record());
        *changed = Some(OnChange(Box::new(keep)));
    }

    fn record(&self) -> NetworkRecord {
        NetworkRecord::new(self.egress(), self.shared.ca.record())
    }

    fn has_changed(&self) {
        // Held while it is told: the last one to tell knows everything.
        if let Some(OnChange(keep)) = &*lock(&self.changed) {
            keep(&self.record());
        }
    }

    /// The namespace, to start processes in.
    pub fn namespace(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// A second descriptor of the namespace.
    ///
    /// # Errors
    ///
    /// When no descriptor is left.
    pub fn namespace_owned(&self) -> std::io::Result<OwnedFd> {
        self.namespace.try_clone()
    }

    /// Changes how traffic leaves: connections accepted from now on see all of it, earlier ones
    /// none.
    pub fn set_egress(&self, egress: Egress) {
        let policy = Policy::new(egress);
        {
            let current = self.shared.policy.write();
            *current.unwrap_or_else(PoisonError::into_inner) = policy;
        }
        self.has_changed();
        self.shared.decided.notify_waiters();
    }

    /// How traffic leaves now.
    pub fn egress(&self) -> Egress {
        self.shared.policy().egress.clone()
    }

    /// Connects to `127.0.0.1:port` **inside** the namespace. `ConnectionRefused` when nothing
    /// listens.
    ///
    /// # Errors
    ///
    /// What `socket(2)` and `connect(2)` say.
    pub async fn connect(&self, port: u16) -> std::io::Result<TcpStream> {
        self.ingress.connect(port).await
    }

    /// Bytes carried so far. A connection made by [`connect`](Self::connect) belongs to the
    /// caller, who reports its bytes by [`count`](Self::count).
    pub fn usage(&self) -> NetworkUsage {
        self.shared.counters.read()
    }

    /// Adds bytes that the caller carried over connections made by [`connect`](Self::connect).
    pub fn count(&self, carried: NetworkUsage) {
        self.shared.counters.count(carried);
    }

    /// Stops the tasks and closes every connection. Also done when the last handle is dropped.
    pub fn close(&self) {
        self.shared.token.cancel();
        self.ingress.close();
        drop(lock(&self.sockets).take());
        drop(lock(&self.capture).take());
    }

    /// PEM of the CA that signs intercepted TLS connections; made on first use. Empty when the
    /// system could not make a key.
    pub fn ca_pem(&self) -> String {
        let is_new = self.shared.ca.record().is_none();
        let authority = self.shared.ca.authority();
        let pem = authority.map_or_else(String::new, |authority| authority.pem.clone());
        if is_new {
            self.has_changed();
        }
        pem
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Written by single assignments.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Network {
    fn drop(&mut self) {
        self.close();
    }
}
