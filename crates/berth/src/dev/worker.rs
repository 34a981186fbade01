//! The Worker's side of a session: bundle, configuration, workerd, and the gateway in front.

use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_config::Project;
use berth_error::{Report, ResultExt as _};
use berth_gateway::{Epoch, Site};
use berth_workerd::{
    Bundle, Bundler, ComposeOptions, ConfigFile, ContainerOptions, Listen, Toolchain, Workerd,
    WorkerdEvent, WorkerdOptions,
};
use tokio::sync::mpsc;

use super::event::DevEvent;
use super::screen::Screen;

/// How long requests may finish before workerd, or their containers, are replaced under them.
pub(super) const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// A Worker that can be bundled again and again.
#[derive(Debug)]
pub(crate) struct Worker {
    bundler: Bundler,
    toolchain: Toolchain,
    generated_dir: PathBuf,
    state_dir: PathBuf,
    listen: Listen,
    r2: PathBuf,
    containers: Option<ContainerOptions>,
    screen: Screen,
    /// What the running workerd was configured with.
    running: Option<Generation>,
    /// What [`Bundle::notes`] and warnings have said already.
    said: Vec<String>,
}

/// What one workerd process was started with: a change of it is a reason to replace the process.
#[derive(Debug, PartialEq, Eq)]
struct Generation {
    config: String,
    modules: Vec<(PathBuf, Vec<u8>)>,
}

/// A Worker ready to be served.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Files whose change makes it stale.
    pub(crate) watch: Vec<PathBuf>,
    source_map: Option<PathBuf>,
    generation: Generation,
}

/// What does not change while the session lives.
#[derive(Debug)]
pub(crate) struct WorkerOptions {
    pub(crate) toolchain: Toolchain,
    pub(crate) generated_dir: PathBuf,
    pub(crate) state_dir: PathBuf,
    pub(crate) listen: Listen,
    /// Socket of R2 buckets.
    pub(crate) r2: PathBuf,
    pub(crate) screen: Screen,
}

impl Worker {
    /// A Worker that has not been bundled yet.
    pub(crate) fn new(options: WorkerOptions) -> Self {
        let bundler = Bundler::new(&options.toolchain, &options.generated_dir.join("worker"));
        Self {
            bundler,
            toolchain: options.toolchain,
            generated_dir: options.generated_dir,
            state_dir: options.state_dir,
            listen: options.listen,
            r2: options.r2,
            containers: None,
            screen: options.screen,
            running: None,
            said: Vec::new(),
        }
    }

    /// Says which container engine the configuration names; `None`: no containers.
    pub(crate) fn set_containers(&mut self, containers: Option<ContainerOptions>) {
        self.containers = containers;
    }

    /// Bundles the project. Nothing that runs is touched.
    pub(crate) async fn bundle(&mut self, project: &Project) -> Result<Bundle, Report> {
        let bundle = self.bundler.bundle(project).await?;
        for message in &bundle.notes {
            if !self.said.contains(message) {
                self.said.push(message.clone());
                self.screen.show(&DevEvent::Progress {
                    message: message.clone(),
                });
            }
        }
        for message in &bundle.warnings {
            self.screen.show(&DevEvent::Warning {
                message: message.clone(),
            });
        }
        Ok(bundle)
    }

    /// The configuration of a bundled project.
    pub(crate) fn prepare(&self, project: &Project, bundle: &Bundle) -> Result<Prepared, Report> {
        let options = ComposeOptions {
            state_dir: self.state_dir.clone(),
            listen: self.listen.clone(),
            containers: self.containers.clone(),
            r2: self.r2.clone(),
            trace: None,
            server: None,
        };
        let config = berth_workerd::compose(project, bundle, &options)?;
        let modules = bundle
            .modules
            .iter()
            .map(|module| {
                let content =
                    fs_err::read(&module.path).context("could not read a module of the bundle")?;
                Ok((module.path.clone(), content))
            })
            .collect::<Result<_, Report>>()?;
        let generation = Generation { config, modules };
        Ok(Prepared {
            watch: bundle.watch_inputs.clone(),
            source_map: bundle.source_map.clone(),
            generation,
        })
    }

    /// Starts workerd for the first time.
    pub(crate) async fn start(
        &mut self,
        prepared: Prepared,
        directory: &Path,
        events: mpsc::UnboundedSender<WorkerdEvent>,
    ) -> Result<Workerd, Report> {
        let options = WorkerdOptions {
            executable: self.toolchain.workerd.clone(),
            config: self.write(&prepared.generation)?,
            listen: self.listen.clone(),
            directory: directory.to_owned(),
            source_map: prepared.source_map,
        };
        let workerd = Workerd::start(options, events).await?;
        self.running = Some(prepared.generation);
        Ok(workerd)
    }

    /// Replaces the running workerd, unless nothing has changed; requests wait meanwhile, and go on
    /// waiting after a failure, for the next source that works. Returns whether it was replaced.
    pub(crate) async fn replace(
        &mut self,
        prepared: Prepared,
        workerd: &Workerd,
        site: &Site,
    ) -> Result<bool, Report> {
        if self.running.as_ref() == Some(&prepared.generation) {
            return Ok(false);
        }
        let config = self.write(&prepared.generation)?;
        site.hold();
        let unfinished = site.drain(DRAIN_LIMIT).await;
        if unfinished > 0 {
            tracing::info!(unfinished, "requests are cut off by the reload");
        }
        let outcome = workerd.replace(&config, self.listen.clone()).await;
        self.running = outcome.is_ok().then_some(prepared.generation);
        outcome?;
        lead(site, workerd);
        site.release();
        Ok(true)
    }

    /// The text of the configuration, for `--print-config`.
    pub(crate) fn config_text(prepared: &Prepared) -> &str {
        &prepared.generation.config
    }

    fn write(&self, generation: &Generation) -> Result<ConfigFile, Report> {
        let path = self.generated_dir.join("workerd.capnp");
        fs_err::create_dir_all(&self.generated_dir)
            .and_then(|()| fs_err::write(&path, &generation.config))
            .context("could not write workerd's configuration")?;
        Ok(path.into())
    }
}

/// Leads requests to a workerd that listens; from which epoch on, if it does.
pub(crate) fn lead(site: &Site, workerd: &Workerd) -> Option<Epoch> {
    let upstream = workerd.upstream().borrow().clone();
    let since = upstream.map(|upstream| site.set_upstream(gateway_upstream(upstream)));
    site.set_triggers(workerd.triggers().map(gateway_upstream));
    since
}

/// workerd and gateway know nothing of each other: this is the one place that knows both.
pub(crate) fn gateway_upstream(upstream: berth_workerd::Upstream) -> berth_gateway::Upstream {
    match upstream {
        berth_workerd::Upstream::Tcp(address) => berth_gateway::Upstream::Tcp(address),
        berth_workerd::Upstream::Unix(path) => berth_gateway::Upstream::Unix(path),
    }
}
