//! What every request sees: the engine, the applications, sidecars and execs.
//!
//! Owner: [`crate::DockerApi`] and the tasks it started. Invariant: every task is started through
//! [`Api::spawn`] or ends with [`Api::cancelled`], so that a shutdown leaves none behind.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use berth_engine::Engine;
use berth_net::{NetworkOptions, NetworkPool};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Applications;
use crate::admission::{Refusals, StartRate};
use crate::exec::Execs;
use crate::helper::Helpers;
use crate::sidecar::Sidecars;
use crate::trace::Traces;

/// Network namespaces made ahead. Each is about ten descriptors and, in the kernel, some hundred
/// KiB.
const NETWORKS_AHEAD: usize = 4;

/// State shared by all requests of one server.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) engine: Engine,
    pub(crate) sidecars: Sidecars,
    pub(crate) helpers: Helpers,
    pub(crate) execs: Execs,
    pub(crate) starts: StartRate,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) traces: Traces,
    /// Namespaces for the next sidecars.
    pub(crate) pool: NetworkPool,
    /// Of every network made here.
    pub(crate) networks: NetworkOptions,
    applications: RwLock<Arc<Applications>>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Api {
    pub(crate) fn new(
        engine: Engine,
        applications: Applications,
        networks: NetworkOptions,
    ) -> Self {
        let api = Self {
            engine,
            networks,
            sidecars: Sidecars::default(),
            helpers: Helpers::default(),
            execs: Execs::default(),
            starts: StartRate::default(),
            refusals: Arc::default(),
            traces: Traces::default(),
            pool: NetworkPool::new(NETWORKS_AHEAD),
            applications: RwLock::new(Arc::new(applications)),
            tasks: TaskTracker::new(),
            cancel: CancellationToken::new(),
        };
        api.expect(&api.applications());
        api
    }

    /// Prepares what the applications' first containers will need.
    fn expect(&self, applications: &Applications) {
        let limits = applications.applications.iter().map(|app| app.limits);
        for bytes in limits.filter_map(|limits| limits.disk_bytes) {
            self.engine.expect_disks(bytes);
        }
    }

    pub(crate) fn applications(&self) -> Arc<Applications> {
        self.applications
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_applications(&self, applications: Applications) {
        self.expect(&applications);
        *self
            .applications
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(applications);
    }

    /// To start tasks that [`Api::close`] waits for.
    pub(crate) fn tasks(&self) -> TaskTracker {
        self.tasks.clone()
    }

    /// Starts a task that [`Api::close`] waits for.
    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Cancelled when the server shuts down.
    pub(crate) fn cancelled(&self) -> CancellationToken {
        self.cancel.clone()
    }

    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
        self.tasks.close();
    }

    pub(crate) async fn close(&self) {
        self.cancel();
        self.tasks.wait().await;
    }
}

/// Locks a mutex whose data stays consistent even if a holder panicked (all writes are single
/// assignments or map operations).
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// 64 random hex digits, as Docker's container and exec ids.
pub(crate) fn random_id() -> String {
    format!(
        "{}{}",
        uuid::Uuid::new_v4().simple(),
        uuid::Uuid::new_v4().simple()
    )
}
