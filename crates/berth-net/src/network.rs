//! One network sandbox and its tasks.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::ca::Ca;
use crate::capture::Capture;
use crate::dns::Names;
use crate::ingress::Ingress;
use crate::namespace::Namespace;
use crate::usage::Counters;
use crate::{Egress, NetError, NetworkOptions, NetworkUsage, egress, namespace, udp};

/// One network sandbox: namespace, egress proxy, resolver.
#[derive(Debug)]
pub struct Network {
    namespace: Arc<OwnedFd>,
    shared: Arc<Shared>,
    ingress: Ingress,
    capture: Mutex<Option<Capture>>,
}

/// What the tasks of a network share with its handle.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) token: CancellationToken,
    pub(crate) options: NetworkOptions,
    pub(crate) counters: Counters,
    pub(crate) ca: Ca,
    policy: RwLock<Arc<Policy>>,
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
    pub(crate) fn new(egress: Egress, options: NetworkOptions) -> Self {
        Self {
            token: CancellationToken::new(),
            options,
            counters: Counters::default(),
            ca: Ca::default(),
            policy: RwLock::new(Policy::new(egress)),
        }
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

    /// Starts the tasks of a namespace.
    pub(crate) fn start(
        namespace: Namespace,
        egress: Egress,
        options: NetworkOptions,
    ) -> Result<Arc<Self>, NetError> {
        let shared = Arc::new(Shared::new(egress, options));
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
        }))
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
        let mut current = self
            .shared
            .policy
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = policy;
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
        let capture = self
            .capture
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(capture);
    }

    /// PEM of the CA that signs intercepted TLS connections; made on first use. Empty when the
    /// system could not make a key.
    pub fn ca_pem(&self) -> String {
        let authority = self.shared.ca.authority();
        authority.map_or_else(String::new, |authority| authority.certificate.pem())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.close();
    }
}
