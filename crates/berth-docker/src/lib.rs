//! The Docker Engine API over the engine: exactly what workerd calls, and what `berth ps`, `logs`
//! and `exec` use to look into a running session.
//!
//! workerd believes that it talks to a Docker daemon and, per Durable Object, to an egress
//! "sidecar" container. Here both are answered in-process: [`DockerApi`] serves the socket, and a
//! sidecar is a network namespace plus one loopback listener, never a process.
//!
//! | module | its job |
//! |---|---|
//! | `server` | the socket, HTTP/1.1, connections |
//! | `routes` | which request is which operation |
//! | `adopt` | containers and sidecars of a daemon before |
//! | `containers` | application containers: create, start, wait, kill, stop, delete, inspect, list, logs |
//! | `exec` | processes in a running container |
//! | `sidecar` | the egress sidecar: registry, ingress listener, tunnel |
//! | `trace` | where the time of a cold start went |
//! | `archive`, `volumes`, `commit` | files in and out, directory and whole-container snapshots |
//! | `snapshots` | snapshots end some time after their last use |
//! | `helper` | workerd's file-moving containers, which are none |
//! | `images` | listing, naming, removing, pulling |
//! | `system` | what else a Docker client asks |
//! | `client` | our own command line's side of the same socket |
//!
//! Invariants: a request that changes something runs to its end although its client hangs up; a
//! name is free again before its deletion is answered; nothing here outlives
//! [`DockerApi::shutdown`].
#![forbid(unsafe_code)]

mod admission;
mod adopt;
mod api;
mod archive;
mod body;
pub mod client;
mod commit;
mod containers;
mod environment;
mod error;
mod exec;
mod filters;
pub mod frame;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod helper;
mod images;
mod mounts;
mod names;
mod query;
mod respond;
mod routes;
mod server;
mod sidecar;
mod snapshots;
mod system;
mod time;
mod trace;
mod volumes;

pub use snapshots::expire_snapshots;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use berth_engine::{Engine, Kept, Lost, SleepPolicy};
use berth_jail::Limits;
use berth_net::NetworkOptions;

/// Image reference that workerd's configuration gives for the egress sidecar
/// (`containerEngine.localDocker.containerEgressInterceptorImage`). No image of this name is ever
/// stored: a create request for it makes an in-process sidecar.
pub const EGRESS_IMAGE: &str = "berth/egress:latest";

/// Image reference that workerd's configuration gives for the containers of a class whose application has a
/// [`Chooser`]: which image that is, is decided when a container is made, so that workerd goes on when it
/// changes. No image of this name is ever stored.
pub const CLASS_IMAGE: &str = "berth/class:latest";

/// Label of a container with the [`Chosen::version`] that it was made with.
pub const VERSION_LABEL: &str = "dev.berth.version";

/// Label of a container with [`Application::made_for`].
pub const MADE_FOR_LABEL: &str = "dev.berth.made-for";

/// What an instance is made with.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Instead of [`CLASS_IMAGE`].
    pub image: String,
    /// Limits of the instance.
    pub limits: Limits,
    /// For whoever wants to know later.
    pub version: u64,
}

/// Chooses what the instance of an object (64 hex digits) is made with. Called for each that is made; must
/// not block.
#[derive(Clone)]
pub struct Chooser(pub Arc<dyn Fn(&str) -> Chosen + Send + Sync>);

impl std::fmt::Debug for Chooser {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Chooser")
    }
}

/// Variable of a create request with the size that the object asks for, as JSON. workerd 1.20261117.1 keeps
/// `instance` of `ctx.container.start()` to itself; whoever composes the Worker puts it here. Never reaches
/// the container.
pub const INSTANCE_VARIABLE: &str = "BERTH_INSTANCE";

/// From a size to limits.
type Size = dyn Fn(&str) -> Option<Limits> + Send + Sync;

/// What limits a size means (the content of [`INSTANCE_VARIABLE`]); `None`: it is not understood.
#[derive(Clone)]
pub struct Sizer(pub Arc<Size>);

impl std::fmt::Debug for Sizer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Sizer")
    }
}

/// One container application: what the engine must know about a Durable Object class, because
/// workerd's create request carries neither limits nor identity.
#[derive(Clone, Debug)]
pub struct Application {
    /// `uniqueKey` of the Durable Object namespace in workerd's configuration, character by
    /// character as it is there: whoever writes that configuration composes the key, once.
    pub unique_key: String,
    /// The class.
    pub class_name: String,
    /// Limits of one instance that nobody chooses others for.
    pub limits: Limits,
    /// Image and limits of each instance; `None`: workerd names the image, and `limits` are for all.
    pub chooser: Option<Chooser>,
    /// Put into a label of each container, for whoever wants to know later.
    pub made_for: Option<String>,
    /// Understands the sizes that objects ask for; `None`: they may ask for none.
    pub sizer: Option<Sizer>,
    /// When an idle instance goes to sleep; `None`: never.
    pub sleep: Option<SleepPolicy>,
    /// Most instances at the same time.
    pub max_instances: u32,
    /// How long an instance may take to end after SIGTERM; then it is killed.
    pub stop_grace: Duration,
    /// `CLOUDFLARE_APPLICATION_ID`.
    pub application_id: String,
}

/// What containers are told about where they run.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `CLOUDFLARE_DEPLOYMENT_ID`.
    pub deployment_id: String,
    /// `CLOUDFLARE_LOCATION`.
    pub location: String,
    /// `CLOUDFLARE_REGION`.
    pub region: String,
    /// `CLOUDFLARE_COUNTRY_A2`.
    pub country: String,
    /// `CLOUDFLARE_NODE_ID`.
    pub node_id: String,
}

/// The applications of a session; replaced as a whole on reload.
#[derive(Clone, Debug)]
pub struct Applications {
    /// By `unique_key`.
    pub applications: Vec<Application>,
    /// Shared by all of them.
    pub identity: Identity,
    /// Most instances that may start in one second, of all applications together; `None`: any number.
    /// Three seconds' worth may start at once.
    pub starts_per_second: Option<u32>,
}

/// A running API server.
#[derive(Debug)]
pub struct DockerApi {
    api: Arc<api::Api>,
    server: server::Server,
}

impl DockerApi {
    /// Binds the socket (mode 0600) and serves until dropped or [`DockerApi::shutdown`].
    ///
    /// A socket file that nobody listens on is replaced. Fails with `AddrInUse` when another
    /// server answers there, and with the operating system's error when the path cannot be bound.
    pub async fn serve(
        socket: &Path,
        engine: Engine,
        applications: Applications,
    ) -> std::io::Result<Arc<Self>> {
        Self::serve_with(socket, engine, applications, NetworkOptions::default()).await
    }

    /// [`serve`](Self::serve), with options for the networks of its containers.
    pub async fn serve_with(
        socket: &Path,
        engine: Engine,
        applications: Applications,
        networks: NetworkOptions,
    ) -> std::io::Result<Arc<Self>> {
        let api = Arc::new(api::Api::new(engine, applications, networks));
        let server = server::Server::bind(socket, api.clone()).await?;
        Ok(Arc::new(Self { api, server }))
    }

    /// Replaces the applications; containers created from now on use the new ones.
    pub fn set_applications(&self, applications: Applications) {
        self.api.set_applications(applications);
    }

    /// Takes containers over that a daemon before has left, and their sidecars. Why the others were ended.
    pub async fn adopt(&self, kept: Vec<Kept>) -> Vec<Lost> {
        Box::pin(adopt::adopt(&self.api, kept)).await
    }

    /// Stops listening and ends every connection and tunnel: for a server whose containers run on. Nothing is
    /// asked of them any more by anybody.
    pub async fn leave(&self) {
        self.server.close();
        for sidecar in self.api.sidecars.list() {
            // Its network stays.
            sidecar.stop();
        }
        self.api.close().await;
    }

    /// Stops listening, ends every connection, tunnel and sidecar, and removes the socket file.
    /// Containers are the engine's: they are left alone. Waits for the operations under way.
    pub async fn shutdown(&self) {
        self.server.close();
        self.api.sidecars.clear();
        self.api.helpers.clear();
        self.api.close().await;
    }
}

impl Drop for DockerApi {
    fn drop(&mut self) {
        self.server.close();
        self.api.cancel();
        self.api.sidecars.clear();
        self.api.helpers.clear();
    }
}
