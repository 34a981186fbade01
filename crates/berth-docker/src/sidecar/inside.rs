//! What a sidecar's ingress leads to: the joined container's ports and the network's egress.

use std::sync::Arc;

use berth_engine::Engine;
use berth_net::NetworkUsage;
use tokio::net::TcpStream;

use super::ingress::{NoTunnel, Service};
use super::relay::Carried;
use super::{Sidecar, tunnel_to};
use crate::admission::Refusals;
use crate::api::lock;
use crate::body::UpdateEgress;

/// The real [`Service`].
#[derive(Debug)]
pub(crate) struct Inside {
    engine: Engine,
    sidecar: Arc<Sidecar>,
    refusals: Arc<Refusals>,
}

impl Inside {
    pub(crate) fn new(engine: Engine, sidecar: Arc<Sidecar>, refusals: Arc<Refusals>) -> Self {
        Self {
            engine,
            sidecar,
            refusals,
        }
    }
}

impl Service for Inside {
    /// The engine holds the connection while the container starts up.
    async fn connect(&self, port: u16) -> Result<TcpStream, NoTunnel> {
        let Some(container) = self.sidecar.joined() else {
            return Err(NoTunnel::NotListening("no container has joined".to_owned()));
        };
        if let Some(error) = self.refusals.of(&container) {
            return Err(NoTunnel::NotStarted(error.message));
        }
        self.engine
            .connect(&container, port)
            .await
            .map_err(|error| NoTunnel::NotListening(berth_error::chain(&error)))
    }

    /// Merges into the settings in force: workerd leaves out what it does not know, which after an
    /// adoption is everything but the port.
    fn configure(&self, update: UpdateEgress) {
        let _one_at_a_time = lock(&self.sidecar.status);
        let mut egress = self.sidecar.network.egress();
        if let Some(port) = update.port {
            egress.upstream = tunnel_to(port);
        }
        if let Some(dns) = update.dns {
            egress.dns.allow_hostnames = dns.allow_hostnames;
        }
        if let Some(internet) = update.internet {
            egress.internet = internet.enabled;
        }
        self.sidecar.network.set_egress(egress);
    }

    fn carried(&self, bytes: Carried) {
        let mut usage = NetworkUsage::default();
        match bytes {
            Carried::In(count) => usage.ingress_bytes = count as u64,
            Carried::Out(count) => usage.egress_bytes = count as u64,
        }
        self.sidecar.network.count(usage);
    }

    fn ca_pem(&self) -> String {
        self.sidecar.network.ca_pem()
    }
}
