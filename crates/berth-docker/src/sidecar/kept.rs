//! Sidecars that outlive their daemon, with the containers that have joined them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use berth_net::Network;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Sidecar, SidecarStatus, Sidecars};
use crate::api::{Api, lock};
use crate::error::ApiError;

/// What of a sidecar a daemon leaves to the next one, with the container that has joined it. Its network and
/// settings are kept with the container itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SidecarRecord {
    id: String,
    pub(crate) name: String,
    image: String,
    labels: BTreeMap<String, String>,
    command: Vec<String>,
    created_ms: u64,
    started_ms: Option<u64>,
}

impl Sidecar {
    /// For the next daemon.
    pub(crate) fn record(&self) -> SidecarRecord {
        SidecarRecord {
            id: self.id.clone(),
            name: self.name.clone(),
            image: self.image.clone(),
            labels: self.labels.clone(),
            command: self.command.clone(),
            created_ms: self.created_ms,
            started_ms: self.started_ms(),
        }
    }
}

impl Sidecars {
    /// Takes a sidecar of the daemon before over, and opens its ingress again, at another port: workerd, which
    /// is another one, too, asks for it. `None`: there is one of that name.
    pub(crate) async fn adopt(
        &self,
        api: &Arc<Api>,
        record: SidecarRecord,
        network: Arc<Network>,
        joined: &str,
    ) -> Result<Option<Arc<Sidecar>>, ApiError> {
        let sidecar = Arc::new(Sidecar {
            id: record.id,
            name: record.name,
            image: record.image,
            labels: record.labels,
            command: record.command,
            created_ms: record.created_ms,
            network,
            started_ms: Mutex::new(record.started_ms),
            status: Mutex::new(SidecarStatus::Created),
            joined: Mutex::new(Some(joined.to_owned())),
            running: CancellationToken::new(),
            removed: CancellationToken::new(),
        });
        {
            let mut by_name = lock(&self.by_name);
            if by_name.contains_key(&sidecar.name) {
                return Ok(None);
            }
            by_name.insert(sidecar.name.clone(), sidecar.clone());
        }
        if let Err(error) = sidecar.start(api).await {
            self.remove(&sidecar);
            return Err(error);
        }
        Ok(Some(sidecar))
    }
}
