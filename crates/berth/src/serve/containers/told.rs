//! What the engine is told of container applications: what new instances start with.
//!
//! Invariant: an application that changes together with its Worker is told of by the Worker's task, at the
//! moment of the change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};

use berth_control::containers::{Application, Policy};
use berth_control::worker::{Version, Worker};
use berth_docker::{Applications, Chooser, Chosen, Sizer};
use berth_engine::ContainerInfo;
use berth_jail::Limits;

use super::Containers;
use crate::dev::identity;

/// What the engine has been told.
#[derive(Default)]
pub(super) struct Told {
    /// Name and key of every class.
    classes: Vec<(String, String)>,
    /// By namespace.
    applications: BTreeMap<String, Known>,
}

/// An application, and which images its objects may choose.
#[derive(Clone)]
pub(in crate::serve) struct Known {
    pub(in crate::serve) application: Application,
    /// A digest of them; `None`: they choose none.
    made_for: Option<String>,
}

impl Known {
    /// That of a Worker's class.
    pub(in crate::serve) fn new(application: &Application, workers: &[Worker]) -> Self {
        let of = |worker: &Worker| {
            let mut classes = worker.classes.iter();
            let (class, _) =
                classes.find(|(_, class)| class.namespace_id == application.namespace_id)?;
            Some(digest(&worker.live()?.images(class)))
        };
        let made_for = workers.iter().find_map(of);
        Self {
            made_for: made_for.filter(|_| application.policy() == Policy::Object),
            application: application.clone(),
        }
    }

    /// Whether a container was made for other images than these. One of a server before this one, which says
    /// nothing of it, was if its image is none of them.
    pub(super) fn is_other(&self, container: &ContainerInfo, images: &BTreeSet<String>) -> bool {
        match container.labels.get(berth_docker::MADE_FOR_LABEL) {
            Some(made_for) => Some(made_for) != self.made_for.as_ref(),
            None => !images.contains(&container.image),
        }
    }
}

/// Equal for equal images with equal names.
fn digest(images: &BTreeMap<String, String>) -> String {
    use sha2::{Digest as _, Sha256};
    let digest = Sha256::digest(serde_json::json!(images).to_string());
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Containers {
    /// Tells the engine of every application, and keeps the images that they may need. Of the namespaces
    /// `switching` it is told by their Worker's task ([`Self::tell_of`]). Blocks for as long as the disk takes.
    pub(in crate::serve) fn set_applications(
        &self,
        workers: &[Worker],
        applications: &[Application],
        switching: &BTreeSet<String>,
    ) {
        {
            let mut told = self.told();
            let mut former = std::mem::take(&mut told.applications);
            let now = applications.iter().filter_map(|application| {
                let namespace = &application.namespace_id;
                let known = match switching.contains(namespace) {
                    true => former.remove(namespace)?,
                    false => Known::new(application, workers),
                };
                Some((namespace.clone(), known))
            });
            told.applications = now.collect();
            let all = workers.iter().flat_map(|worker| worker.classes.iter());
            told.classes = all
                .map(|(name, class)| (name.clone(), class.key.clone()))
                .collect();
            self.tell(&told);
        }
        let waiting = workers.iter().filter_map(|worker| worker.pending.as_ref());
        let waiting: Vec<&str> = waiting.flat_map(|pending| pending.images()).collect();
        let named = workers.iter().flat_map(|worker| worker.versions.iter());
        let named: Vec<String> = named.flat_map(images_of).collect();
        let images = applications.iter().flat_map(Application::images);
        let images = images.chain(named.iter().map(String::as_str));
        self.keep(&images.chain(waiting).collect());
    }

    /// Tells the engine of these applications anew; what it was told of them before.
    pub(in crate::serve) fn tell_of(&self, applications: &[Known]) -> Vec<Known> {
        let mut told = self.told();
        let told_of = applications.iter().filter_map(|known| {
            let namespace = known.application.namespace_id.clone();
            told.applications.insert(namespace, known.clone())
        });
        let former = told_of.collect();
        self.tell(&told);
        former
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // Every change of it is told whole, or again.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, told: &Told) {
        let mut known = identity::unknown_applications(&self.deployment_id);
        for (class_name, key) in &told.classes {
            // The key of a class is its namespace's id from the beginning.
            let Some(Known {
                application,
                made_for,
            }) = told.applications.get(key)
            else {
                continue;
            };
            known.applications.push(berth_docker::Application {
                unique_key: key.clone(),
                class_name: class_name.clone(),
                limits: limits(&application.live),
                chooser: chooser(application),
                made_for: made_for.clone(),
                sizer: (application.policy() == Policy::Object).then(|| self.sizer()),
                sleep: None,
                max_instances: application.max_instances(),
                stop_grace: self.stop_grace,
                application_id: application.id.clone(),
            });
        }
        let known: Applications = known;
        self.docker.set_applications(known);
    }

    /// What sizes that objects ask for mean.
    fn sizer(&self) -> Sizer {
        let types = Arc::clone(&self.types);
        Sizer(Arc::new(move |asked| {
            let asked = serde_json::from_str(asked).ok()?;
            let instance = berth_control::containers::asked(&asked, &types)?;
            Some(limits(&instance))
        }))
    }
}

/// What the instances of an application are made with, if it decides that.
fn chooser(application: &Application) -> Option<Chooser> {
    if application.policy() == Policy::Object {
        return None;
    }
    let application = application.clone();
    Some(Chooser(Arc::new(move |object| {
        let (instance, version) = application.wanted(object);
        Chosen {
            image: instance.image.clone(),
            limits: limits(instance),
            version,
        }
    })))
}

fn limits(instance: &berth_control::containers::Instance) -> Limits {
    Limits {
        cpu_milli: Some(identity::cpu_milli(instance.vcpu)),
        memory_bytes: Some(instance.memory_mib << 20),
        pids: Some(identity::PIDS),
        disk_bytes: Some(instance.disk_mb * 1_000_000),
    }
}

/// Every image that a version names.
fn images_of(version: &Version) -> Vec<String> {
    let classes = version.containers.iter();
    let classes = classes.filter_map(|one| one.get("class_name")?.as_str());
    classes
        .flat_map(|class| version.images(class).into_values())
        .collect()
}
