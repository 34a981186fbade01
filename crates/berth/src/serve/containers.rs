//! The container side of a server: which images and limits the classes have, and what runs of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_api::Instance;
use berth_control::containers::Application;
use berth_control::worker::Worker;
use berth_docker::{Applications, DockerApi};
use berth_engine::{ContainerInfo, Engine, Status};
use berth_error::Report;
use berth_image::{Hold, ImageStore, Reference};
use berth_jail::Limits;
use berth_workerd::{ClassImages, ContainerOptions};

use super::registry::OwnRegistry;
use crate::base;
use crate::dev::identity;
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
    stop_grace: Duration,
    /// Images that classes run with stay in the store.
    held: Mutex<BTreeMap<String, Hold>>,
}

/// Images of a Worker's classes.
pub(super) type Images = BTreeMap<String, String>;

impl Containers {
    pub(super) fn new(host: &Host, registry: OwnRegistry, stop_grace: Duration) -> Self {
        Self {
            store: host.store.clone(),
            engine: host.engine.clone(),
            docker: Arc::clone(&host.docker),
            socket: host.session.socket.clone(),
            session: host.session.id.clone(),
            deployment_id: uuid::Uuid::new_v4().to_string(),
            registry,
            stop_grace,
            held: Mutex::default(),
        }
    }

    /// Tells the engine of every application. Blocks on nothing.
    pub(super) fn set_applications(&self, workers: &[Worker], applications: &[Application]) {
        let mut known = identity::unknown_applications(&self.deployment_id);
        for (class_name, key, application) in classes(workers, applications) {
            known.applications.push(berth_docker::Application {
                unique_key: key.to_owned(),
                class_name: class_name.to_owned(),
                limits: Limits {
                    cpu_milli: Some(identity::cpu_milli(application.live.vcpu)),
                    memory_bytes: Some(application.live.memory_mib << 20),
                    pids: Some(identity::PIDS),
                    disk_bytes: Some(application.live.disk_mb * 1_000_000),
                },
                sleep: None,
                max_instances: application.max_instances(),
                stop_grace: self.stop_grace,
                application_id: application.id.clone(),
            });
        }
        let known: Applications = known;
        self.docker.set_applications(known);
    }

    /// The images of one Worker's classes.
    pub(super) fn images(worker: &Worker, applications: &[Application]) -> Images {
        let workers = std::slice::from_ref(worker);
        classes(workers, applications)
            .map(|(class, _, application)| (class.to_owned(), application.live.image.clone()))
            .collect()
    }

    /// What workerd must know of them.
    pub(super) fn options(&self, images: &Images) -> Option<ContainerOptions> {
        let images = images.iter().map(|(class, image)| {
            let images = ClassImages {
                default: Some(image.clone()),
                ..ClassImages::default()
            };
            (class.clone(), images)
        });
        let images: BTreeMap<String, ClassImages> = images.collect();
        (!images.is_empty()).then(|| ContainerOptions {
            docker_socket: self.socket.clone(),
            egress_image: berth_docker::EGRESS_IMAGE.to_owned(),
            session_id: self.session.clone(),
            images,
        })
    }

    /// Makes sure that an image is on this machine, and stays.
    pub(super) async fn provide(&self, reference: &str) -> Result<(), Report> {
        if self.store.resolve(reference)?.is_none() {
            let parsed: Reference = reference.parse()?;
            if parsed.host() == self.registry.host {
                self.registry.pull(&self.store, &parsed).await?;
            } else {
                let quiet = |message: String| tracing::info!("{message}");
                base::provide(&self.store, reference, "", &quiet).await?;
            }
        }
        if let Some(image) = self.store.resolve(reference)? {
            let hold = self
                .store
                .hold_for(&image, "a deployed container application")?;
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.insert(reference.to_owned(), hold);
        }
        Ok(())
    }

    /// Gives up images that no class runs with.
    pub(super) fn keep_only(&self, applications: &[Application]) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|image, _| applications.iter().any(|one| one.live.image == *image));
    }

    /// Ends the instances of a class that run with another image. They have their time to end; the next
    /// request of an object starts the new one.
    pub(super) fn retire(&self, key: &str, image: &str) {
        for container in self.of_class(key) {
            if container.image == image || container.status != Status::Running {
                continue;
            }
            let (engine, stop_grace) = (self.engine.clone(), self.stop_grace);
            tokio::spawn(async move {
                if let Err(error) = engine.stop(&container.name, stop_grace).await {
                    tracing::debug!(%error, name = container.name, "it was gone already");
                }
            });
        }
    }

    /// The containers of the class with this key, as the API has them.
    pub(super) fn instances(&self, key: &str) -> Vec<Instance> {
        let containers = self.of_class(key).into_iter();
        containers
            .map(|container| {
                let failed = container.exit.is_some_and(|exit| exit.code != 0);
                Instance {
                    object: object(&container.name, key).to_owned(),
                    state: match container.status {
                        Status::Created | Status::Starting => "placed",
                        Status::Running => "running",
                        Status::Removing => "stopping",
                        Status::Exited if failed => "failed",
                        Status::Exited => "stopped",
                    },
                    created: berth_control::clock::of_unix_ms(container.created_ms),
                    id: container.id,
                    name: container.display_name,
                    image: container.image,
                }
            })
            .collect()
    }

    fn of_class(&self, key: &str) -> Vec<ContainerInfo> {
        let mut containers = self.engine.list();
        containers.retain(|container| !object(&container.name, key).is_empty());
        containers
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
fn object<'a>(name: &'a str, key: &str) -> &'a str {
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
