//! One deployed Worker: a task that makes what runs the same as what is recorded.
//!
//! Invariants: at most one workerd has a Worker's state; a change that does not start leaves the former
//! one running; objects of a class are deleted only when no workerd that has the class runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use berth_control::Control;
use berth_control::worker::Worker;
use berth_error::Report;
use berth_gateway::Site;
use berth_workerd::{
    ComposeOptions, Listen, LogLevel, Toolchain, Workerd, WorkerdEvent, WorkerdOptions,
};
use tokio::sync::{mpsc, watch};

use super::containers::{Classes, Containers};
use super::project;
use crate::dev::worker::lead;

/// Requests wait this long for a Worker that starts or is replaced.
const HOLD_LIMIT: Duration = Duration::from_secs(30);
/// How long requests may finish before their workerd is replaced under them.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// How long workerd may take to end.
const STOP_GRACE: Duration = Duration::from_secs(5);

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
}

/// A Worker and its container classes.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) worker: Worker,
    pub(super) classes: Classes,
    /// What their instances start with now.
    pub(super) images: BTreeSet<String>,
}

/// What is to run. `None`: nothing, and what it kept goes, too.
type Desired = (u64, Option<Arc<Wanted>>);
/// Up to which desire it has been seen to, and how that went.
type Applied = (u64, Result<(), String>);

/// The handle of an app.
#[derive(Debug)]
pub(super) struct App {
    pub(super) site: Arc<Site>,
    desired: watch::Sender<Desired>,
    applied: watch::Receiver<Applied>,
    /// Ends when the app has.
    pub(super) task: tokio::task::JoinHandle<()>,
}

impl App {
    pub(super) fn start(surroundings: Surroundings) -> Self {
        let site = Site::new(HOLD_LIMIT);
        let (desired, wanted) = watch::channel((0, None));
        let (done, applied) = watch::channel((0, Ok(())));
        let (events, received) = mpsc::unbounded_channel();
        let runner = Runner {
            surroundings,
            site: Arc::clone(&site),
            events,
            workerd: None,
            running: None,
        };
        let task = tokio::spawn(runner.run(wanted, done, received));
        Self {
            site,
            desired,
            applied,
            task,
        }
    }

    /// Says what is to run. What is already wanted is not wanted anew.
    pub(super) fn want(&self, wanted: Option<Wanted>) {
        self.desired.send_if_modified(|(count, present)| {
            let same = match (&present, &wanted) {
                (Some(one), Some(other)) => {
                    one.worker.modified == other.worker.modified
                        && one.classes == other.classes
                        && one.images == other.images
                }
                (None, None) => *count > 0,
                _ => false,
            };
            if !same {
                *count += 1;
                *present = wanted.map(Arc::new);
            }
            !same
        });
    }

    /// Waits until what is wanted now has been seen to.
    pub(super) fn settled(&self) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let wanted = self.desired.borrow().0;
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

/// The configuration that a workerd runs with, and the file that it is in.
#[derive(Debug)]
struct Running {
    config: String,
    path: PathBuf,
}

struct Runner {
    surroundings: Surroundings,
    site: Arc<Site>,
    events: mpsc::UnboundedSender<WorkerdEvent>,
    workerd: Option<Workerd>,
    running: Option<Running>,
}

impl Runner {
    async fn run(
        mut self,
        mut desired: watch::Receiver<Desired>,
        applied: watch::Sender<Applied>,
        mut events: mpsc::UnboundedReceiver<WorkerdEvent>,
    ) {
        loop {
            tokio::select! {
                changed = desired.changed() => {
                    if changed.is_err() {
                        // The server ends; what the app keeps stays.
                        return self.stop().await;
                    }
                    let (count, wanted) = desired.borrow_and_update().clone();
                    let Some(wanted) = wanted else {
                        self.stop().await;
                        self.forget();
                        let _ = applied.send_replace((count, Ok(())));
                        return;
                    };
                    let outcome = self.apply(&wanted).await;
                    if let Err(report) = &outcome {
                        let worker = &wanted.worker.name;
                        tracing::error!(worker, "{}", report.render());
                    }
                    let outcome = outcome.map_err(|report| report.chain().join(": "));
                    let _ = applied.send_replace((count, outcome));
                }
                Some(event) = events.recv() => self.hear(event),
            }
        }
    }

    async fn apply(&mut self, wanted: &Wanted) -> Result<(), Report> {
        let Wanted {
            worker,
            classes,
            images,
        } = wanted;
        if worker.live().is_none() {
            self.stop().await;
            return Ok(());
        }
        let state = self.surroundings.directory.join("state");
        let generated = self.surroundings.directory.join("generated");
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
            generated_dir: generated.clone(),
            listen: listen.clone(),
            containers: containers.options(classes),
        };
        let (config, source_map) = configuration(&self.surroundings.control, worker, &options)?;
        let same = self
            .running
            .as_ref()
            .is_some_and(|running| running.config == config);
        if !same || self.workerd.is_none() {
            let path = write(&generated, &uuid::Uuid::new_v4().to_string(), &config)?;
            self.run_with(Running { config, path }, listen, source_map)
                .await?;
        }
        self.discard(worker, &state);
        Ok(())
    }

    /// Starts workerd, or replaces the one that runs; if the new one does not start, by the former.
    async fn run_with(
        &mut self,
        new: Running,
        listen: Listen,
        source_map: Option<PathBuf>,
    ) -> Result<(), Report> {
        let Some(workerd) = &self.workerd else {
            let options = WorkerdOptions {
                executable: self.surroundings.toolchain.workerd.clone(),
                config: new.path.clone(),
                listen,
                directory: self.surroundings.directory.clone(),
                source_map,
            };
            let workerd = Workerd::start(options, self.events.clone()).await?;
            lead(&self.site, &workerd);
            self.site.release();
            self.workerd = Some(workerd);
            self.running = Some(new);
            return Ok(());
        };
        self.site.hold();
        let unfinished = self.site.drain(DRAIN_LIMIT).await;
        if unfinished > 0 {
            tracing::info!(unfinished, "requests are cut off by a deployment");
        }
        let mut outcome = workerd
            .replace(&new.path, listen.clone())
            .await
            .map_err(Report::from);
        match (&outcome, &self.running) {
            (Ok(()), _) => {
                if let Some(former) = self.running.replace(new) {
                    remove(&former.path);
                }
            }
            (Err(_), Some(former)) => {
                if let Err(again) = workerd.replace(&former.path, listen).await {
                    outcome = Err(Report::from(again));
                }
                remove(&new.path);
            }
            (Err(_), None) => {}
        }
        if workerd.upstream().borrow().is_some() {
            lead(&self.site, workerd);
            self.site.release();
        }
        outcome
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

    fn hear(&self, event: WorkerdEvent) {
        match event {
            WorkerdEvent::Started { pid } => {
                if let Err(error) = berth_jail::adopt_into_session(&self.surroundings.cgroup, pid) {
                    tracing::debug!(%error, pid, "workerd is not in the session's cgroup");
                }
            }
            WorkerdEvent::Ready { .. } => {
                // Also after a crash.
                if let Some(workerd) = &self.workerd {
                    lead(&self.site, workerd);
                    self.site.release();
                }
            }
            WorkerdEvent::Log { level, text } => {
                if level >= LogLevel::Warn {
                    tracing::warn!("{text}");
                } else {
                    tracing::info!("{text}");
                }
            }
            WorkerdEvent::Crashed { status, restart_in } => {
                self.site.hold();
                tracing::error!(status, ?restart_in, "workerd ended");
            }
        }
    }

    async fn stop(&mut self) {
        if let Some(workerd) = self.workerd.take() {
            workerd.stop(STOP_GRACE).await;
        }
        self.running = None;
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

/// Whether a Worker starts at all: tried out with a state of its own that is empty.
pub(super) async fn check(
    control: &Control,
    toolchain: &Toolchain,
    directory: &Path,
    worker: &Worker,
) -> Result<(), Report> {
    let Some(version) = worker.live() else {
        return Ok(());
    };
    let listen = Listen::Unix(directory.join("s"));
    let options = ComposeOptions {
        state_dir: directory.join("state"),
        generated_dir: directory.to_owned(),
        listen: listen.clone(),
        containers: None,
    };
    let (config, source_map) = configuration(control, worker, &options)?;
    let config = write(directory, &version.id, &config)?;
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
    options: &ComposeOptions,
) -> Result<(String, Option<PathBuf>), Report> {
    let Some(version) = worker.live() else {
        let text = format!("nothing of `{}` is deployed", worker.name);
        return Err(Report::new(text, None));
    };
    let (project, bundle) = project::of(control, worker, version, &options.generated_dir)?;
    let config = berth_workerd::compose(&project, &bundle, options)?;
    Ok((config, bundle.source_map))
}

/// A file of its own for each: the former one may have to be started again. Secrets are in it.
fn write(directory: &Path, name: &str, config: &str) -> Result<PathBuf, Report> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = directory.join(format!("{name}.capnp"));
    let write = || -> std::io::Result<()> {
        fs_err::create_dir_all(directory)?;
        remove(&path);
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(config.as_bytes())
    };
    write().map_err(|error| {
        let text = format!(
            "could not write workerd's configuration `{}`",
            path.display()
        );
        Report::from_error(&error).context(text)
    })?;
    Ok(path)
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "an old configuration stays behind");
    }
}
