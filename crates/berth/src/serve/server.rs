//! The parts of a server and their order of start and end.
//!
//! Start: the lock, the gateway and the API's listener (so that a taken port is said before anything
//! else is done), records, one workerd for each deployed Worker. End: the other way round; what clients
//! are in the middle of may finish.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use berth_config::ServerConfig;
use berth_control::Control;
use berth_control::worker::Retention;
use berth_engine::TotalLimits;
use berth_error::{Report, ResultExt as _};
use berth_gateway::{Certificates, Challenges, Gateway, GatewayOptions, RequestEvent, Sites};
use berth_logs::Level;
use berth_registry::server::Server as ApiServer;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::admin::{Addresses, Client};
use super::apps::{Apps, Deployed};
use super::assets::Layouts;
use super::certificates::{CertificateKeeper, listener_options};
use super::containers::Containers;
use super::deliver;
use super::health::Health;
use super::host::Machine;
use super::meters::{Meters, Reader};
use super::metrics;
use super::peers::Peers;
use super::plane::DataPlane;
use super::r2;
use super::registry::OwnRegistry;
use super::ssh::Ssh;
use super::watch::{Watch, Watching};
use crate::daemon::Daemon;
use crate::dev::identity;
use crate::dev::screen::Screen;
use crate::dev::session::toolchain;
use crate::lock::Lock;
use crate::paths::Paths;
use crate::store_limit::StoreLimit;

/// A running server.
pub(crate) struct Server {
    gateway: Gateway,
    apps: Arc<Apps>,
    following: tokio::task::JoinHandle<()>,
    delivering: tokio::task::JoinHandle<()>,
    rolling: tokio::task::JoinHandle<()>,
    expiring: tokio::task::JoinHandle<()>,
    serving: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
    buckets: r2::Buckets,
    daemon: Daemon,
    watching: Watching,
    reader: Reader,
    metrics: Option<metrics::Endpoint>,
    pub(crate) client: Client,
    /// The token is new.
    pub(crate) first: bool,
    /// Where Workers answer.
    pub(crate) address: SocketAddr,
    _limit: Option<StoreLimit>,
    _keeper: CertificateKeeper,
    _lock: Lock,
}

impl Server {
    /// Starts it. Every deployed Worker answers on return, or it has been said why not.
    pub(crate) async fn start(
        paths: &Paths,
        config: ServerConfig,
        requests: mpsc::UnboundedSender<RequestEvent>,
    ) -> Result<Self, Report> {
        let directory = paths.data.join("server");
        private(&directory)?;
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
        let (certificates, challenges) =
            (Arc::<Certificates>::default(), Arc::<Challenges>::default());
        certificates.load(&config.tls.certificates)?;
        let gateway_options = GatewayOptions {
            http: config.listen.http.clone(),
            https: config.listen.https.clone(),
            certificates: Arc::clone(&certificates),
            redirect: config.tls.redirect,
            challenges: Arc::clone(&challenges),
            config: config.gateway.clone(),
        };
        let gateway = Gateway::bind(gateway_options, Arc::clone(&sites), requests).await?;
        let options = listener_options(&config, &certificates);
        let listener = ApiServer::bind(config.listen.api, options.clone()).await?;
        let endpoint = r2::Endpoint::bind(config.listen.s3, options.clone()).await?;
        let metrics = metrics::Listener::bind(config.listen.metrics, options).await?;
        let s3 = endpoint.address();
        let key = paths.data.join("keys/control.key");
        let control = Control::open_at(&directory, &key, &r2::place(&config))?;
        control.keep(Retention {
            versions: usize::try_from(config.versions.keep).unwrap_or(usize::MAX),
            max_age: config.versions.max_age,
        });
        control.set_instance_types(config.instance_types.clone());
        let registry =
            OwnRegistry::start(&paths.data, config.listen.registry, &control.account().id).await?;
        let toolchain = toolchain(paths, Screen::Text).await?;
        let services = endpoint.services();
        let keep_for = Some(config.containers.keep_for);
        let daemon = Daemon::start(paths, None, None, services, keep_for);
        let mut daemon = Box::pin(daemon).await?;
        let kept = std::mem::take(&mut daemon.host.kept);
        let lost = std::mem::take(&mut daemon.host.lost);
        let notes = std::mem::take(&mut daemon.host.notes);
        let images_at_api = registry.router();
        let images_max_size = config.images.max_size;
        let addresses = Addresses {
            api: format!("http://{}/client/v4", listener.address()),
            registry: registry.host.clone(),
            certificate: registry.certificate.clone().unwrap_or_default(),
            docker_host: daemon.docker_host(),
            docker: daemon.docker.clone(),
            s3: s3.map(|address| format!("http://{address}")),
        };
        let keeper =
            CertificateKeeper::start(&config, &paths.data, &sites, &certificates, &challenges)?;
        let (client, first) = Client::write(&paths.data, &control, addresses)?;
        let address = gateway.local_addr();
        let (scheme, told, usual) = match gateway.tls_addr() {
            Some(secure) => ("https", secure, 443),
            None => ("http", address, 80),
        };
        let session = &daemon.host.session;
        let buckets = endpoint.serve(&control, &session.dir, &config.base_domain)?;
        let data = directory.join("data");
        private(&data)?;
        let plane = Arc::new(DataPlane {
            health: Health::default(),
            control: control.clone(),
            toolchain: toolchain.clone(),
            directory: data,
            socket: session.dir.join("d"),
            apps: session.dir.join("q"),
            cgroup: session.cgroup.clone(),
            running: tokio::sync::Mutex::default(),
            later: std::sync::Mutex::default(),
        });
        let deliveries = plane.apps.clone();
        let engine = &daemon.host.engine;
        engine.set_total_limits(total_limits(&config));
        let logs = directory.join("logs");
        let (watch, watching) = Watch::start(&logs, &session.dir, engine, &config).await?;
        let reader = Meters::start(&directory, engine, &watch)?;
        let apps = Arc::new(Apps {
            control: control.clone(),
            toolchain,
            directory: directory.join("apps"),
            layouts: Layouts::open(directory.join("assets"))?,
            session: session.dir.clone(),
            cgroup: session.cgroup.clone(),
            containers: Arc::new(Containers::new(
                &daemon.host,
                registry,
                config.deploy.stop_grace,
                Arc::clone(&watch),
                config.containers.fuse,
                control.instance_types(),
            )),
            sites,
            watch,
            config: Arc::new(config),
            scheme,
            port: (told.port() != usual).then_some(told.port()),
            running: Mutex::new(BTreeMap::new()),
            plane,
            peers: Peers::default(),
            leaving: Arc::default(),
        });
        let delivering = deliver::listen(&deliveries, &apps)?;
        let following = tokio::spawn(Arc::clone(&apps).follow());
        control.obey_deployments()?;
        for note in notes {
            apps.watch.say("", None, Level::Error, note);
        }
        apps.take_over(kept, lost).await?;
        apps.sync().await?;
        // What is deployed is held from here on.
        let limit = images_max_size.map(|bytes| StoreLimit::keep(&daemon.host.store, bytes));
        // What does not run has been said.
        let _ = apps.all_settled(Instant::now()).await;
        let rolling = tokio::spawn(super::rollouts::run(Arc::clone(&apps)));
        let machine = Machine {
            apps: Arc::clone(&apps),
            data: paths.data.clone(),
            docker: berth_docker::client::Client::new(&daemon.host.session.socket),
            started: (Instant::now(), berth_control::clock::now()),
            ssh: Ssh::new(control.clone(), daemon.host.engine.clone()),
            meters: Arc::clone(reader.meters()),
            certificates,
        };
        let machine = Arc::new(machine);
        let metrics = metrics.map(|listener| listener.serve(Arc::clone(&machine)));
        let expiring = tokio::spawn(super::snapshots::keep_expiring(daemon.host.engine.clone()));
        let stop = CancellationToken::new();
        let service = Router::new().merge(images_at_api).nest(
            "/client/v4",
            berth_api::router(control, Arc::new(Deployed(Arc::clone(&apps), machine))),
        );
        let serving = tokio::spawn(listener.run(service, stop.clone()));
        Ok(Self {
            gateway,
            apps,
            following,
            delivering,
            rolling,
            expiring,
            serving,
            stop,
            buckets,
            daemon,
            watching,
            reader,
            metrics,
            client,
            first,
            address,
            _keeper: keeper,
            _limit: limit,
            _lock: lock,
        })
    }

    /// Id of its session.
    pub(crate) fn session(&self) -> &str {
        &self.daemon.host.session.id
    }

    /// Where a Worker of this name answers.
    pub(crate) fn app_at(&self, name: &str) -> String {
        self.apps.address(name)
    }

    /// A request has been answered.
    pub(crate) fn count(&self, request: &RequestEvent) {
        self.reader.meters().request(request);
    }

    /// Where figures for Prometheus are.
    pub(crate) fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(metrics::Endpoint::address)
    }

    /// Where they answer with TLS.
    pub(crate) fn tls_address(&self) -> Option<SocketAddr> {
        self.gateway.tls_addr()
    }

    /// Whether SIGTERM ends the server alone.
    pub(crate) fn keeps_on_stop(&self) -> bool {
        self.apps.config.containers.keep_on_stop
    }

    /// Ends everything that runs; what is deployed stays deployed. With `keep` containers run on for the server
    /// after this one, and this process has to end right after.
    pub(crate) async fn end(self, keep: bool) {
        self.apps.leaving.store(keep, Ordering::Relaxed);
        self.stop.cancel();
        if let Some(metrics) = self.metrics {
            metrics.end().await;
        }
        // Only tells that it was cancelled or aborted.
        let _ = self.serving.await;
        self.following.abort();
        self.rolling.abort();
        self.expiring.abort();
        let _ = self.following.await;
        let _ = self.rolling.await;
        self.gateway.shutdown(self.apps.config.gateway.drain).await;
        self.apps.end().await;
        self.buckets.end().await;
        self.delivering.abort();
        let _ = self.delivering.await;
        self.watching.end().await;
        if let Some(containers) = Arc::into_inner(self.apps).map(|apps| apps.containers)
            && let Some(containers) = Arc::into_inner(containers)
        {
            containers.registry.end().await;
        }
        if keep {
            self.daemon.leave().await;
        } else {
            self.daemon.end().await;
        }
        // What containers have used until now, or until their end, is known.
        self.reader.end().await;
    }
}

/// What all containers together may have.
fn total_limits(config: &ServerConfig) -> TotalLimits {
    let limits = &config.limits;
    TotalLimits {
        cpu_milli: limits.vcpu.map(|vcpu| u64::from(identity::cpu_milli(vcpu))),
        memory_bytes: limits.memory,
        disk_bytes: limits.disk,
    }
}

/// Objects, secrets and code of Workers are below it: for its owner only, whatever the umask says.
fn private(directory: &Path) -> Result<(), Report> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let make = || -> std::io::Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(directory)?;
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
    };
    make().context(format!("could not make `{}`", directory.display()))
}
