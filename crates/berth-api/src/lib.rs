//! The control plane's HTTP face: the part of Cloudflare's v4 API that wrangler speaks.
//!
//! Paths, envelopes and error codes are Cloudflare's; what wrangler reads of each answer was recorded
//! from wrangler 4.86, 4.125 and 4.164. Every request needs a token. Nothing here decides: that is
//! `berth-control`'s; nothing here runs: that is the [`Runtime`]'s.
//!
//! | module | its job |
//! |---|---|
//! | `describe` | routes that describe themselves; how to add one |
//! | `data` | requests to the data plane |
//! | `envelope` | the form of every answer |
//! | `failure` | errors of the control plane as status and code |
//! | `guard` | who may do what |
//! | `host` | what only Berth has: the machine, commands in containers, backups |
//! | `routes` | one module for each noun |
#![forbid(unsafe_code)]

mod data;
mod describe;
mod envelope;
mod failure;
mod guard;
mod host;
mod routes;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use berth_control::rollout::Seen;
use berth_control::{Control, worker::Worker};
use berth_logs::{Logs, Tails};
use bytes::Bytes;
use http::{Request, Response};

pub use host::{
    Backup, BackupRequest, Exec, ExecControl, ExecOutput, ExecRequest, Host, SshKeys, SshStream,
    UsageRequest,
};

/// Bytes of a request's body; uploads of Workers are the largest.
const BODY_LIMIT: usize = 128 << 20;

/// Whoever runs the Workers.
#[async_trait::async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Whether this state of a Worker starts at all. It is not live yet.
    ///
    /// # Errors
    /// What is wrong, for the author of the Worker.
    async fn check(&self, worker: &Worker) -> Result<(), String>;

    /// Waits until requests are answered by the Worker as it is recorded now, or it is clear that they
    /// will not be.
    ///
    /// # Errors
    /// Why not.
    async fn settled(&self, worker: &str) -> Result<(), String>;

    /// Where a Worker answers, if its subdomain is enabled.
    fn url(&self, worker: &str) -> String;

    /// What is above the Workers' own hosts, without a port.
    fn base_domain(&self) -> String;

    /// Makes sure that an image is on this machine, before anything is made to need it.
    ///
    /// # Errors
    /// Why it is not.
    async fn provide_image(&self, reference: &str) -> Result<(), String>;

    /// A password for the server's own registry, or `None` for any other. Its host is that of the API if it is
    /// not named.
    fn registry_password(
        &self,
        host: Option<&str>,
        push: bool,
        seconds: u64,
    ) -> Option<RegistryPassword>;

    /// Registries of others for which there are credentials. Blocks.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn registries(&self) -> Result<Vec<OtherRegistry>, String>;

    /// Keeps credentials with which images of another registry are pulled; whether there were none. Blocks.
    ///
    /// # Errors
    /// What is wrong with them.
    fn add_registry(&self, registry: &OtherRegistry, secret: &str) -> Result<bool, String>;

    /// Forgets the credentials of a registry, which it answers. Blocks.
    ///
    /// # Errors
    /// Why they cannot be changed.
    fn remove_registry(&self, domain: &str) -> Result<Option<OtherRegistry>, String>;

    /// The containers of a Durable Object namespace.
    fn instances(&self, namespace_id: &str) -> Vec<Instance>;

    /// Waits until everything that runs has been told of queues, secrets of stores and the like as they
    /// are recorded now. `since`: before they were changed.
    ///
    /// # Errors
    /// The records, or Workers that were given something else since then and do not run with it.
    async fn shared_changed(&self, since: Instant) -> Result<(), String>;

    /// Asks the data plane for something of a resource, which the text names as its front has it
    /// (`berth-workerd/src/plane/front.js`).
    ///
    /// # Errors
    /// It does not run.
    async fn data(
        &self,
        resource: &str,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, String>;

    /// Where the data plane keeps what it has.
    fn data_directory(&self) -> PathBuf;

    /// Calls a handler of a Worker past the gateway: `POST path`.
    ///
    /// # Errors
    /// It does not run.
    async fn call(&self, worker: &str, path: &str, body: Bytes) -> Result<Response<Bytes>, String>;

    /// The objects of a Workflow's instances, those that changed last first. Blocks.
    ///
    /// # Errors
    /// They cannot be read.
    fn workflow_objects(&self, worker: &Worker, workflow: &str) -> Result<Vec<Stored>, String>;

    /// The same as a rollout sees them.
    fn seen(&self, namespace_id: &str) -> Vec<Seen>;

    /// Where this machine is.
    fn location(&self) -> String;

    /// The machine itself, for the routes that only Berth has.
    fn host(&self) -> Option<Arc<dyn Host>> {
        None
    }

    /// What Workers and containers say.
    fn logs(&self) -> Logs;

    /// Who watches Workers.
    fn tails(&self) -> Tails;

    /// Waits until a Worker's invocations reach its tails, or it is clear that they will not.
    async fn traced(&self, worker: &str);
}

pub use data::Reason;

/// A user name and a password.
#[derive(Clone)]
pub struct RegistryPassword {
    /// Goes with every password.
    pub user: String,
    /// Says itself what it allows and until when.
    pub password: String,
}

/// A registry of others, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherRegistry {
    /// Host, as image names have it.
    pub domain: String,
    /// `ECR`, `DockerHub`, `GAR` or `default`.
    pub kind: String,
    /// User, access key id or e-mail address.
    pub public: String,
    /// When, RFC 3339.
    pub created: String,
    /// `<store id>:<secret name>` in the Secrets Store, if its secret is from there.
    pub reference: Option<String>,
}

/// An object that is kept on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its id in hexadecimal.
    pub id: String,
    /// When it changed last, in milliseconds since 1970.
    pub modified_ms: u64,
}

/// What a container has used since it was made.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Usage {
    /// Nanoseconds of CPU time.
    pub cpu_ns: u64,
    /// Bytes of memory now.
    pub memory_bytes: u64,
    /// Bytes of its writable disk now, where it has a limit.
    pub disk_bytes: Option<u64>,
    /// Bytes that came in.
    pub ingress_bytes: u64,
    /// Bytes that went out.
    pub egress_bytes: u64,
    /// Milliseconds awake.
    pub running_ms: u64,
    /// Milliseconds asleep.
    pub asleep_ms: u64,
}

/// What a container may use.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Size {
    /// Shares of a CPU.
    pub vcpu: f64,
    /// MiB.
    pub memory_mib: u64,
    /// MB (10^6 bytes).
    pub disk_mb: u64,
}

/// A container.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// Id of its Durable Object.
    pub object: String,
    /// For people.
    pub name: String,
    /// Name of its image.
    pub image: String,
    /// The application's version that it runs with, if that chose its image.
    pub version: Option<u64>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// `running`, `stopped` or `failed`, as the API has it.
    pub state: &'static str,
    /// Since when it is in this state, RFC 3339.
    pub since: String,
    /// Why it has ended or did not start, if that is known.
    pub reason: Option<String>,
    /// What it has used.
    pub usage: Usage,
    /// What it may use.
    pub size: Size,
}

/// What every request needs.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) control: Control,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) transfers: Arc<routes::Transfers>,
    pub(crate) looks: Arc<routes::Looks>,
    pub(crate) ssh: Arc<routes::Tickets>,
}

/// The service, for `/client/v4`.
pub fn router(control: Control, runtime: Arc<dyn Runtime>) -> Router {
    let api = Api {
        control,
        runtime,
        transfers: Arc::default(),
        looks: Arc::default(),
        ssh: Arc::default(),
    };
    routes::all()
        .into_router(api.clone())
        .fallback(envelope::no_route)
        .layer(axum::middleware::from_fn_with_state(
            api.clone(),
            guard::check,
        ))
        // Whoever has its secret may: it cannot be guessed.
        .merge(routes::sockets(api))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
}

/// The description of the API, OpenAPI 3.1; `docs/openapi.json` is it.
pub fn openapi() -> serde_json::Value {
    routes::all().document()
}
