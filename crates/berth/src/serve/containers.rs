//! The container side of a server: which images and limits the classes have, and what runs of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_api::{Instance, Size, Usage};
use berth_config::InstanceTypes;
use berth_control::containers::{Application, Policy};
use berth_control::rollout::Seen;
use berth_control::worker::Worker;
use berth_docker::DockerApi;
use berth_engine::{ContainerInfo, Engine, Kept, Lost, Metered, Status};
use berth_error::Report;
use berth_image::{Hold, ImageStore, Reference};
use berth_workerd::{ClassImages, ContainerOptions};

mod told;

pub(super) use told::Known;

use super::others::Others;
use super::registry::OwnRegistry;
use super::watch::Watch;
use crate::base;
use crate::host::Host;

/// What the apps need of the host.
pub(super) struct Containers {
    store: ImageStore,
    engine: Engine,
    docker: Arc<DockerApi>,
    socket: PathBuf,
    session: String,
    deployment_id: String,
    pub(super) registry: OwnRegistry,
    /// How long an instance may take to end after SIGTERM.
    pub(super) stop_grace: Duration,
    watch: Arc<Watch>,
    /// They may mount file systems in user space.
    fuse: bool,
    /// Names of sizes that objects may ask for.
    types: Arc<InstanceTypes>,
    /// Images that classes run with stay in the store.
    held: Mutex<BTreeMap<String, Hold>>,
    told: Mutex<told::Told>,
}

/// What workerd must know of a Worker's container classes.
pub(super) type Classes = BTreeMap<String, ClassImages>;

impl Containers {
    pub(super) fn new(
        host: &Host,
        registry: OwnRegistry,
        stop_grace: Duration,
        watch: Arc<Watch>,
        fuse: bool,
        types: Arc<InstanceTypes>,
    ) -> Self {
        Self {
            store: host.store.clone(),
            engine: host.engine.clone(),
            docker: Arc::clone(&host.docker),
            socket: host.session.socket.clone(),
            session: host.session.id.clone(),
            deployment_id: uuid::Uuid::new_v4().to_string(),
            registry,
            stop_grace,
            watch,
            fuse,
            types,
            held: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// What workerd must know of one Worker's container classes.
    pub(super) fn classes(worker: &Worker, applications: &[Application]) -> Classes {
        let workers = std::slice::from_ref(worker);
        let classes = classes(workers, applications).map(|(class, _, application)| {
            let images = match application.policy() {
                Policy::Application => ClassImages {
                    default: Some(berth_docker::CLASS_IMAGE.to_owned()),
                    ..ClassImages::default()
                },
                Policy::Object => ClassImages {
                    default: None,
                    named: worker
                        .live()
                        .map(|version| version.images(class))
                        .unwrap_or_default()
                        .into_iter()
                        .collect(),
                },
            };
            (class.to_owned(), images)
        });
        classes.collect()
    }

    /// The images that one Worker's classes start with now.
    pub(super) fn images_now(worker: &Worker, applications: &[Application]) -> BTreeSet<String> {
        let workers = std::slice::from_ref(worker);
        let mut images = BTreeSet::new();
        for (class, _, application) in classes(workers, applications) {
            match application.policy() {
                Policy::Application => {
                    images.insert(application.live.image.clone());
                    let target = application.rollout().and_then(|one| one.target.as_ref());
                    images.extend(target.map(|target| target.image.clone()));
                }
                Policy::Object => {
                    let named = worker.live().map(|version| version.images(class));
                    images.extend(named.unwrap_or_default().into_values());
                }
            }
        }
        images
    }

    /// What workerd must know of them.
    pub(super) fn options(&self, classes: &Classes) -> Option<ContainerOptions> {
        (!classes.is_empty()).then(|| ContainerOptions {
            docker_socket: self.socket.clone(),
            egress_image: berth_docker::EGRESS_IMAGE.to_owned(),
            session_id: self.session.clone(),
            fuse: self.fuse,
            images: classes.clone(),
        })
    }

    /// Makes sure that an image is on this machine, and stays.
    pub(super) async fn provide(&self, reference: &str) -> Result<(), Report> {
        if self.store.resolve(reference)?.is_none() {
            let parsed: Reference = reference.parse()?;
            if self.registry.has(&parsed) {
                self.registry.pull(&self.store, &parsed).await?;
            } else {
                let quiet = |message: String| tracing::info!("{message}");
                base::provide(&self.store, reference, "", &quiet).await?;
            }
            self.watch.pulled(reference);
        }
        self.hold(reference)?;
        Ok(())
    }

    /// Gives up images that nobody may need, and holds those that are here and not held yet.
    fn keep(&self, wanted: &BTreeSet<&str>) {
        let new: Vec<&str> = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.retain(|image, _| wanted.contains(image.as_str()));
            let new = wanted.iter().filter(|image| !held.contains_key(**image));
            new.copied().collect()
        };
        for image in new {
            if let Err(report) = self.hold(image) {
                tracing::warn!(image, "{}", report.render());
            }
        }
    }

    /// The collector leaves an image alone, if it is here.
    fn hold(&self, reference: &str) -> Result<(), Report> {
        if let Some(image) = self.store.resolve(reference)? {
            let hold = self
                .store
                .hold_for(&image, "a deployed container application")?;
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.insert(reference.to_owned(), hold);
        }
        Ok(())
    }

    /// Takes over what the server before has left; what was ended instead.
    pub(super) async fn take_over(&self, kept: Vec<Kept>) -> Vec<Lost> {
        self.docker.adopt(kept).await
    }

    /// Credentials for the registries of others.
    pub(super) fn others(&self) -> Others {
        Others::of(self.store.root())
    }

    /// What is going on with containers.
    pub(super) fn events(&self) -> tokio::sync::broadcast::Receiver<berth_engine::Event> {
        self.engine.events()
    }

    /// The instances of a class that start or run with something that its application has chosen, with their
    /// containers' names.
    pub(super) fn seen(&self, key: &str) -> Vec<(String, Seen)> {
        let mut seen = Vec::new();
        for container in self.of_class(key) {
            let Some(version) = version_of(&container) else {
                continue;
            };
            let since_ms = match container.status {
                Status::Created | Status::Starting => None,
                Status::Running => container.started_ms,
                Status::Exited | Status::Removing => continue,
            };
            let reached = self.engine.reached(&container.name);
            let one = Seen {
                object: object(&container.name, key).to_owned(),
                version,
                since_ms,
                listened: container.timings.first_listen.is_some(),
                refused: reached.is_some_and(|reached| reached.refused),
            };
            seen.push((container.name, one));
        }
        seen
    }

    /// Whether somebody has wanted to connect to a container.
    pub(super) fn is_wanted(&self, name: &str) -> bool {
        self.engine
            .reached(name)
            .is_some_and(|reached| reached.wanted)
    }

    /// Ends a container as a rollout does: it has its time to end. Another one of the same name that was made
    /// with another version since is left alone.
    pub(super) async fn end(&self, name: &str, version: u64) {
        let present = self.engine.inspect(name);
        if present.and_then(|one| version_of(&one)) != Some(version) {
            return;
        }
        self.watch.retired(name);
        if let Err(error) = self.engine.retire(name, self.stop_grace).await {
            tracing::debug!(%error, name, "it was gone already");
        }
    }

    /// Names of an application's containers that were made with something else than they would be now. `images`:
    /// those that its objects may choose.
    pub(super) fn others_than(&self, known: &Known, images: &BTreeSet<String>) -> Vec<String> {
        let application = &known.application;
        let key = &application.namespace_id;
        let is_other = |container: &ContainerInfo| match application.policy() {
            Policy::Application => {
                let (_, wanted) = application.wanted(object(&container.name, key));
                version_of(container) != Some(wanted)
            }
            Policy::Object => known.is_other(container, images),
        };
        let mut containers = self.of_class(key);
        containers.retain(is_other);
        let names = containers.into_iter().map(|container| container.name);
        names.collect()
    }

    /// Ends a container, and nothing is left of it.
    pub(super) async fn remove(&self, name: &str, grace: Duration) {
        self.watch.retired(name);
        if let Err(error) = self.engine.stop(name, grace).await {
            tracing::debug!(%error, name, "it did not run");
        }
        if let Err(error) = self.engine.remove(name, true).await {
            tracing::debug!(%error, name, "it was gone already");
        }
    }

    /// The containers of the class with this key, as the API has them.
    pub(super) fn instances(&self, key: &str) -> Vec<Instance> {
        let containers = self.of_class(key).into_iter();
        let shown = containers.map(|container| {
            let usage = self.usage(&container.name);
            instance(container, key, usage)
        });
        shown.collect()
    }

    /// Every container, and what it uses.
    pub(super) fn metered(&self) -> Vec<(ContainerInfo, Metered)> {
        let containers = self.engine.list().into_iter();
        let metered = containers.filter_map(|container| {
            let metered = self.engine.metered(&container.name)?;
            Some((container, metered))
        });
        metered.collect()
    }

    fn usage(&self, name: &str) -> Usage {
        let Some(metered) = self.engine.metered(name) else {
            return Usage::default();
        };
        let whole = |count: u128| u64::try_from(count).unwrap_or(u64::MAX);
        Usage {
            cpu_ns: whole(metered.cpu.as_nanos()),
            memory_bytes: metered.memory_bytes,
            disk_bytes: self.engine.disk_bytes(name),
            ingress_bytes: metered.ingress_bytes,
            egress_bytes: metered.egress_bytes,
            running_ms: whole(metered.running.as_millis()),
            asleep_ms: whole((metered.frozen + metered.stored).as_millis()),
        }
    }

    fn of_class(&self, key: &str) -> Vec<ContainerInfo> {
        let mut containers = self.engine.list();
        containers.retain(|container| !object(&container.name, key).is_empty());
        containers
    }
}

/// The version of its application that a container was made with, if that decides.
fn version_of(container: &ContainerInfo) -> Option<u64> {
    let version = container.labels.get(berth_docker::VERSION_LABEL)?;
    version.parse().ok()
}

/// A container, as the API has it.
fn instance(container: ContainerInfo, key: &str, usage: Usage) -> Instance {
    let failed = container.exit.is_some_and(|exit| exit.code != 0);
    let state = match container.status {
        Status::Created | Status::Starting => "placed",
        Status::Running => "running",
        Status::Removing => "stopping",
        Status::Exited if failed => "failed",
        Status::Exited => "stopped",
    };
    let since = match container.status {
        Status::Created | Status::Starting => None,
        Status::Running => container.started_ms,
        Status::Exited | Status::Removing => container.finished_ms,
    };
    let reason = container.error.clone().or_else(|| {
        let exit = container.exit?;
        Some(match exit {
            exit if exit.oom_killed => "out of memory".to_owned(),
            exit => format!("exit code {}", exit.code),
        })
    });
    let limits = &container.limits;
    Instance {
        object: object(&container.name, key).to_owned(),
        state,
        created: berth_control::clock::of_unix_ms(container.created_ms),
        since: berth_control::clock::of_unix_ms(since.unwrap_or(container.created_ms)),
        reason: reason.filter(|_| container.status != Status::Running),
        usage,
        size: Size {
            vcpu: f64::from(limits.cpu_milli.unwrap_or_default()) / 1000.0,
            memory_mib: limits.memory_bytes.unwrap_or_default() >> 20,
            disk_mb: limits.disk_bytes.unwrap_or_default() / 1_000_000,
        },
        version: version_of(&container),
        id: container.id,
        name: container.display_name,
        image: container.image,
    }
}

/// Classes with an application: name, key, application.
fn classes<'a>(
    workers: &'a [Worker],
    applications: &'a [Application],
) -> impl Iterator<Item = (&'a str, &'a str, &'a Application)> {
    let classes = workers.iter().flat_map(|worker| worker.classes.iter());
    classes.filter_map(|(name, class)| {
        let mut of_class = applications.iter();
        let application = of_class.find(|one| one.namespace_id == class.namespace_id)?;
        Some((name.as_str(), class.key.as_str(), application))
    })
}

/// The Durable Object's id in the name of its container (`workerd-<session>-<key>-<id>`), or nothing if
/// it is of another class.
pub(super) fn object<'a>(name: &'a str, key: &str) -> &'a str {
    let after = name.split_once(&format!("-{key}-"));
    after.map_or("", |(_, object)| object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_found_by_the_key_of_its_class() {
        let name = "workerd-0a1b-4f5e6d-ffee00";
        assert_eq!(object(name, "4f5e6d"), "ffee00");
        assert_eq!(object(name, "4f5e"), "");
        assert_eq!(object(name, "ffee00"), "");
    }
}
