//! Which Workers are to run, and where they are reached: the records compared with what runs.
//!
//! Woken by every change of the records. Invariant: when [`Apps::sync`] returns, every app has been told
//! of the records as they were when it was called, and the gateway of the hosts.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_api::{Instance, RegistryPassword, Runtime};
use berth_config::ServerConfig;
use berth_control::rollout::Seen;
use berth_control::worker::Worker;
use berth_control::{Control, ControlError};
use berth_gateway::{Site, Sites, Table};
use berth_logs::{Logs, Tails};
use berth_workerd::Toolchain;

use super::app::{self, App, Surroundings, Wanted};
use super::assets::Layouts;
use super::containers::Containers;
use super::watch::Watch;

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
    /// `http://` and the port that is to be named, if any.
    pub(super) port: Option<u16>,
    pub(super) running: Mutex<BTreeMap<String, App>>,
}

impl Apps {
    /// Tells every app what is recorded now.
    pub(super) async fn sync(self: &Arc<Self>) -> Result<(), ControlError> {
        let apps = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || apps.sync_now());
        done.await.unwrap_or(Ok(()))
    }

    /// Blocks for as long as the disk takes.
    fn sync_now(&self) -> Result<(), ControlError> {
        // The lock is held while the records are read: nobody tells an app of older ones later.
        let mut running = self.lock();
        let workers = self.control.workers()?;
        let applications = self.control.applications()?;
        // Before workerd can ask for any of them.
        self.containers.set_applications(&workers, &applications);
        self.watch.learn(&workers, &applications);
        let mut gone: Vec<String> = running.keys().cloned().collect();
        let mut table = Table::default();
        for worker in workers {
            gone.retain(|id| *id != worker.id);
            let app = running
                .entry(worker.id.clone())
                .or_insert_with(|| App::start(self.surroundings(&worker)));
            if worker.subdomain.enabled {
                table
                    .hosts
                    .insert(self.host(&worker.name), Arc::clone(&app.site));
            }
            add_places(&mut table, &worker, &app.site);
            app.want(Some(Wanted {
                classes: Containers::classes(&worker, &applications),
                images: Containers::images_now(&worker, &applications),
                worker,
            }));
        }
        self.sites.replace(table);
        for id in gone {
            if let Some(app) = running.get(&id) {
                app.want(None);
            }
        }
        Ok(())
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
            name: worker.name.clone(),
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

    /// Waits until every Worker has been seen to.
    pub(super) async fn all_settled(&self) {
        let waits: Vec<_> = self.lock().values().map(App::settled).collect();
        futures_util::future::join_all(waits).await;
    }

    /// Ends every workerd; what they keep stays.
    pub(super) async fn end(&self) {
        let running = std::mem::take(&mut *self.lock());
        let tasks: Vec<_> = running.into_values().map(|app| app.task).collect();
        futures_util::future::join_all(tasks).await;
    }

    fn host(&self, name: &str) -> String {
        format!("{name}.{}", self.config.base_domain).to_ascii_lowercase()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, App>> {
        // Entries are whole at every step.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
pub(super) struct Deployed(pub(super) Arc<Apps>);

#[async_trait::async_trait]
impl Runtime for Deployed {
    async fn check(&self, worker: &Worker) -> Result<(), String> {
        let directory = tempfile::Builder::new()
            .prefix("try-")
            .tempdir_in(&self.0.session)
            .map_err(|error| format!("no directory to try it out in: {error}"))?;
        let apps = &self.0;
        let checked = app::check(
            &apps.control,
            &apps.toolchain,
            &apps.layouts,
            (directory.path(), &super::r2::socket(&apps.session)),
            worker,
        )
        .await;
        checked.map_err(|report| report.chain().join(": "))
    }

    async fn settled(&self, worker: &str) -> Result<(), String> {
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
        let settled = self.0.lock().get(&id).map(App::settled);
        match settled {
            Some(settled) => settled.await,
            None => Err("the server is ending".to_owned()),
        }
    }

    fn url(&self, worker: &str) -> String {
        let host = self.0.host(worker);
        match self.0.port {
            Some(port) => format!("http://{host}:{port}"),
            None => format!("http://{host}"),
        }
    }

    fn base_domain(&self) -> String {
        self.0.config.base_domain.clone()
    }

    async fn provide_image(&self, reference: &str) -> Result<(), String> {
        let provided = self.0.containers.provide(reference).await;
        provided.map_err(|report| report.chain().join(": "))
    }

    fn registry_password(&self, host: &str, push: bool, seconds: u64) -> Option<RegistryPassword> {
        let registry = &self.0.containers.registry;
        // wrangler leaves the port out where it pulls for `dev`.
        let own = registry.host == host || registry.host.split(':').next() == Some(host);
        own.then(|| registry.password(push, seconds))
    }

    fn instances(&self, namespace_id: &str) -> Vec<Instance> {
        // The key of a class is its namespace's id from the beginning.
        self.0.containers.instances(namespace_id)
    }

    fn seen(&self, namespace_id: &str) -> Vec<Seen> {
        let seen = self.0.containers.seen(namespace_id).into_iter();
        seen.map(|(_, one)| one).collect()
    }

    fn location(&self) -> String {
        self.0.config.location.clone()
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
