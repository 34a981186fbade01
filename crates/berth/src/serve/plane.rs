//! The data plane: one workerd that keeps the KV namespaces, D1 databases and queues of all Workers.
//!
//! It is started when there is the first of them. Invariants: at most one has the state; its
//! configuration is written before it is told of a change, so that it is right after a crash, too.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use berth_control::resources::Queue;
use berth_control::{Control, ControlError};
use berth_error::{Report, ResultExt as _};
use berth_workerd::{
    ConfigFile, ConsumerPlan, Listen, LogLevel, PlaneOptions, QueuePlan, RESOURCE_HEADER,
    Toolchain, Workerd, WorkerdEvent, WorkerdOptions,
};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::health::Health;
use super::unix::{self, SendError};

/// How long a request waits for it while it starts again.
const WAIT: Duration = Duration::from_secs(10);
/// Pause before a request is tried again that found nobody.
const RETRY: Duration = Duration::from_millis(20);
/// How workerd begins to tell of an exception that a Durable Object's caller gets.
const UNCAUGHT: &str = "Uncaught (in promise)";
/// First pause before it is started again that could not be started; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// How often it is told of the queues while it ends in the middle of that.
const TELLS: usize = 5;
/// How long it may take to end.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Where it is, and what it is run with.
pub(super) struct DataPlane {
    pub(super) control: Control,
    pub(super) toolchain: Toolchain,
    /// `<data>/server/data`.
    pub(super) directory: PathBuf,
    /// The socket that it listens on.
    pub(super) socket: PathBuf,
    /// The socket of whoever takes the queues' messages to the Workers.
    pub(super) apps: PathBuf,
    /// So that it is found if this process is killed.
    pub(super) cgroup: String,
    pub(super) health: Health,
    pub(super) running: Mutex<Option<Running>>,
    /// Tries again what did not work.
    pub(super) later: std::sync::Mutex<Option<JoinHandle<()>>>,
}

/// The process, and what it was told last.
pub(super) struct Running {
    workerd: Workerd,
    plan: QueuePlan,
}

impl DataPlane {
    /// Starts it if there is something to keep; tells it how the queues deliver now.
    pub(super) async fn sync(self: &Arc<Self>) -> Result<(), Report> {
        let mut running = self.running.lock().await;
        let control = self.control.clone();
        let read = tokio::task::spawn_blocking(move || wanted(&control)).await;
        let (needed, plan) = read.context("could not read the queues")??;
        match &mut *running {
            None if needed => *running = Some(self.start(plan).await?),
            Some(running) if running.plan != plan => {
                self.write(&plan)?;
                self.tell(&plan).await?;
                running.plan = plan;
            }
            _ => {}
        }
        Ok(())
    }

    /// [`DataPlane::sync`], and if it does not work again later: Workers reach it without asking us.
    pub(super) async fn sync_or_later(self: &Arc<Self>) {
        let Err(report) = self.sync().await else {
            return;
        };
        tracing::error!("{}", report.render());
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        if later.as_ref().is_none_or(JoinHandle::is_finished) {
            *later = Some(tokio::spawn(sync_later(Arc::downgrade(self))));
        }
    }

    /// Asks for something of a resource.
    ///
    /// # Errors
    /// It does not run, or ended in the middle of it.
    pub(super) async fn send(
        self: &Arc<Self>,
        resource: &str,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, Report> {
        if self.running.lock().await.is_none() {
            self.sync().await?;
        }
        self.ask(resource, request).await
    }

    /// Ends it; what it keeps stays.
    pub(super) async fn end(&self) {
        let later = {
            let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
            later.take()
        };
        if let Some(later) = later {
            later.abort();
            let _ = later.await;
        }
        if let Some(running) = self.running.lock().await.take() {
            running.workerd.stop(STOP_GRACE).await;
        }
    }

    async fn start(self: &Arc<Self>, plan: QueuePlan) -> Result<Running, Report> {
        let config = self.write(&plan)?;
        let options = WorkerdOptions {
            executable: self.toolchain.workerd.clone(),
            config: ConfigFile::from(config),
            listen: Listen::Unix(self.socket.clone()),
            directory: self.directory.clone(),
            source_map: None,
        };
        let (events, received) = mpsc::unbounded_channel();
        tokio::spawn(hear(Arc::downgrade(self), received));
        let workerd = Workerd::start(options, events).await?;
        // A queue may have been given a consumer while it did not run.
        if let Err(report) = self.tell(&plan).await {
            workerd.stop(STOP_GRACE).await;
            return Err(report);
        }
        Ok(Running { workerd, plan })
    }

    /// Writes the configuration, which has no secrets.
    fn write(&self, plan: &QueuePlan) -> Result<PathBuf, Report> {
        let options = PlaneOptions {
            state_dir: self.directory.clone(),
            listen: self.socket.clone(),
            apps: self.apps.clone(),
            queues: plan.clone(),
        };
        let text = berth_workerd::compose_plane(&options)?;
        let path = self.directory.join("workerd.capnp");
        let new = self.directory.join("workerd.capnp.new");
        fs_err::write(&new, text)
            .and_then(|()| fs_err::rename(&new, &path))
            .context("could not write the data plane's configuration")?;
        Ok(path)
    }

    async fn tell(&self, plan: &QueuePlan) -> Result<(), Report> {
        let body = serde_json::to_vec(plan).context("the queues are not JSON")?;
        let request = Request::builder().method(Method::PUT).uri("/");
        let request = request.body(body.into()).context("no request")?;
        let mut asked = self.ask("admin/queue/settings", request.clone()).await;
        for _ in 1..TELLS {
            if asked.is_ok() {
                break;
            }
            asked = self.ask("admin/queue/settings", request.clone()).await;
        }
        let response = asked?;
        if response.status().is_success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(response.body()).into_owned();
        Err(Report::new(
            format!("the data plane refuses the queues: {text}"),
            None,
        ))
    }

    async fn ask(
        &self,
        resource: &str,
        mut request: Request<Bytes>,
    ) -> Result<Response<Bytes>, Report> {
        let name = HeaderValue::from_str(resource).context("a resource's name is no header")?;
        request.headers_mut().insert(RESOURCE_HEADER, name);
        let deadline = Instant::now() + WAIT;
        loop {
            match unix::send(&self.socket, request.clone()).await {
                Ok(response) => return Ok(response),
                Err(SendError::Unsent(_)) if Instant::now() < deadline => {
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => {
                    return Err(Report::new(format!("the data plane: {error}"), None));
                }
            }
        }
    }
}

/// Whether anything is kept, and how the queues deliver.
fn wanted(control: &Control) -> Result<(bool, QueuePlan), ControlError> {
    let queues = control.queues()?;
    let needed = !queues.is_empty()
        || !control.kv_namespaces()?.is_empty()
        || !control.databases()?.is_empty();
    Ok((needed, plan(&queues)))
}

async fn sync_later(plane: Weak<DataPlane>) {
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        let Some(plane) = plane.upgrade() else {
            return;
        };
        match plane.sync().await {
            Ok(()) => return,
            Err(report) => tracing::error!("{}", report.render()),
        }
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

fn plan(queues: &[Queue]) -> QueuePlan {
    let mut plan = QueuePlan::default();
    for queue in queues {
        if queue.settings.delivery_delay > 0 {
            let delay = queue.settings.delivery_delay;
            plan.delays.insert(queue.name.clone(), delay);
        }
        let consumer = queue.consumers.first();
        let Some(consumer) = consumer.filter(|_| !queue.settings.delivery_paused) else {
            continue;
        };
        let settings = consumer.settings;
        let wait = settings.max_wait_time_ms.unwrap_or(5_000);
        let consumer = ConsumerPlan {
            max_batch_size: settings.batch_size.unwrap_or(10),
            max_batch_timeout: f64::from(wait) / 1000.0,
            max_retries: settings.max_retries.unwrap_or(3),
            dead_letter_queue: consumer.dead_letter_queue.clone().unwrap_or_default(),
            retry_delay: settings.retry_delay.unwrap_or(0),
            max_concurrency: settings.max_concurrency.unwrap_or(0),
        };
        plan.consumers.insert(queue.name.clone(), consumer);
    }
    plan
}

/// Puts its processes where they belong, shows what it says, tells a new one of the queues.
async fn hear(plane: Weak<DataPlane>, mut events: mpsc::UnboundedReceiver<WorkerdEvent>) {
    let mut started = false;
    while let Some(event) = events.recv().await {
        let Some(plane) = plane.upgrade() else {
            return;
        };
        match event {
            WorkerdEvent::Started { pid } => {
                plane.health.started(pid);
                if let Err(error) = berth_jail::adopt_into_session(&plane.cgroup, pid) {
                    tracing::debug!(%error, pid, "the data plane is not in the session's cgroup");
                }
            }
            WorkerdEvent::Ready { .. } if started => {
                tokio::spawn(async move {
                    let running = plane.running.lock().await;
                    let plan = running.as_ref().map(|running| running.plan.clone());
                    if let Some(plan) = plan
                        && let Err(report) = plane.tell(&plan).await
                    {
                        tracing::error!("{}", report.render());
                    }
                });
            }
            WorkerdEvent::Ready { .. } => started = true,
            // SQL that fails is told to whoever sent it.
            WorkerdEvent::Log { level, text }
                if level >= LogLevel::Warn && !text.starts_with(UNCAUGHT) =>
            {
                tracing::warn!("data plane: {text}");
            }
            WorkerdEvent::Log { text, .. } => tracing::debug!("data plane: {text}"),
            WorkerdEvent::Crashed { status, restart_in } => {
                plane.health.crashed(&status);
                tracing::error!(status, ?restart_in, "the data plane ended");
            }
        }
    }
}
