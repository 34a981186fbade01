//! The parts of a dev session and their order of start and end.
//!
//! Start: gateway (so that a taken port is said before anything else is done), the container side
//! ([`Host`]), images and bundle side by side, workerd. End: the other way round.
//! Whatever fails on the way, what was started is ended by dropping or [`DevSession::end`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use berth_config::{LoadOptions, Project, Purpose};
use berth_engine::Engine;
use berth_error::Report;
use berth_gateway::{Gateway, GatewayOptions, RequestEvent, Site, Sites};
use berth_workerd::{
    ClassImages, ContainerOptions, Listen, Toolchain, ToolchainEvent, Workerd, WorkerdEvent,
};
use tokio::sync::mpsc;

use super::event::DevEvent;
use super::images::Images;
use super::screen::Screen;
use super::state_lock::StateLock;
use super::worker::{DRAIN_LIMIT, Worker, WorkerOptions, lead};
use crate::buckets::Buckets;
use crate::cli::DevArgs;
use crate::dev::identity::{self, StopAndStart};
use crate::host::{Host, HostOptions};
use crate::paths::Paths;

/// Requests wait this long for a Worker that starts or reloads: images may be built meanwhile.
const HOLD_LIMIT: Duration = Duration::from_secs(60);

/// How long workerd may take to end its containers when the session ends.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// A running session.
pub(crate) struct DevSession {
    pub(crate) project: Project,
    gateway: Gateway,
    /// The Worker, as the gateway sees it.
    pub(crate) site: Arc<Site>,
    pub(crate) workerd: Option<Arc<Workerd>>,
    worker: Worker,
    images: Images,
    buckets: Buckets,
    host: Host,
    load: LoadOptions,
    deployment_id: String,
    starts: StopAndStart,
    screen: Screen,
    no_containers: bool,
    /// Held as long as workerd may write there.
    state: Option<StateLock>,
}

/// What a session reports while it runs.
pub(crate) struct Streams {
    pub(crate) workerd: mpsc::UnboundedReceiver<WorkerdEvent>,
    pub(crate) requests: mpsc::UnboundedReceiver<RequestEvent>,
}

impl DevSession {
    /// Starts everything. The session answers requests when this returns.
    pub(crate) async fn start(
        args: &DevArgs,
        paths: &Paths,
        screen: Screen,
    ) -> Result<(Self, Streams, Vec<PathBuf>), Report> {
        let (load, project) = load(args, screen)?;
        let (request_events, requests) = mpsc::unbounded_channel();
        let site = Site::new(HOLD_LIMIT);
        let gateway = bind(args, &project, &site, request_events).await?;
        let state = StateLock::take(&state_dir(args, &project)?)?;
        let mut session =
            Self::assemble(args, paths, screen, load, project, (gateway, site)).await?;
        session.state = Some(state);
        let (workerd_events, workerd) = mpsc::unbounded_channel();
        match session.first_worker(workerd_events).await {
            Ok(watch) => Ok((session, Streams { workerd, requests }, watch)),
            Err(report) => {
                session.end().await;
                Err(report)
            }
        }
    }

    /// The configuration of workerd for `--print-config`, without starting anything but builds.
    pub(crate) async fn print_config(
        args: &DevArgs,
        paths: &Paths,
        screen: Screen,
    ) -> Result<String, Report> {
        let (load, project) = load(args, screen)?;
        let (events, _requests) = mpsc::unbounded_channel();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let site = Site::new(HOLD_LIMIT);
        let gateway =
            Gateway::bind(GatewayOptions::at(address), Sites::only(&site), events).await?;
        let mut session =
            Self::assemble(args, paths, screen, load, project, (gateway, site)).await?;
        let prepared = session.prepare_worker().await;
        session.end().await;
        Ok(Worker::config_text(&prepared?).to_owned())
    }

    async fn assemble(
        args: &DevArgs,
        paths: &Paths,
        screen: Screen,
        load: LoadOptions,
        project: Project,
        (gateway, site): (Gateway, Arc<Site>),
    ) -> Result<Self, Report> {
        let toolchain = toolchain(paths, screen).await?;
        let deployment_id = uuid::Uuid::new_v4().to_string();
        let starts = StopAndStart {
            stop_grace: Duration::from_secs(args.stop_grace.into()),
            starts_per_second: args.start_rate,
        };
        let options = HostOptions {
            project: project.root.clone(),
            applications: identity::applications(&project, &deployment_id, starts),
            images_max_size: args.store_limit.images_max_size,
            services: Vec::new(),
            keep_for: None,
        };
        let host = Host::start(paths, options).await?;
        let state_dir = state_dir(args, &project)?;
        let buckets = Buckets::new(&state_dir, &host.session.dir);
        let worker = Worker::new(WorkerOptions {
            toolchain,
            r2: buckets.socket().to_owned(),
            generated_dir: project.root.join(".berth/generated"),
            state_dir,
            listen: Listen::Unix(host.session.dir.join("workerd.sock")),
            screen,
        });
        let images = Images::new(
            host.store.clone(),
            host.zygote.clone(),
            screen,
            args.no_cache,
        );
        Ok(Self {
            project,
            gateway,
            site,
            workerd: None,
            worker,
            images,
            buckets,
            host,
            load,
            deployment_id,
            starts,
            screen,
            no_containers: args.no_containers,
            state: None,
        })
    }

    /// Builds images and bundle, and starts workerd.
    async fn first_worker(
        &mut self,
        events: mpsc::UnboundedSender<WorkerdEvent>,
    ) -> Result<Vec<PathBuf>, Report> {
        let prepared = self.prepare_worker().await?;
        let watch = prepared.watch.clone();
        self.buckets.provide(&self.project).await?;
        let workerd = self
            .worker
            .start(prepared, &self.project.root, events)
            .await?;
        lead(&self.site, &workerd);
        self.workerd = Some(Arc::new(workerd));
        self.site.release();
        Ok(watch)
    }

    /// Images and bundle side by side, then the configuration that names both.
    async fn prepare_worker(&mut self) -> Result<super::worker::Prepared, Report> {
        let Self {
            images,
            worker,
            project,
            ..
        } = self;
        let images = async {
            if containers_wanted(project, self.no_containers) {
                images.prepare(project).await
            } else {
                Ok(BTreeMap::new())
            }
        };
        let (images, bundle) = tokio::try_join!(images, worker.bundle(project))?;
        self.worker.set_containers(self.container_options(images));
        self.worker.prepare(&self.project, &bundle)
    }

    fn container_options(&self, images: BTreeMap<String, ClassImages>) -> Option<ContainerOptions> {
        containers_wanted(&self.project, self.no_containers).then(|| ContainerOptions {
            docker_socket: self.host.session.socket.clone(),
            egress_image: berth_docker::EGRESS_IMAGE.to_owned(),
            session_id: self.host.session.id.clone(),
            fuse: false,
            images,
        })
    }

    /// Bundles again, after reading the configuration again, and replaces workerd if that changed
    /// anything. On an error everything stays as it was. Returns what to watch from now on.
    pub(crate) async fn reload(&mut self) -> Result<(Vec<PathBuf>, bool), Report> {
        let loaded = read(&self.load)?;
        show_warnings(&loaded.warnings, self.screen);
        let former = std::mem::replace(&mut self.project, loaded.project);
        match self.apply().await {
            Ok(done) => Ok(done),
            Err(report) => {
                self.project = former;
                Err(report)
            }
        }
    }

    async fn apply(&mut self) -> Result<(Vec<PathBuf>, bool), Report> {
        let prepared = self.prepare_worker().await?;
        let watch = prepared.watch.clone();
        self.buckets.provide(&self.project).await?;
        self.host.docker.set_applications(identity::applications(
            &self.project,
            &self.deployment_id,
            self.starts,
        ));
        let Some(workerd) = &self.workerd else {
            return Ok((watch, false));
        };
        let replaced = self.worker.replace(prepared, workerd, &self.site).await?;
        Ok((watch, replaced))
    }

    /// Builds the images again and stops every container; the next request starts the new ones.
    /// Requests are answered by the old ones before they end, or wait. Returns how many were stopped.
    pub(crate) async fn rebuild(&mut self) -> Result<usize, Report> {
        self.prepare_worker().await?;
        self.site.hold();
        let unfinished = self.site.drain(DRAIN_LIMIT).await;
        if unfinished > 0 {
            tracing::info!(unfinished, "requests are cut off by the rebuild");
        }
        let stopped = self.stop_all().await;
        self.site.release();
        Ok(stopped)
    }

    async fn stop_all(&self) -> usize {
        let running: Vec<_> = self
            .host
            .engine
            .list()
            .into_iter()
            .filter(|container| container.status == berth_engine::Status::Running)
            .collect();
        let stops = running.iter().map(|container| async {
            let grace = Duration::from_secs(3);
            if let Err(error) = self.host.engine.stop(&container.name, grace).await {
                tracing::debug!(%error, name = container.name, "it was gone already");
            }
        });
        futures_util::future::join_all(stops).await;
        running.len()
    }

    /// The containers.
    pub(crate) fn engine(&self) -> &Engine {
        &self.host.engine
    }

    /// Where the session answers, as a person writes it.
    pub(crate) fn url(&self) -> String {
        let address = self.gateway.local_addr();
        let host = match address.ip() {
            ip if ip.is_unspecified() => "localhost".to_owned(),
            IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(Ipv6Addr::LOCALHOST) => {
                "localhost".to_owned()
            }
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        format!("http://{host}:{}", address.port())
    }

    /// Id of the session.
    pub(crate) fn id(&self) -> &str {
        &self.host.session.id
    }

    /// The session's Docker API socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.host.session.socket
    }

    /// Files of the configuration: their change is a reason to reload as well.
    pub(crate) fn config_files(&self) -> Vec<PathBuf> {
        berth_config::watched_files(&self.project)
    }

    /// The session's cgroup: workerd is put there so that it is found if this process is killed.
    pub(crate) fn cgroup(&self) -> String {
        self.host.session.cgroup.clone()
    }

    /// Ends everything; nothing of the session remains.
    pub(crate) async fn end(self) {
        self.gateway.shutdown(Duration::ZERO).await;
        if let Some(workerd) = &self.workerd {
            workerd.stop(STOP_GRACE).await;
        }
        self.buckets.end().await;
        self.host.end().await;
    }
}

/// Where Durable Objects, KV, D1 and queues keep what they have.
fn state_dir(args: &DevArgs, project: &Project) -> Result<PathBuf, Report> {
    match &args.persist_to {
        Some(directory) => crate::paths::absolute(directory),
        None => Ok(project.root.join(".berth/state")),
    }
}

fn containers_wanted(project: &Project, no_containers: bool) -> bool {
    !no_containers && project.dev.enable_containers && !project.containers.is_empty()
}

fn load(args: &DevArgs, screen: Screen) -> Result<(LoadOptions, Project), Report> {
    let options = LoadOptions {
        directory: crate::paths::absolute(&args.project)?,
        config: args
            .config
            .as_deref()
            .map(crate::paths::absolute)
            .transpose()?,
        environment: args
            .env
            .clone()
            .or_else(|| std::env::var("CLOUDFLARE_ENV").ok()),
        vars: args.vars.clone(),
        max_compatibility_date: Some(berth_workerd::max_compatibility_date()),
        process_env: process_env(),
        purpose: Purpose::Dev,
    };
    let loaded = read(&options)?;
    show_warnings(&loaded.warnings, screen);
    Ok((options, loaded.project))
}

/// Mistakes in a configuration are shown as they are, with their place and line.
fn read(options: &LoadOptions) -> Result<berth_config::Loaded, Report> {
    berth_config::load(options).map_err(|errors| Report::verbatim(errors.render()))
}

/// Variables whose name or value is not text cannot be meant by a configuration.
fn process_env() -> Vec<(String, String)> {
    let text = |value: std::ffi::OsString| value.into_string().ok();
    std::env::vars_os()
        .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
        .collect()
}

fn show_warnings(warnings: &[berth_config::Diagnostic], screen: Screen) {
    for warning in warnings {
        screen.show(&DevEvent::Warning {
            message: warning.render(),
        });
    }
}

async fn bind(
    args: &DevArgs,
    project: &Project,
    site: &Arc<Site>,
    events: mpsc::UnboundedSender<RequestEvent>,
) -> Result<Gateway, Report> {
    let ip = args
        .ip
        .or(project.dev.ip)
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let port = args.port.or(project.dev.port).unwrap_or(8787);
    let address = SocketAddr::from((ip, port));
    Ok(Gateway::bind(GatewayOptions::at(address), Sites::only(site), events).await?)
}

pub(crate) async fn toolchain(paths: &Paths, screen: Screen) -> Result<Toolchain, Report> {
    let progress = move |event| {
        let message = match event {
            ToolchainEvent::Waiting => "waiting for another berth that installs tools".to_owned(),
            ToolchainEvent::Installing(tools) => {
                format!("installing {} from npm (once)", tools.join(", "))
            }
            ToolchainEvent::Output(line) => line,
            ToolchainEvent::Installed => "tools installed".to_owned(),
        };
        screen.show(&DevEvent::Progress { message });
    };
    Ok(Toolchain::ensure(&paths.cache, progress).await?)
}
