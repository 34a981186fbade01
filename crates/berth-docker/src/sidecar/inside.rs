//! What a sidecar's ingress leads to: the joined container's ports and the network's egress.

use std::sync::{Arc, Weak};

use berth_engine::Connected;
use berth_net::NetworkUsage;
use tokio::net::TcpStream;

use super::ingress::{NoTunnel, Service};
use super::relay::Carried;
use super::{Sidecar, tunnel_to};
use crate::admission::Refusals;
use crate::api::{Api, lock};
use crate::body::UpdateEgress;
use crate::trace::Step;

/// The real [`Service`].
#[derive(Debug)]
pub(crate) struct Inside {
    api: Weak<Api>,
    sidecar: Arc<Sidecar>,
    refusals: Arc<Refusals>,
}

impl Inside {
    pub(crate) fn new(api: &Arc<Api>, sidecar: Arc<Sidecar>) -> Self {
        Self {
            refusals: api.refusals.clone(),
            // The server's tasks must not keep it.
            api: Arc::downgrade(api),
            sidecar,
        }
    }
}

impl Service for Inside {
    type Traffic = Connected;

    /// The engine holds the connection while the container starts up.
    async fn connect(&self, port: u16) -> Result<(TcpStream, Connected), NoTunnel> {
        let because = |cause: &str| NoTunnel::NotListening(cause.to_owned());
        let joined = self.sidecar.joined();
        let container = joined.ok_or_else(|| because("no container has joined"))?;
        if let Some(error) = self.refusals.of(&container) {
            return Err(NoTunnel::NotStarted(error.message));
        }
        let api = self.api.upgrade();
        let api = api.ok_or_else(|| because("the session is ending"))?;
        let tunnel = api.engine.connect(&container, port).await;
        let tunnel = tunnel.map_err(|error| because(&berth_error::chain(&error)))?;
        Ok((tunnel.stream, tunnel.traffic))
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

    fn carried(&self, traffic: &Connected, piece: Carried<'_>) {
        let mut usage = NetworkUsage::default();
        match piece {
            Carried::In(bytes) => {
                usage.ingress_bytes = bytes.len() as u64;
                traffic.inbound();
            }
            Carried::Out(bytes) => {
                usage.egress_bytes = bytes.len() as u64;
                traffic.outbound(bytes);
            }
            Carried::End => traffic.finished(),
        }
        self.sidecar.network.count(usage);
    }

    fn gives_way(&self, traffic: &Connected) -> bool {
        traffic.gives_way()
    }

    fn traced(&self, step: Step) {
        if let Some(api) = self.api.upgrade() {
            api.traces.record(&self.sidecar.name, step);
        }
    }

    fn ca_pem(&self) -> String {
        self.sidecar.network.ca_pem()
    }
}
