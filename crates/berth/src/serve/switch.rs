//! A Worker and its containers that change at the same moment (`rollout: "atomic"`).
//!
//! Invariants: until the Worker's task makes the switch, instances start with what they had, whatever is
//! recorded; while it is made, no workerd of the Worker runs, so that nobody asks a container of the one
//! version in the name of the other; if the new workerd does not start, the former one finds what it had.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_control::containers::Application;
use berth_control::worker::Worker;

use super::containers::{Containers, Known};

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
    applications: Vec<Known>,
    /// Those that objects may choose, by namespace.
    images: BTreeMap<String, BTreeSet<String>>,
    /// As they were, once the switch has been made.
    former: Vec<Known>,
    /// How long a container may take to end after SIGTERM.
    grace: Duration,
}

impl Switch {
    /// That of a Worker. `hold`: so long requests wait at most.
    pub(super) fn new(
        containers: &Arc<Containers>,
        worker: &Worker,
        applications: &[Application],
        hold: Duration,
    ) -> Self {
        let workers = std::slice::from_ref(worker);
        let known = applications.iter().map(|one| Known::new(one, workers));
        let images = worker.classes.iter().map(|(name, class)| {
            let images = worker.live().map(|live| live.images(name));
            let images = images.unwrap_or_default().into_values().collect();
            (class.namespace_id.clone(), images)
        });
        Self {
            containers: Arc::clone(containers),
            applications: known.collect(),
            images: images.collect(),
            former: Vec::new(),
            // Who waits is answered.
            grace: containers.stop_grace.min(hold / 2),
        }
    }

    /// Ends what objects of another version run with, whoever has started it; from now on they start with what is
    /// new. No workerd of the Worker may run.
    pub(super) async fn make(&mut self) {
        self.former = self.containers.tell_of(&self.applications);
        let none = BTreeSet::new();
        let mut names = Vec::new();
        for known in &self.applications {
            let images = self.images.get(&known.application.namespace_id);
            names.extend(self.containers.others_than(known, images.unwrap_or(&none)));
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
