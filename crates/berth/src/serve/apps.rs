//! Which Workers are to run, and where they are reached: the records compared with what runs.
//!
//! Woken by every change of the records. Invariant: when [`Apps::sync`] returns, every app has been told
//! of the records as they were when it was called, and the gateway of the hosts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use berth_api::{Host, Instance, OtherRegistry, RegistryPassword, Runtime, Stored};
use berth_config::ServerConfig;
use berth_control::containers::Application;
use berth_control::rollout::Seen;
use berth_control::worker::Worker;
use berth_control::{Control, ControlError};
use berth_engine::{Kept, Lost};
use berth_gateway::{Site, Sites, Table};
use berth_logs::{Logs, Tails};
use berth_workerd::Toolchain;
use bytes::Bytes;
use http::{Request, Response};

use super::app::{App, Surroundings, Wanted};
use super::assets::Layouts;
use super::containers::Containers;
use super::crash::crash_point;
use super::health;
use super::host::Machine;
use super::links::Records;
use super::moves;
use super::pause::Still;
use super::peers::{self, Peers, Target};
use super::plane::DataPlane;
use super::reach::{self, CallError};
use super::stored;
use super::trial;
use super::watch::{Consumer, Watch};

/// What the apps of a server share.
pub(super) struct Apps {
    pub(super) control: Control,
    pub(super) toolchain: Toolchain,
    /// `<data>/server/apps`, a directory for each Worker's id.
    pub(super) directory: PathBuf,
    /// The session's.
    pub(super) session: PathBuf,
    pub(super) cgroup: String,
    pub(super) containers: Arc<Containers>,
    pub(super) layouts: Arc<Layouts>,
    pub(super) sites: Arc<Sites>,
    pub(super) watch: Arc<Watch>,
    pub(super) config: Arc<ServerConfig>,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    /// The port that is to be named, if any.
    pub(super) port: Option<u16>,
    pub(super) running: Mutex<BTreeMap<String, App>>,
    pub(super) plane: Arc<DataPlane>,
    pub(super) peers: Peers,
    /// The server ends and its containers do not.
    pub(super) leaving: Arc<AtomicBool>,
}

impl Apps {
    /// Tells every app what is recorded now.
    pub(super) async fn sync(self: &Arc<Self>) -> Result<(), ControlError> {
        // Before an app that needs it.
        self.plane.sync_or_later().await;
        let apps = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || apps.sync_now());
        done.await.unwrap_or(Ok(()))
    }

    /// Takes the containers over that the server before has left. To be called before the first
    /// [`Apps::sync`]: what they say from now on belongs to somebody.
    pub(super) async fn take_over(
        self: &Arc<Self>,
        kept: Vec<Kept>,
        lost: Vec<Lost>,
    ) -> Result<(), ControlError> {
        let apps = Arc::clone(self);
        let learnt = tokio::task::spawn_blocking(move || {
            let (workers, applications) = apps.control.deployed()?;
            apps.watch.learn(&workers, &applications);
            Ok::<_, ControlError>(())
        });
        learnt.await.unwrap_or(Ok(()))?;
        let more = self.containers.take_over(kept).await;
        for lost in lost.into_iter().chain(more) {
            self.watch.lost(&lost);
        }
        Ok(())
    }

    /// Blocks for as long as the disk takes.
    fn sync_now(&self) -> Result<(), ControlError> {
        // The lock is held while the records are read: nobody tells an app of older ones later.
        let mut running = self.lock();
        let (workers, applications) = self.control.deployed()?;
        let switching = switching(&running, &workers);
        // Before workerd can ask for any of them.
        self.containers
            .set_applications(&workers, &applications, &switching);
        self.watch.learn(&workers, &applications);
        let mut gone: Vec<String> = running.keys().cloned().collect();
        let mut table = Table::default();
        let records = Records::read(&self.control, workers, &self.session)?;
        for worker in records.workers() {
            gone.retain(|id| *id != worker.id);
            running
                .entry(worker.id.clone())
                .or_insert_with(|| App::start(self.surroundings(worker)));
        }
        for worker in records.workers() {
            let moves = moves::of(worker, &self.directory, &running);
            let Some(app) = running.get(&worker.id) else {
                continue;
            };
            if worker.subdomain.enabled {
                table
                    .hosts
                    .insert(self.host(&worker.name), Arc::clone(&app.site));
            }
            add_places(&mut table, worker, &app.site);
            app.want(Some(Wanted {
                classes: Containers::classes(worker, &applications),
                images: Containers::images_now(worker, &applications),
                applications: own(worker, &applications),
                moves,
                worker: worker.clone(),
                links: records.of(worker),
            }));
        }
        self.peers.replace(self.targets(&records, &running));
        self.watch.tell_consumers(consumers(&records, &running));
        self.sites.replace(table);
        for id in gone {
            if let Some(app) = running.get(&id) {
                app.want(None);
            }
        }
        Ok(())
    }

    /// What each socket between Workers leads to.
    fn targets(
        &self,
        records: &Records,
        running: &BTreeMap<String, App>,
    ) -> BTreeMap<PathBuf, Target> {
        let callers = records.workers().iter();
        let calls = callers.flat_map(|caller| records.calls(caller));
        let targets = calls.filter_map(|call| {
            let target = Target {
                reach: running.get(&call.callee.id)?.reach.clone(),
                hold: self.config.gateway.hold,
                entrypoint: call.entrypoint.clone(),
            };
            let socket = peers::socket(&self.session, &call.callee.id, &call.entrypoint);
            Some((socket, target))
        });
        targets.collect()
    }

    /// The Worker that consumes a queue.
    pub(super) async fn consumer(&self, queue: String) -> Option<String> {
        let control = self.control.clone();
        let queues = tokio::task::spawn_blocking(move || control.queues()).await;
        let mut queues = queues.ok()?.ok()?.into_iter();
        let consumers = queues.find(|found| found.name == queue)?.consumers;
        Some(consumers.into_iter().next()?.script_name)
    }

    /// Calls a handler of a Worker.
    pub(super) async fn call(
        &self,
        worker: &str,
        path: &str,
        body: Bytes,
        hold: Duration,
    ) -> Result<Response<Bytes>, CallError> {
        let (control, name) = (self.control.clone(), worker.to_owned());
        let found = tokio::task::spawn_blocking(move || control.worker(&name)).await;
        let Ok(Ok(worker)) = found else {
            return Err(CallError::NotRunning);
        };
        let reach = self.lock().get(&worker.id).map(|app| app.reach.clone());
        let reach = reach.ok_or(CallError::NotRunning)?;
        reach::call(reach, hold, path, body).await
    }

    fn surroundings(&self, worker: &Worker) -> Surroundings {
        Surroundings {
            control: self.control.clone(),
            toolchain: self.toolchain.clone(),
            directory: self.directory.join(&worker.id),
            socket: self
                .session
                .join(format!("w-{}", &worker.id[..12.min(worker.id.len())])),
            cgroup: self.cgroup.clone(),
            containers: Arc::clone(&self.containers),
            r2: super::r2::socket(&self.session),
            layouts: Arc::clone(&self.layouts),
            watch: Arc::clone(&self.watch),
            config: Arc::clone(&self.config),
            data_plane: self.plane.socket.clone(),
            name: worker.name.clone(),
            leaving: Arc::clone(&self.leaving),
        }
    }

    /// Follows the records until the control plane is gone.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut changes = self.control.changes();
        while changes.changed().await.is_ok() {
            changes.mark_unchanged();
            if let Err(error) = self.sync().await {
                tracing::error!(
                    error = berth_error::chain(&error),
                    "cannot read what is deployed"
                );
            }
        }
    }

    /// Waits until every Worker has been seen to. What became of those that were given something else `since`
    /// then and do not run with it.
    pub(super) async fn all_settled(&self, since: Instant) -> Vec<String> {
        let waits: Vec<_> = self
            .lock()
            .values()
            .map(|app| (app.changed_since(since), app.settled()))
            .map(|(changed, settled)| async move { (changed, settled.await) })
            .collect();
        let settled = futures_util::future::join_all(waits).await.into_iter();
        let failed = settled.filter_map(|(name, outcome)| Some((name?, outcome.err()?)));
        failed
            .map(|(name, reason)| format!("the Worker `{name}` does not run with it: {reason}"))
            .collect()
    }

    /// Ends every workerd; what they keep stays.
    pub(super) async fn end(&self) {
        self.peers.end();
        self.watch.tell_consumers(BTreeMap::new());
        let running = std::mem::take(&mut *self.lock());
        let tasks: Vec<_> = running.into_values().map(|app| app.task).collect();
        futures_util::future::join_all(tasks).await;
        self.plane.end().await;
    }

    /// Namespaces whose containers are about to change together with their Worker: its task sees to them.
    pub(super) fn switching(&self, workers: &[Worker]) -> BTreeSet<String> {
        switching(&self.lock(), workers)
    }

    /// How the workerd of a Worker does, by the Worker's id.
    pub(super) fn health(&self, id: &str) -> Option<health::State> {
        self.lock().get(id).map(|app| app.health.state())
    }

    /// Stands a Worker still, by its id, or the shared services (`data`), until the result is dropped;
    /// `None`: it does not run.
    pub(super) async fn pause(&self, id: &str) -> Option<Box<dyn Send>> {
        if id == crate::backup::PLANE {
            let pid = self.plane.health.state().pid?;
            return Some(Box::new(Still::stand(pid).await?));
        }
        let pause = self.lock().get(id).map(App::pause);
        Some(Box::new(pause?.await?))
    }

    /// Where a Worker answers.
    pub(super) fn address(&self, name: &str) -> String {
        let (scheme, host) = (self.scheme, self.host(name));
        match self.port {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }
    }

    fn host(&self, name: &str) -> String {
        format!("{name}.{}", self.config.base_domain).to_ascii_lowercase()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, App>> {
        // Entries are whole at every step.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn switching(running: &BTreeMap<String, App>, workers: &[Worker]) -> BTreeSet<String> {
    let before = workers.iter().filter(|worker| {
        let app = running.get(&worker.id);
        app.is_some_and(|app| app.answering.is_before(worker))
    });
    let classes = before.flat_map(|worker| worker.classes.values());
    classes.map(|class| class.namespace_id.clone()).collect()
}

/// Workers that are told what others do, by id.
fn consumers(records: &Records, running: &BTreeMap<String, App>) -> BTreeMap<String, Consumer> {
    let workers = records.workers().iter();
    let consumers = workers.filter(|worker| records.consumes_tails(worker));
    let reached = consumers.filter_map(|worker| {
        let consumer = Consumer {
            name: worker.name.clone(),
            reach: running.get(&worker.id)?.reach.clone(),
        };
        Some((worker.id.clone(), consumer))
    });
    reached.collect()
}

/// The applications of a Worker.
fn own(worker: &Worker, applications: &[Application]) -> Vec<Application> {
    let of = |one: &&Application| {
        let mut classes = worker.classes.values();
        classes.any(|class| class.namespace_id == one.namespace_id)
    };
    applications.iter().filter(of).cloned().collect()
}

/// An error as the API has it.
fn told(report: berth_error::Report) -> String {
    let mut text = report.chain().join(": ");
    for hint in report.hints() {
        text.push_str(&format!(" ({hint})"));
    }
    text
}

/// Routes and custom domains.
fn add_places(table: &mut Table, worker: &Worker, site: &Arc<Site>) {
    for domain in worker.domains.iter().filter(|domain| domain.enabled) {
        table
            .hosts
            .insert(domain.hostname.clone(), Arc::clone(site));
    }
    for route in &worker.routes {
        match route.pattern.parse() {
            Ok(pattern) => table.patterns.push((pattern, Arc::clone(site))),
            Err(error) => tracing::warn!(%error, "a route is left out"),
        }
    }
}

/// The apps, as the API sees them.
pub(super) struct Deployed(pub(super) Arc<Apps>, pub(super) Arc<Machine>);

#[async_trait::async_trait]
impl Runtime for Deployed {
    async fn check(&self, worker: &Worker) -> Result<(), String> {
        let checked = trial::check(&self.0, worker).await;
        crash_point("deploy.tried");
        checked
    }

    async fn settled(&self, worker: &str) -> Result<(), String> {
        crash_point("deploy.recorded");
        self.0
            .sync()
            .await
            .map_err(|error| berth_error::chain(&error))?;
        let control = self.0.control.clone();
        let name = worker.to_owned();
        let found = tokio::task::spawn_blocking(move || control.worker(&name)).await;
        let id = match found {
            Ok(Ok(worker)) => worker.id,
            Ok(Err(ControlError::NoWorker(_))) => {
                self.0.deleted().await;
                return Ok(());
            }
            Ok(Err(error)) => return Err(berth_error::chain(&error)),
            Err(error) => return Err(error.to_string()),
        };
        // Its first request after this is told to whoever wants to know.
        self.0.watch.switch(worker).await;
        let settled = self.0.lock().get(&id).map(App::settled);
        match settled {
            Some(settled) => settled.await,
            None => Err("the server is ending".to_owned()),
        }
    }

    fn url(&self, worker: &str) -> String {
        self.0.address(worker)
    }

    fn base_domain(&self) -> String {
        self.0.config.base_domain.clone()
    }

    async fn provide_image(&self, reference: &str) -> Result<(), String> {
        let provided = self.0.containers.provide(reference).await;
        crash_point("image.provided");
        provided.map_err(|report| report.chain().join(": "))
    }

    fn registry_password(
        &self,
        host: Option<&str>,
        push: bool,
        seconds: u64,
    ) -> Option<RegistryPassword> {
        let registry = &self.0.containers.registry;
        // wrangler leaves the port out where it pulls for `dev`.
        let own = host.is_none_or(|host| {
            registry.host == host || registry.host.split(':').next() == Some(host)
        });
        own.then(|| registry.password(push, seconds))
    }

    fn registries(&self) -> Result<Vec<OtherRegistry>, String> {
        self.0.containers.others().list().map_err(told)
    }

    fn add_registry(&self, registry: &OtherRegistry, secret: &str) -> Result<bool, String> {
        self.0
            .containers
            .others()
            .add(registry, secret)
            .map_err(told)
    }

    fn remove_registry(&self, domain: &str) -> Result<Option<OtherRegistry>, String> {
        self.0.containers.others().remove(domain).map_err(told)
    }

    fn instances(&self, namespace_id: &str) -> Vec<Instance> {
        // The key of a class is its namespace's id from the beginning.
        self.0.containers.instances(namespace_id)
    }

    async fn shared_changed(&self, since: Instant) -> Result<(), String> {
        let synced = self.0.sync().await;
        synced.map_err(|error| berth_error::chain(&error))?;
        // Workers that were given something else have it when this is answered.
        let failed = self.0.all_settled(since).await;
        if failed.is_empty() {
            return Ok(());
        }
        Err(format!(
            "It is changed, but not everywhere: {}",
            failed.join("; ")
        ))
    }

    async fn data(
        &self,
        resource: &str,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, String> {
        let sent = self.0.plane.send(resource, request).await;
        let mut response = sent.map_err(|report| report.chain().join(": "))?;
        // workerd's Workers say in the status line why they refuse.
        let phrase = response.extensions().get::<hyper::ext::ReasonPhrase>();
        let phrase = phrase.map(|phrase| String::from_utf8_lossy(phrase.as_bytes()).into_owned());
        if let Some(phrase) = phrase {
            response.extensions_mut().insert(berth_api::Reason(phrase));
        }
        Ok(response)
    }

    fn data_directory(&self) -> PathBuf {
        self.0.plane.directory.clone()
    }

    fn workflow_objects(&self, worker: &Worker, workflow: &str) -> Result<Vec<Stored>, String> {
        let state = self.0.directory.join(&worker.id).join("state");
        let class = berth_workerd::workflow_class(workflow);
        let stored = stored::objects(&state.join("workflows").join(class));
        stored.map_err(|error| format!("could not read the instances of `{workflow}`: {error}"))
    }

    async fn call(&self, worker: &str, path: &str, body: Bytes) -> Result<Response<Bytes>, String> {
        let called = self
            .0
            .call(worker, path, body, self.0.config.gateway.hold)
            .await;
        called.map_err(|error| match error {
            CallError::NotRunning => format!("the Worker `{worker}` does not run"),
            CallError::Failed(reason) => format!("the Worker `{worker}`: {reason}"),
        })
    }

    fn seen(&self, namespace_id: &str) -> Vec<Seen> {
        let seen = self.0.containers.seen(namespace_id).into_iter();
        seen.map(|(_, one)| one).collect()
    }

    fn location(&self) -> String {
        self.0.config.location.clone()
    }

    fn host(&self) -> Option<Arc<dyn Host>> {
        Some(Arc::clone(&self.1) as Arc<dyn Host>)
    }

    fn logs(&self) -> Logs {
        self.0.watch.logs.clone()
    }

    fn tails(&self) -> Tails {
        self.0.watch.tails.clone()
    }

    async fn traced(&self, worker: &str) {
        self.0.watch.switch(worker).await;
    }
}

impl Apps {
    /// Waits for Workers that have been deleted, and forgets them.
    async fn deleted(&self) {
        let live: HashMap<String, ()> = match self.control.workers() {
            Ok(workers) => workers.into_iter().map(|worker| (worker.id, ())).collect(),
            Err(_) => return,
        };
        let gone: Vec<App> = {
            let mut running = self.lock();
            let ids: Vec<String> = running
                .keys()
                .filter(|id| !live.contains_key(*id))
                .cloned()
                .collect();
            ids.iter().filter_map(|id| running.remove(id)).collect()
        };
        futures_util::future::join_all(gone.into_iter().map(|app| app.task)).await;
    }
}
