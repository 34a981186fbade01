//! Egress sidecars: containers in workerd's eyes, a network and a listener in truth.
//!
//! workerd creates, per Durable Object, a container `<name>-proxy` whose network the application
//! container joins, connects to its published port 39001 for tunnels into the container, and tells
//! it where to send what leaves the container. [`Sidecars`] answers all that without a process.
//!
//! ```text
//! create ─▶ Created (the network exists) ─start─▶ Running (ingress listens) ─stop/kill─▶ Exited
//!                    delete, from anywhere ─▶ network closed, tunnels ended, name free
//! ```
//!
//! Invariants: a sidecar outlives the application containers that join it one after another; its
//! port and its egress settings stay the same for its whole life, because a workerd that replaces
//! a killed one adopts both by name.

mod guard;
mod http;
mod ingress;
mod inside;
mod kept;
mod relay;

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use berth_net::{DnsPolicy, Egress, Network, Upstream};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::api::{Api, lock, random_id};
use crate::body::{CreateContainer, StringOrList};
use crate::error::ApiError;
use crate::names::SIDECAR_SUFFIX;
use crate::trace::{Phase, Step};
use crate::{EGRESS_IMAGE, time};
use inside::Inside;
pub(crate) use kept::SidecarRecord;

#[cfg(any(fuzzing, test))]
pub(crate) use ingress::{
    NoTunnel, Service as IngressService, serve_stream as serve_ingress_stream,
};
#[cfg(any(fuzzing, test))]
pub(crate) use relay::Carried;

/// The port that a sidecar publishes.
pub(crate) const INGRESS_PORT: &str = "39001/tcp";

/// Repository of the sidecar image that wrangler configures.
const UPSTREAM_REPOSITORY: &str = "cloudflare/proxy-everything";

/// Flag with the port of workerd's egress listener.
const EGRESS_PORT_FLAG: &str = "--http-egress-port";

/// Where a sidecar is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SidecarStatus {
    Created,
    Running { port: u16 },
    Exited,
}

impl SidecarStatus {
    /// Docker's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running { .. } => "running",
            Self::Exited => "exited",
        }
    }
}

/// One sidecar.
#[derive(Debug)]
pub(crate) struct Sidecar {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) command: Vec<String>,
    pub(crate) created_ms: u64,
    pub(crate) network: Arc<Network>,
    started_ms: Mutex<Option<u64>>,
    status: Mutex<SidecarStatus>,
    /// Name of the application container that joined last.
    joined: Mutex<Option<String>>,
    /// Cancelled when the ingress must end; deletion included.
    running: CancellationToken,
    removed: CancellationToken,
}

impl Sidecar {
    pub(crate) fn status(&self) -> SidecarStatus {
        *lock(&self.status)
    }

    pub(crate) fn started_ms(&self) -> Option<u64> {
        *lock(&self.started_ms)
    }

    /// The first twelve digits of the id: the host name that a container sees that joins.
    pub(crate) fn hostname(&self) -> String {
        self.id[..12].to_owned()
    }

    /// The application container that tunnels lead to from now on.
    pub(crate) fn join(&self, container: &str) {
        *lock(&self.joined) = Some(container.to_owned());
    }

    fn joined(&self) -> Option<String> {
        lock(&self.joined).clone()
    }

    /// Resolves when the sidecar does not run any more.
    pub(crate) async fn stopped(&self) {
        self.running.cancelled().await;
    }

    /// Resolves when the sidecar is deleted.
    pub(crate) async fn removed(&self) {
        self.removed.cancelled().await;
    }

    /// Opens the ingress. `false`: it is open already.
    pub(crate) async fn start(self: &Arc<Self>, api: &Arc<Api>) -> Result<bool, ApiError> {
        if let SidecarStatus::Running { .. } = self.status() {
            return Ok(false);
        }
        if self.running.is_cancelled() {
            return Err(ApiError::conflict(format!(
                "the sidecar {} has ended: delete and create it",
                self.name
            )));
        }
        let failed = |error: std::io::Error| {
            ApiError::internal(format!("opening the ingress of {}: {error}", self.name))
        };
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .await
            .map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        {
            let mut status = lock(&self.status);
            if *status != SidecarStatus::Created {
                return Ok(false);
            }
            *status = SidecarStatus::Running { port };
            // One that was taken over had begun before.
            lock(&self.started_ms).get_or_insert_with(time::now_ms);
        }
        berth_jail::crash_point("sidecar.listens");
        let inside = Arc::new(Inside::new(api, self.clone()));
        let running = self.running.clone();
        let tasks = api.tasks();
        api.spawn(ingress::serve(listener, inside, tasks, running));
        Ok(true)
    }

    /// Closes the ingress and every tunnel. `false`: it did not run.
    pub(crate) fn stop(&self) -> bool {
        let mut status = lock(&self.status);
        let ran = matches!(*status, SidecarStatus::Running { .. });
        if ran {
            *status = SidecarStatus::Exited;
            self.running.cancel();
        }
        ran
    }

    fn destroy(&self) {
        self.stop();
        self.running.cancel();
        self.network.close();
        self.removed.cancel();
    }
}

/// The sidecars of a server, by name.
#[derive(Debug, Default)]
pub(crate) struct Sidecars {
    by_name: Mutex<HashMap<String, Arc<Sidecar>>>,
}

impl Sidecars {
    /// By name, id or unambiguous start of the id.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Sidecar>> {
        let by_name = lock(&self.by_name);
        if let Some(sidecar) = by_name.get(name) {
            return Some(sidecar.clone());
        }
        let is_id = name.len() >= 4 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut matching = by_name
            .values()
            .filter(|sidecar| is_id && sidecar.id.starts_with(name));
        let found = matching.next()?.clone();
        matching.next().is_none().then_some(found)
    }

    pub(crate) fn list(&self) -> Vec<Arc<Sidecar>> {
        lock(&self.by_name).values().cloned().collect()
    }

    /// Makes the network and registers the name.
    pub(crate) async fn create(
        &self,
        api: &Api,
        name: &str,
        body: CreateContainer,
    ) -> Result<Arc<Sidecar>, ApiError> {
        let in_use =
            || ApiError::conflict(format!("the container name `{name}` is already in use"));
        if lock(&self.by_name).contains_key(name) {
            return Err(in_use());
        }
        let command = body.cmd.map(StringOrList::into_vec).unwrap_or_default();
        let (begun, ahead) = (Instant::now(), api.pool.ready() > 0);
        let network = api
            .pool
            .create(initial_egress(&command), api.networks.clone())
            .await
            .map_err(|error| ApiError::internal(berth_error::chain(&error)))?;
        berth_jail::crash_point("sidecar.network");
        let what = if ahead {
            "namespace, made ahead"
        } else {
            "namespace"
        };
        api.traces
            .record(name, Step::since(begun, Phase::Network, what));
        let sidecar = Arc::new(Sidecar {
            id: random_id(),
            name: name.to_owned(),
            image: body.image,
            labels: body.labels,
            command,
            created_ms: time::now_ms(),
            network,
            started_ms: Mutex::new(None),
            status: Mutex::new(SidecarStatus::Created),
            joined: Mutex::new(None),
            running: CancellationToken::new(),
            removed: CancellationToken::new(),
        });
        let mut by_name = lock(&self.by_name);
        if by_name.contains_key(name) {
            sidecar.network.close();
            return Err(in_use());
        }
        by_name.insert(name.to_owned(), sidecar.clone());
        Ok(sidecar)
    }

    /// Tears a sidecar down; its name is free when this returns.
    pub(crate) fn remove(&self, sidecar: &Sidecar) {
        let mut by_name = lock(&self.by_name);
        if by_name
            .get(&sidecar.name)
            .is_some_and(|found| found.id == sidecar.id)
        {
            by_name.remove(&sidecar.name);
        }
        sidecar.destroy();
        berth_jail::crash_point("sidecar.removed");
    }

    /// Tears all of them down.
    pub(crate) fn clear(&self) {
        for (_, sidecar) in lock(&self.by_name).drain() {
            sidecar.destroy();
        }
    }
}

/// Whether a create request asks for a sidecar: by its name and port, or by its image.
pub(crate) fn is_sidecar(name: &str, body: &CreateContainer) -> bool {
    (name.ends_with(SIDECAR_SUFFIX) && body.exposed_ports.contains_key(INGRESS_PORT))
        || is_sidecar_image(&body.image)
}

/// Whether a reference, with or without tag and digest, names the sidecar image.
pub(crate) fn is_sidecar_image(reference: &str) -> bool {
    let repository = repository(reference);
    repository == UPSTREAM_REPOSITORY || repository == self::repository(EGRESS_IMAGE)
}

/// A reference without registry `docker.io`, tag and digest.
fn repository(reference: &str) -> &str {
    let reference = reference.strip_prefix("docker.io/").unwrap_or(reference);
    let reference = reference
        .split_once('@')
        .map_or(reference, |(name, _)| name);
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => reference,
    }
}

/// Egress until the first `PUT /egress`: every name resolves, connections go to workerd if the
/// command line says where it listens.
fn initial_egress(command: &[String]) -> Egress {
    let port = command
        .iter()
        .position(|argument| argument == EGRESS_PORT_FLAG)
        .and_then(|flag| command.get(flag + 1)?.parse::<u16>().ok());
    Egress {
        upstream: port.map_or(Upstream::Direct, tunnel_to),
        internet: true,
        dns: DnsPolicy {
            allow_hostnames: vec!["*".to_owned()],
        },
    }
}

/// workerd listens on the gateway that `GET /networks/bridge` names: the loopback address.
fn tunnel_to(port: u16) -> Upstream {
    Upstream::Tunnel(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecar_images_with_tags_and_digests() {
        for image in [
            "cloudflare/proxy-everything",
            "cloudflare/proxy-everything:main",
            "docker.io/cloudflare/proxy-everything:3cb1195@sha256:0ef6716c",
            "cloudflare/proxy-everything@sha256:0ef6716c",
            EGRESS_IMAGE,
            "berth/egress",
        ] {
            assert!(is_sidecar_image(image), "{image}");
        }
        for image in [
            "app",
            "evil/cloudflare/proxy-everything",
            "localhost:5000/berth",
        ] {
            assert!(!is_sidecar_image(image), "{image}");
        }
    }

    #[test]
    fn sidecars_by_name_need_their_port() {
        let with_port: CreateContainer =
            crate::body::decode(br#"{"Image":"x","ExposedPorts":{"39001/tcp":{}}}"#).unwrap();
        assert!(is_sidecar("workerd-a-proxy", &with_port));
        assert!(!is_sidecar("workerd-a", &with_port));
        let without = CreateContainer::default();
        assert!(!is_sidecar("workerd-a-proxy", &without));
    }

    #[test]
    fn the_command_line_says_where_workerd_listens() {
        let command = ["--http-egress-port", "11888", "--dns-enabled"].map(str::to_owned);
        assert_eq!(initial_egress(&command).upstream, tunnel_to(11888));
        assert_eq!(initial_egress(&command[2..]).upstream, Upstream::Direct);
        assert_eq!(initial_egress(&command[..1]).upstream, Upstream::Direct);
    }
}
