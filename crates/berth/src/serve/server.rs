//! The parts of a server and their order of start and end.
//!
//! Start: the lock, the gateway and the API's listener (so that a taken port is said before anything
//! else is done), records, one workerd for each deployed Worker. End: the other way round; what clients
//! are in the middle of may finish.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use berth_control::Control;
use berth_engine::Session;
use berth_error::{Report, ResultExt as _};
use berth_gateway::{Gateway, GatewayOptions, RequestEvent, Sites};
use berth_registry::server::{Server as ApiServer, ServerOptions};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::admin::Client;
use super::apps::{Apps, Deployed};
use crate::dev::screen::Screen;
use crate::dev::session::toolchain;
use crate::lock::Lock;
use crate::paths::Paths;

/// Requests in flight may take this long when the server ends.
const DRAIN: Duration = Duration::from_secs(10);

/// What a server is started with.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Where Workers answer.
    pub(crate) listen: SocketAddr,
    /// Where the API answers.
    pub(crate) api: SocketAddr,
    /// Workers answer at `<name>.<base domain>`.
    pub(crate) base_domain: String,
}

/// A running server.
pub(crate) struct Server {
    gateway: Gateway,
    apps: Arc<Apps>,
    following: tokio::task::JoinHandle<()>,
    serving: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
    session: Session,
    pub(crate) client: Client,
    /// The token is new.
    pub(crate) first: bool,
    /// Where Workers answer.
    pub(crate) address: SocketAddr,
    _lock: Lock,
}

impl Server {
    /// Starts it. Every deployed Worker answers on return, or it has been said why not.
    pub(crate) async fn start(
        paths: &Paths,
        options: Options,
        requests: mpsc::UnboundedSender<RequestEvent>,
    ) -> Result<Self, Report> {
        let directory = paths.data.join("server");
        let Some(lock) = Lock::take(&directory.join("lock"))? else {
            return Err(Report::new(
                format!(
                    "another `berth serve` uses the data directory `{}`",
                    paths.data.display()
                ),
                Some("use that one, or name another directory with `--data-dir`".to_owned()),
            ));
        };
        let sites: Arc<Sites> = Arc::default();
        let gateway_options = GatewayOptions {
            address: options.listen,
        };
        let gateway = Gateway::bind(gateway_options, Arc::clone(&sites), requests).await?;
        let listener = ApiServer::bind(options.api, ServerOptions::default()).await?;
        let control = Control::open(&directory, &paths.data.join("keys/control.key"))?;
        let api = format!("http://{}/client/v4", listener.address());
        let (client, first) = Client::write(&paths.data, &control, api)?;
        let toolchain = toolchain(paths, Screen::Text).await?;
        for dead in berth_engine::sweep(&paths.sessions())? {
            tracing::info!(session = dead, "cleaned up after a server that was killed");
        }
        let session = Session::create(&paths.sessions(), &PathBuf::from("/"))?;
        let address = gateway.local_addr();
        let apps = Arc::new(Apps {
            control: control.clone(),
            toolchain,
            directory: directory.join("apps"),
            session: session.dir.clone(),
            cgroup: session.cgroup.clone(),
            sites,
            base_domain: options.base_domain,
            port: (address.port() != 80).then_some(address.port()),
            running: Mutex::new(BTreeMap::new()),
        });
        let following = tokio::spawn(Arc::clone(&apps).follow());
        apps.sync().await?;
        apps.all_settled().await;
        let stop = CancellationToken::new();
        let service = Router::new().nest(
            "/client/v4",
            berth_api::router(control, Arc::new(Deployed(Arc::clone(&apps)))),
        );
        let serving = tokio::spawn(listener.run(service, stop.clone()));
        Ok(Self {
            gateway,
            apps,
            following,
            serving,
            stop,
            session,
            client,
            first,
            address,
            _lock: lock,
        })
    }

    /// Id of its session.
    pub(crate) fn session(&self) -> &str {
        &self.session.id
    }

    /// What follows a Worker's name in the address at which it answers.
    pub(crate) fn apps_at(&self) -> String {
        match self.apps.port {
            Some(port) => format!("{}:{port}", self.apps.base_domain),
            None => self.apps.base_domain.clone(),
        }
    }

    /// Ends everything that runs; what is deployed stays deployed.
    pub(crate) async fn end(self) -> Result<(), Report> {
        self.stop.cancel();
        // Only tells that it was cancelled or aborted.
        let _ = self.serving.await;
        self.following.abort();
        let _ = self.following.await;
        self.gateway.shutdown(DRAIN).await;
        self.apps.end().await;
        let cgroup = self.session.cgroup.clone();
        let swept = tokio::task::spawn_blocking(move || berth_jail::sweep_session(&cgroup)).await;
        if let Ok(Err(error)) = swept {
            tracing::warn!(%error, "the session's control group stays behind");
        }
        self.session
            .remove()
            .context("could not remove the session's directory")
    }
}
