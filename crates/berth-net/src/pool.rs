//! Namespaces made ahead: making one takes the kernel a millisecond or more, which is then not
//! part of a container's start.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::namespace::{self, Namespace};
use crate::{Egress, NetError, Network, NetworkOptions};

/// How long nothing must have been taken before what is missing is made.
const QUIET: Duration = Duration::from_millis(50);

/// Keeps a number of namespaces ready. It may be empty at any time: a network is then made from
/// the beginning. What is ready goes with the pool.
#[derive(Debug)]
pub struct NetworkPool {
    stock: Arc<Stock>,
    _filling: DropGuard,
}

#[derive(Debug)]
struct Stock {
    ready: Mutex<Vec<Namespace>>,
    taken: Notify,
    size: usize,
}

impl NetworkPool {
    /// Starts to make `size` namespaces, on the current tokio runtime. Each ready one holds about
    /// ten descriptors.
    pub fn new(size: usize) -> Self {
        let stock = Arc::new(Stock {
            ready: Mutex::default(),
            taken: Notify::new(),
            size,
        });
        let token = CancellationToken::new();
        tokio::spawn({
            let (stock, token) = (Arc::clone(&stock), token.clone());
            async move { token.run_until_cancelled(stock.fill()).await }
        });
        Self {
            stock,
            _filling: token.drop_guard(),
        }
    }

    /// [`Network::create_with`], from what is ready if anything is.
    ///
    /// # Errors
    ///
    /// As [`Network::create_with`].
    pub async fn create(
        &self,
        egress: Egress,
        options: NetworkOptions,
    ) -> Result<Arc<Network>, NetError> {
        let namespace = match self.stock.take() {
            Some(namespace) => namespace,
            None => namespace::create().await?,
        };
        Network::start(namespace, egress, options)
    }

    /// How many are ready now.
    pub fn ready(&self) -> usize {
        self.stock.lock().len()
    }
}

impl Stock {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Namespace>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Namespace> {
        let taken = self.lock().pop();
        // Also when there was none: the last attempt to make some may have failed.
        self.taken.notify_one();
        taken
    }

    /// Fills the stock, now and after something was taken.
    async fn fill(&self) {
        loop {
            while self.lock().len() < self.size {
                match namespace::create().await {
                    Ok(namespace) => self.lock().push(namespace),
                    Err(error) => {
                        tracing::warn!(%error, "could not make a network namespace ahead");
                        break;
                    }
                }
            }
            self.taken.notified().await;
            // Whoever took one is starting a container, and is not to share the CPU with this.
            while tokio::time::timeout(QUIET, self.taken.notified())
                .await
                .is_ok()
            {}
        }
    }
}
