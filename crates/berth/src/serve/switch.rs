//! A Worker and its containers that change at the same moment (`rollout: "atomic"`).
//!
//! Invariants: until the Worker's task makes the switch, instances start with what they had, whatever is
//! recorded; while it is made, no workerd of the Worker runs, so that nobody asks a container of the one
//! version in the name of the other; if the new workerd does not start, the former one finds what it had.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_control::containers::{Application, Policy};
use berth_control::worker::{Version, Worker};

use super::containers::Containers;

/// The deployment that the Worker's task has made answer, if any.
#[derive(Clone, Debug, Default)]
pub(super) struct Answering(Arc<Mutex<Option<String>>>);

impl Answering {
    /// Remembers that a Worker answers as its record says.
    pub(super) fn set(&self, worker: &Worker) {
        let deployment = worker.deployments.first().map(|first| first.id.clone());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = deployment;
    }

    /// Whether the Worker has yet to change together with its containers: also one that nobody has made answer
    /// since the server started, because containers of the former server may be those of a former version.
    pub(super) fn is_before(&self, worker: &Worker) -> bool {
        let answering = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = worker.deployments.first();
        first.is_some_and(|first| first.atomic && answering.as_ref() != Some(&first.id))
    }
}

/// What changes with a Worker.
pub(super) struct Switch {
    containers: Arc<Containers>,
    /// As they are to be.
    applications: Vec<Application>,
    /// Keys of the classes whose objects choose among other images than before.
    choosing: BTreeSet<String>,
    /// As they were, once the switch has been made.
    former: Vec<Application>,
    /// How long a container may take to end after SIGTERM.
    grace: Duration,
}

impl Switch {
    /// That of a Worker whose version `former` answers. `hold`: so long requests wait at most.
    pub(super) fn new(
        containers: &Arc<Containers>,
        worker: &Worker,
        applications: &[Application],
        former: Option<&str>,
        hold: Duration,
    ) -> Self {
        let former = former.and_then(|id| worker.version(id));
        let images = |version: Option<&Version>, class: &str| {
            version
                .map(|version| version.images(class))
                .unwrap_or_default()
        };
        let choosing = worker.classes.iter().filter(|(name, class)| {
            let mut own = applications.iter();
            let own = own.find(|one| one.namespace_id == class.namespace_id);
            own.is_some_and(|one| one.policy() == Policy::Object)
                && former.is_some()
                && images(former, name) != images(worker.live(), name)
        });
        Self {
            containers: Arc::clone(containers),
            applications: applications.to_vec(),
            choosing: choosing.map(|(_, class)| class.key.clone()).collect(),
            former: Vec::new(),
            // Who waits is answered.
            grace: containers.stop_grace.min(hold / 2),
        }
    }

    /// Ends what the former version's objects run with; from now on they start with what is new. No workerd
    /// of the Worker may run.
    pub(super) async fn make(&mut self) {
        self.former = self.containers.tell_of(&self.applications);
        let mut names = Vec::new();
        for application in &self.applications {
            let key = &application.namespace_id;
            names.extend(match application.policy() {
                Policy::Application => self.containers.others_than(key, application.live_version()),
                Policy::Object if self.choosing.contains(key) => self.containers.names(key),
                Policy::Object => Vec::new(),
            });
        }
        let ends = names
            .iter()
            .map(|name| self.containers.remove(name, self.grace));
        futures_util::future::join_all(ends).await;
    }

    /// The former version answers again.
    pub(super) fn undo(&mut self) {
        self.containers.tell_of(&std::mem::take(&mut self.former));
    }
}
