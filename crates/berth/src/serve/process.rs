//! The workerd of one app, and how another one takes over from it without a failed request.
//!
//! State (Durable Objects, alarms, KV, …) has one owner: a workerd that keeps some ends before the next one
//! opens it. Requests go to it as long as possible: those on the way when the change begins have their time
//! while new ones still go to it; then new ones wait, until the last ones are done, workerd has ended and
//! the next one has started (some 50 ms when it is not busy). A workerd that keeps no state need not end first:
//! the next one runs beside it, and nothing waits.
//!
//! Invariants: at most one workerd has the app's state; when the next one does not start, the former one
//! answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use berth_error::{Report, ResultExt as _};
use berth_gateway::{Count, Epoch, Site};
use berth_workerd::{ConfigFile, Listen, Workerd, WorkerdError, WorkerdEvent, WorkerdOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::assets::Layout;
use super::crash::crash_point;
use super::reach::Reach;
use super::switch::Switch;
use super::watch::Watch;
use crate::dev::worker::lead;

/// Once new requests wait, streams of events that began last may take this long.
const LAST_EVENTS: Duration = Duration::from_secs(2);
/// How long workerd may take to end.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// How the workerds of an app are run.
#[derive(Clone)]
pub(super) struct ProcessOptions {
    pub(super) executable: PathBuf,
    pub(super) directory: PathBuf,
    /// Where the one listens that keeps state; others beside it.
    pub(super) socket: PathBuf,
    /// Requests of a former version may take this long.
    pub(super) drain: Duration,
    pub(super) watch: Arc<Watch>,
    /// The Worker's name.
    pub(super) app: String,
    /// Set when the server ends and containers do not: workerd would take them with it.
    pub(super) leaving: Arc<AtomicBool>,
}

/// A configuration, and where workerd reads it.
#[derive(Debug)]
pub(super) struct Running {
    config: String,
    file: ConfigFile,
    source_map: Option<PathBuf>,
    /// Its assets stay there while it may be started again.
    _layout: Option<Arc<Layout>>,
}

impl Running {
    /// Secrets are in it: it is on no disk.
    pub(super) fn new(
        config: String,
        source_map: Option<PathBuf>,
        layout: Option<Arc<Layout>>,
    ) -> Result<Self, Report> {
        let file = ConfigFile::in_memory(&config);
        let file = file.context("could not keep workerd's configuration in memory")?;
        Ok(Self {
            config,
            file,
            source_map,
            _layout: layout,
        })
    }

    pub(super) fn into_file(self) -> ConfigFile {
        self.file
    }

    fn keeps_state(&self) -> bool {
        berth_workerd::keeps_state(&self.config)
    }
}

/// Which workerd of an app something is about.
pub(super) type Generation = u64;

/// The workerd of an app, if one runs.
pub(super) struct Process {
    options: ProcessOptions,
    site: Arc<Site>,
    reach: watch::Sender<Reach>,
    events: mpsc::UnboundedSender<(Generation, WorkerdEvent)>,
    generation: Generation,
    workerd: Option<Workerd>,
    running: Option<Running>,
    /// The last one that was to take over was killed while it started: it may yet.
    was_killed: bool,
    /// Former ones with requests on the way.
    leaving: JoinSet<()>,
    /// Cancelled: those end at once.
    ending: CancellationToken,
}

impl Process {
    pub(super) fn new(
        options: ProcessOptions,
        site: Arc<Site>,
        reach: watch::Sender<Reach>,
        events: mpsc::UnboundedSender<(Generation, WorkerdEvent)>,
    ) -> Self {
        Self {
            options,
            site,
            reach,
            events,
            generation: 0,
            workerd: None,
            running: None,
            was_killed: false,
            leaving: JoinSet::new(),
            ending: CancellationToken::new(),
        }
    }

    /// Whether a workerd with this configuration is there already.
    pub(super) fn runs(&self, config: &str) -> bool {
        let same = |running: &Running| running.config == config;
        self.workerd.is_some() && self.running.as_ref().is_some_and(same)
    }

    /// Whether this is the one that requests go to.
    pub(super) fn is_current(&self, generation: Generation) -> bool {
        self.generation == generation
    }

    /// Whether the last one that was to take over was killed while it started, which says nothing about it.
    pub(super) fn was_killed(&mut self) -> bool {
        std::mem::take(&mut self.was_killed)
    }

    /// Requests go to it, also after it has crashed and come back.
    pub(super) async fn lead(&self) {
        if let Some(workerd) = &self.workerd {
            self.traced(workerd).await;
            self.lead_to(workerd);
        }
    }

    /// Whoever watches sees the first request that it answers, too.
    async fn traced(&self, workerd: &Workerd) {
        let ProcessOptions { watch, app, .. } = &self.options;
        watch.runs(app, workerd.trace_switch()).await;
    }

    /// Cron and queues call its handlers; from outside nobody does.
    fn lead_to(&self, workerd: &Workerd) -> Option<Epoch> {
        let since = lead(&self.site, workerd);
        self.site.set_triggers(None);
        self.reach.send_replace(Reach::of(workerd));
        self.site.release();
        since
    }

    /// It has ended by itself.
    pub(super) fn crashed(&self) {
        self.reach.send_replace(Reach::Crashed);
    }

    /// Makes a workerd with this configuration answer.
    ///
    /// # Errors
    /// It does not start; the former one answers.
    /// `switch`: its containers change with it.
    pub(super) async fn take_over(
        &mut self,
        new: Running,
        switch: Option<&mut Switch>,
    ) -> Result<(), Report> {
        while self.leaving.try_join_next().is_some() {}
        let stateful = self.running.as_ref().is_some_and(Running::keeps_state);
        if self.workerd.is_some() && stateful {
            self.replace(new, switch).await
        } else {
            // It has no objects, which had containers.
            if let Some(switch) = switch {
                switch.make().await;
            }
            self.start_beside(new).await
        }
    }

    /// Starts it; a former one keeps no state and goes on with what it has.
    async fn start_beside(&mut self, new: Running) -> Result<(), Report> {
        let generation = self.generation + 1;
        let options = WorkerdOptions {
            executable: self.options.executable.clone(),
            config: new.file.clone(),
            listen: Listen::Unix(self.socket(&new, generation)),
            directory: self.options.directory.clone(),
            source_map: new.source_map.clone(),
        };
        let (sender, mut received) = mpsc::unbounded_channel();
        let events = self.events.clone();
        tokio::spawn(async move {
            while let Some(event) = received.recv().await {
                if events.send((generation, event)).is_err() {
                    return;
                }
            }
        });
        let started = Workerd::start(options, sender).await;
        self.was_killed = matches!(started, Err(WorkerdError::Killed));
        let workerd = started?;
        self.traced(&workerd).await;
        let since = self.lead_to(&workerd);
        let former = self.workerd.replace(workerd).zip(self.running.replace(new));
        if let Some(((workerd, running), since)) = former.zip(since) {
            let socket = self.socket(&running, self.generation);
            self.leave(workerd, since, socket);
        }
        self.generation = generation;
        Ok(())
    }

    /// Ends a former one when what it has on the way is done.
    fn leave(&mut self, former: Workerd, since: Epoch, socket: PathBuf) {
        let (site, limit, ending) = (
            Arc::clone(&self.site),
            self.options.drain,
            self.ending.clone(),
        );
        self.leaving.spawn(async move {
            let gone = site.all_gone_before(since, limit);
            if let Some(left) = ending.run_until_cancelled(gone).await
                && left != Count::default()
            {
                tracing::info!(?left, "cut off by a deployment");
            }
            former.stop(STOP_GRACE).await;
            berth_workerd::remove_sockets(&Listen::Unix(socket));
        });
    }

    /// Replaces the one that keeps state; if the new one does not start, by the former.
    async fn replace(
        &mut self,
        new: Running,
        mut switch: Option<&mut Switch>,
    ) -> Result<(), Report> {
        let Some(workerd) = &self.workerd else {
            return Ok(());
        };
        let since = self.site.mark();
        self.site.drain_before(since, self.options.drain).await;
        self.site.hold();
        self.reach.send_replace(Reach::Held);
        let held = Instant::now();
        let last = self
            .site
            .drain_since(since, self.options.drain, LAST_EVENTS)
            .await;
        let left = self.site.drain_before(since, Duration::ZERO).await;
        if last.requests + last.events + left.requests + left.events > 0 {
            tracing::info!(?left, ?last, "cut off by a deployment");
        }
        if let Some(switch) = &mut switch {
            workerd.kill().await;
            crash_point("deploy.between");
            switch.make().await;
        }
        let listen = Listen::Unix(self.socket(&new, self.generation));
        let started = workerd.replace(&new.file, listen).await;
        self.was_killed = matches!(started, Err(WorkerdError::Killed));
        let outcome = started.map_err(Report::from);
        match (&outcome, &self.running) {
            (Ok(()), _) => self.running = Some(new),
            (Err(_), Some(former)) => {
                if let Some(switch) = switch {
                    switch.undo();
                }
                let listen = Listen::Unix(self.socket(former, self.generation));
                // It has answered before: it comes back, now or later.
                if let Err(again) = workerd.restore(&former.file, listen).await {
                    tracing::error!("the former version: {}", Report::from(again).render());
                }
            }
            (Err(_), None) => {}
        }
        if workerd.upstream().borrow().is_some() {
            self.lead().await;
            tracing::debug!(held = ?held.elapsed(), "a new workerd has taken over");
        }
        outcome
    }

    /// One that keeps state has a socket that its configuration names, with others beside it; any other may
    /// run beside one and has its own.
    fn socket(&self, running: &Running, generation: Generation) -> PathBuf {
        if running.keeps_state() {
            return self.options.socket.clone();
        }
        let mut path = self.options.socket.clone().into_os_string();
        path.push(format!(".{generation}"));
        path.into()
    }

    /// Ends what runs.
    pub(super) async fn stop(&mut self) {
        self.options.watch.runs(&self.options.app, None).await;
        self.ending.cancel();
        self.reach.send_replace(Reach::Held);
        if let Some(workerd) = self.workerd.take() {
            if self.options.leaving.load(Ordering::Relaxed) {
                workerd.kill().await;
            }
            workerd.stop(STOP_GRACE).await;
        }
        while self.leaving.join_next().await.is_some() {}
        self.running = None;
        self.ending = CancellationToken::new();
    }
}
