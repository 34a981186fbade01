//! The Docker Engine API over the engine: exactly what workerd calls, and what `berth ps`, `logs`
//! and `exec` use to look into a running session.
#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Arc;

use berth_engine::Engine;
use berth_jail::Limits;

/// One container application: what the engine must know about a Durable Object class, because
/// workerd's create request carries neither limits nor identity.
#[derive(Clone, Debug)]
pub struct Application {
    /// `uniqueKey` of the Durable Object namespace in workerd's configuration.
    pub unique_key: String,
    /// The class.
    pub class_name: String,
    /// Limits of one instance.
    pub limits: Limits,
    /// Most instances at the same time.
    pub max_instances: u32,
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
}

/// A running API server.
#[derive(Debug)]
pub struct DockerApi {}

#[allow(unused_variables, missing_docs, clippy::todo, clippy::unused_async)]
impl DockerApi {
    /// Binds the socket (mode 0600) and serves until dropped or [`DockerApi::shutdown`].
    pub async fn serve(
        socket: &Path,
        engine: Engine,
        applications: Applications,
    ) -> std::io::Result<Arc<Self>> {
        todo!()
    }
    pub fn set_applications(&self, applications: Applications) {
        todo!()
    }
    pub async fn shutdown(&self) {
        todo!()
    }
}
