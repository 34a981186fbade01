//! One deployed Worker: a task that makes what runs the same as what is recorded.
//!
//! Invariants: at most one workerd has a Worker's state; a change that does not start leaves the former
//! one running; objects of a class are deleted only when no workerd that has the class runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use berth_config::ServerConfig;
use berth_control::Control;
use berth_control::containers::Application;
use berth_control::worker::Worker;
use berth_error::{Report, ResultExt as _};
use berth_gateway::Site;
use berth_logs::Level;
use berth_workerd::{
    ComposeOptions, Entrypoint, Listen, LogLevel, Toolchain, Workerd, WorkerdEvent, WorkerdOptions,
};
use tokio::sync::{mpsc, watch};

use super::assets::{Layout, Layouts};
use super::containers::{Classes, Containers};
use super::crash::crash_point;
use super::health::Health;
use super::links::Links;
use super::moves::{Held, Move};
use super::pause::{self, PauseRequest, Paused};
use super::process::{Generation, Process, ProcessOptions, Running};
use super::reach::Reach;
use super::switch::{Answering, Switch};
use super::watch::Watch;
use super::{project, sizes};

/// First pause before a version is started again that somebody killed while it started; it doubles up to the
/// last. The former one, if there is one, goes on meanwhile.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// What an app is run with, whatever its record says.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) control: Control,
    pub(super) toolchain: Toolchain,
    /// `apps/<id>` of the data directory.
    pub(super) directory: PathBuf,
    /// In the session's directory: paths of sockets must be short.
    pub(super) socket: PathBuf,
    /// So that workerd is found if this process is killed.
    pub(super) cgroup: String,
    pub(super) containers: Arc<Containers>,
    /// Socket of R2 buckets.
    pub(super) r2: PathBuf,
    pub(super) layouts: Arc<Layouts>,
    pub(super) watch: Arc<Watch>,
    pub(super) config: Arc<ServerConfig>,
    /// Socket of the data plane.
    pub(super) data_plane: PathBuf,
    /// The Worker's.
    pub(super) name: String,
    /// See [`ProcessOptions::leaving`].
    pub(super) leaving: Arc<AtomicBool>,
}

/// A Worker and its container classes.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) worker: Worker,
    pub(super) classes: Classes,
    /// What their instances start with now.
    pub(super) images: BTreeSet<String>,
    /// What it has of other records.
    pub(super) links: Links,
    /// Of its classes.
    pub(super) applications: Vec<Application>,
    /// Objects that were another Worker's.
    pub(super) moves: Vec<Move>,
}

/// What is to run.
#[derive(Debug)]
struct Desired {
    /// Greater than of all before it.
    count: u64,
    /// When that was said.
    since: Instant,
    /// `None`: nothing, and what it kept goes, too.
    wanted: Option<Arc<Wanted>>,
}

/// Up to which desire it has been seen to, and how that went.
type Applied = (u64, Result<(), String>);

/// The handle of an app.
#[derive(Debug)]
pub(super) struct App {
    pub(super) site: Arc<Site>,
    pub(super) health: Arc<Health>,
    pauses: mpsc::Sender<PauseRequest>,
    pub(super) reach: watch::Receiver<Reach>,
    desired: watch::Sender<Desired>,
    applied: watch::Receiver<Applied>,
    pub(super) answering: Answering,
    pub(super) held: watch::Receiver<Held>,
    /// Ends when the app has.
    pub(super) task: tokio::task::JoinHandle<()>,
}

impl App {
    pub(super) fn start(surroundings: Surroundings) -> Self {
        let site = Site::named(&surroundings.name, surroundings.config.gateway.hold);
        let (desired, wanted) = watch::channel(Desired {
            count: 0,
            since: Instant::now(),
            wanted: None,
        });
        let (done, applied) = watch::channel((0, Ok(())));
        let (reach, reached) = watch::channel(Reach::Held);
        let (events, received) = mpsc::unbounded_channel();
        let (pauses, asked) = mpsc::channel(1);
        let health = Arc::new(Health::default());
        let answering = Answering::default();
        let (holds, held) = watch::channel(Held::new());
        let options = ProcessOptions {
            executable: surroundings.toolchain.workerd.clone(),
            directory: surroundings.directory.clone(),
            socket: surroundings.socket.clone(),
            drain: surroundings.config.deploy.drain,
            watch: Arc::clone(&surroundings.watch),
            app: surroundings.name.clone(),
            leaving: Arc::clone(&surroundings.leaving),
        };
        let runner = Runner {
            process: Process::new(options, Arc::clone(&site), reach, events),
            surroundings,
            site: Arc::clone(&site),
            health: Arc::clone(&health),
            version: None,
            answering: answering.clone(),
            holds,
        };
        let task = tokio::spawn(runner.run(wanted, done, received, asked));
        Self {
            site,
            health,
            pauses,
            reach: reached,
            desired,
            applied,
            answering,
            held,
            task,
        }
    }

    /// Says what is to run. What is already wanted is not wanted anew.
    pub(super) fn want(&self, wanted: Option<Wanted>) {
        self.desired.send_if_modified(|desired| {
            let same = match (&desired.wanted, &wanted) {
                (Some(one), Some(other)) => {
                    one.worker.modified == other.worker.modified
                        && one.classes == other.classes
                        && one.images == other.images
                        && one.links == other.links
                }
                (None, None) => desired.count > 0,
                _ => false,
            };
            if !same {
                desired.count += 1;
                desired.since = Instant::now();
                desired.wanted = wanted.map(Arc::new);
            }
            !same
        });
    }

    /// Stands its workerd still, and every change of it, until the result is dropped; `None`: the server
    /// is ending.
    pub(super) fn pause(&self) -> impl Future<Output = Option<Paused>> + Send + use<> {
        let pauses = self.pauses.clone();
        async move { pause::ask(&pauses).await }
    }

    /// The Worker's name, if something else is wanted of it since then.
    pub(super) fn changed_since(&self, since: Instant) -> Option<String> {
        let desired = self.desired.borrow();
        let wanted = desired.wanted.as_ref()?;
        (desired.since >= since).then(|| wanted.worker.name.clone())
    }

    /// Waits until what is wanted now has been seen to.
    pub(super) fn settled(&self) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let wanted = self.desired.borrow().count;
        let mut applied = self.applied.clone();
        async move {
            let done = applied.wait_for(|(count, _)| *count >= wanted).await;
            match done {
                Ok(applied) => applied.1.clone(),
                Err(_) => Err("the server is ending".to_owned()),
            }
        }
    }
}

struct Runner {
    surroundings: Surroundings,
    site: Arc<Site>,
    health: Arc<Health>,
    process: Process,
    /// Which version runs, or is just being started.
    version: Option<String>,
    answering: Answering,
    holds: watch::Sender<Held>,
}

impl Runner {
    async fn run(
        mut self,
        mut desired: watch::Receiver<Desired>,
        applied: watch::Sender<Applied>,
        mut events: mpsc::UnboundedReceiver<(Generation, WorkerdEvent)>,
        mut pauses: mpsc::Receiver<PauseRequest>,
    ) {
        let (mut again, mut pause) = (None, FIRST_PAUSE);
        loop {
            tokio::select! {
                changed = desired.changed() => {
                    if changed.is_err() {
                        // The server ends; what the app keeps stays.
                        return self.process.stop().await;
                    }
                    pause = FIRST_PAUSE;
                }
                () = sleep_until(again) => pause = (pause * 2).min(LAST_PAUSE),
                Some((generation, event)) = events.recv() => {
                    self.hear(generation, event).await;
                    continue;
                }
                Some(asked) = pauses.recv() => {
                    pause::grant(asked, &self.health).await;
                    continue;
                }
            }
            let (count, wanted) = {
                let desired = desired.borrow_and_update();
                (desired.count, desired.wanted.clone())
            };
            let Some(wanted) = wanted else {
                self.process.stop().await;
                self.forget();
                let _ = applied.send_replace((count, Ok(())));
                return;
            };
            let outcome = self.apply(&wanted).await;
            again = None;
            if let Err(report) = &outcome {
                let worker = &wanted.worker.name;
                tracing::error!(worker, "{}", report.render());
                if self.process.was_killed() {
                    again = Some(tokio::time::Instant::now() + pause);
                }
            }
            let outcome = outcome.map_err(|report| report.chain().join(": "));
            self.health.applied(&outcome);
            let _ = applied.send_replace((count, outcome));
        }
    }

    async fn apply(&mut self, wanted: &Wanted) -> Result<(), Report> {
        let Wanted {
            worker,
            classes,
            images,
            links,
            applications,
            moves,
        } = wanted;
        let Some(version) = worker.live() else {
            self.process.stop().await;
            self.holds.send_replace(Held::new());
            self.health.stopped();
            return Ok(());
        };
        self.receive(&worker.name, moves).await?;
        let state = self.surroundings.directory.join("state");
        let listen = Listen::Unix(self.surroundings.socket.clone());
        let containers = Arc::clone(&self.surroundings.containers);
        for image in images {
            // It was here when it was deployed. Whoever starts an instance without it is told.
            if let Err(report) = containers.provide(image).await {
                tracing::error!(image, "{}", report.render());
            }
        }
        let options = ComposeOptions {
            state_dir: state.clone(),
            listen: listen.clone(),
            containers: containers.options(classes),
            r2: self.surroundings.r2.clone(),
            trace: Some(self.surroundings.watch.trace_options(worker, &version.id)),
            server: Some(links.server_side(
                &self.surroundings.control,
                &self.surroundings.data_plane,
                self.surroundings.config.workers.loopback,
            )?),
        };
        let surroundings = &self.surroundings;
        let layout = surroundings
            .layouts
            .of(&surroundings.control, version)
            .await?;
        private(&surroundings.directory)?;
        let (config, source_map) = configuration(
            &surroundings.control,
            worker,
            &surroundings.directory,
            &options,
            layout.as_deref(),
        )?;
        let mut switch = self.answering.is_before(worker).then(|| {
            let hold = self.surroundings.config.gateway.hold;
            Switch::new(&containers, worker, applications, hold)
        });
        if switch.is_some() || !self.process.runs(&config) {
            let new = Running::new(config, source_map, layout)?;
            let keys: Held = worker.classes.values().map(|it| it.key.clone()).collect();
            self.holds.send_modify(|held| held.extend(keys.clone()));
            let former = self.version.replace(version.id.clone());
            crash_point("deploy.replacing");
            if let Err(report) = self.process.take_over(new, switch.as_mut()).await {
                let text = format!("the version did not start: {}", report.chain().join(": "));
                self.say(Level::Error, text);
                self.version = former;
                return Err(report);
            }
            self.holds.send_replace(keys);
            crash_point("deploy.replaced");
            if former.as_ref() != Some(&version.id) {
                self.say(Level::Info, format!("version {} is live", version.id));
            }
        }
        self.answering.set(worker);
        self.discard(worker, &state);
        Ok(())
    }

    /// Takes objects that were another Worker's into its own directory.
    async fn receive(&self, name: &str, moves: &[Move]) -> Result<(), Report> {
        if moves.is_empty() {
            return Ok(());
        }
        private(&self.surroundings.directory)?;
        for one in moves {
            one.make(&self.surroundings.directory).await?;
        }
        crash_point("class.moved");
        let keys: Vec<String> = moves.iter().map(|one| one.key.clone()).collect();
        let (control, name) = (self.surroundings.control.clone(), name.to_owned());
        let arrived = tokio::task::spawn_blocking(move || control.arrived(&name, &keys)).await;
        arrived.context("the record of a transferred class was not written")??;
        Ok(())
    }

    /// Deletes the objects of classes that were given up; no workerd has them any more.
    fn discard(&self, worker: &Worker, state: &Path) {
        if worker.discarded.is_empty() {
            return;
        }
        let mut gone = Vec::new();
        for key in &worker.discarded {
            match fs_err::remove_dir_all(state.join("do").join(key)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(%error, "objects of a deleted class stay behind");
                }
                _ => gone.push(key.clone()),
            }
        }
        let control = self.surroundings.control.clone();
        let name = worker.name.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = control.discarded(&name, &gone) {
                tracing::debug!(%error, "nobody needs to know any more");
            }
        });
    }

    async fn hear(&self, generation: Generation, event: WorkerdEvent) {
        match event {
            WorkerdEvent::Started { pid } => {
                if self.process.is_current(generation) {
                    self.health.started(pid);
                }
                if let Err(error) = berth_jail::adopt_into_session(&self.surroundings.cgroup, pid) {
                    tracing::debug!(%error, pid, "workerd is not in the session's cgroup");
                }
            }
            // Also after a crash.
            WorkerdEvent::Ready { .. } if self.process.is_current(generation) => {
                self.health.ready();
                self.process.lead().await;
            }
            WorkerdEvent::Log { level, text } => {
                let worker = &self.surroundings.name;
                if level >= LogLevel::Warn {
                    tracing::warn!(worker, "{text}");
                } else {
                    tracing::info!(worker, "{text}");
                }
                // A former one may run beside it, or the next one may just be starting.
                let known = self.process.is_current(generation);
                let version = self.version.as_deref().filter(|_| known);
                let watch = &self.surroundings.watch;
                watch.console(worker, version, level, text);
            }
            WorkerdEvent::Crashed { status, restart_in } if self.process.is_current(generation) => {
                self.site.hold();
                self.health.crashed(&status);
                self.process.crashed();
                tracing::error!(status, ?restart_in, "workerd ended");
                let text = format!("the Worker's process ended ({status}); it is started again");
                self.say(Level::Error, text);
            }
            WorkerdEvent::Ready { .. } | WorkerdEvent::Crashed { .. } => {}
        }
    }

    fn say(&self, level: Level, text: String) {
        let Surroundings { watch, name, .. } = &self.surroundings;
        watch.say(name, self.version.as_deref(), level, text);
    }

    /// The Worker is deleted, and so is everything that it kept.
    fn forget(&self) {
        match fs_err::remove_dir_all(&self.surroundings.directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "what a deleted Worker kept stays behind");
            }
            _ => {}
        }
    }
}

/// Never if there is no time for it.
async fn sleep_until(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Whether a Worker starts at all: tried out with a state of its own that is empty.
pub(super) async fn check(
    control: &Control,
    toolchain: &Toolchain,
    layouts: &Arc<Layouts>,
    (directory, r2): (&Path, &Path),
    worker: &Worker,
    links: &Links,
    data_plane: &Path,
) -> Result<(), Report> {
    let Some(version) = worker.live() else {
        return Ok(());
    };
    let listen = Listen::Unix(directory.join("s"));
    let options = ComposeOptions {
        state_dir: directory.join("state"),
        listen: listen.clone(),
        containers: None,
        r2: r2.to_owned(),
        trace: None,
        server: Some(links.server_side(control, data_plane, false)?),
    };
    let layout = layouts.of(control, version).await?;
    let (config, source_map) =
        configuration(control, worker, directory, &options, layout.as_deref())?;
    let config = Running::new(config, None, None)?.into_file();
    let options = WorkerdOptions {
        executable: toolchain.workerd.clone(),
        config,
        listen,
        directory: directory.to_owned(),
        source_map,
    };
    let (events, _unheard) = mpsc::unbounded_channel();
    let workerd = Workerd::start(options, events).await?;
    workerd.stop(Duration::ZERO).await;
    Ok(())
}

fn configuration(
    control: &Control,
    worker: &Worker,
    directory: &Path,
    options: &ComposeOptions,
    layout: Option<&Layout>,
) -> Result<(String, Option<PathBuf>), Report> {
    let Some(version) = worker.live() else {
        let text = format!("nothing of `{}` is deployed", worker.name);
        return Err(Report::new(text, None));
    };
    let (project, mut bundle) = project::of(control, worker, version, directory, layout)?;
    let entrypoints = options.server.iter().flat_map(|server| &server.entrypoints);
    if entrypoints
        .into_iter()
        .any(|one| *one == Entrypoint::tail())
    {
        let written = berth_workerd::consume_tails(&mut bundle, directory);
        written.context("could not write a module")?;
    }
    if let Some(containers) = &options.containers {
        let images = containers.images.iter();
        let choosing = images.filter(|(_, images)| images.default.is_none());
        let classes: Vec<&str> = choosing.map(|(class, _)| class.as_str()).collect();
        sizes::hand_on(&mut bundle, &classes, directory)?;
    }
    let config = berth_workerd::compose(&project, &bundle, options)?;
    Ok((config, bundle.source_map))
}

/// Where an app keeps what is its own: for its owner only.
fn private(directory: &Path) -> Result<(), Report> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(directory);
    made.context(format!("could not make `{}`", directory.display()))?;
    // Former versions left configurations with secrets there.
    match fs_err::remove_dir_all(directory.join("generated")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Report::from_error(&error))
        }
        _ => Ok(()),
    }
}
