//! Versions that wait for their containers (`rollout: "atomic"`), and when the client is done with these.
//!
//! wrangler says nowhere that a deployment is complete. What it always sends after its last container
//! application is `POST …/subdomain`; before, it asks for the applications once for each that it has. Who
//! sends the former without the latter has not looked at the containers: nothing goes live then.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use berth_control::worker::Worker;
use serde_json::{Value, json};

use super::upload::settle;
use super::workers::{all, find};
use crate::Api;
use crate::failure::Failure;
use crate::guard::{Caller, blocking};

/// How often applications were asked for since a version waits, by its id.
#[derive(Default)]
pub(crate) struct Looks {
    counts: Mutex<BTreeMap<String, usize>>,
}

impl Looks {
    fn count(&self, version: &str) -> usize {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(version).copied().unwrap_or(0)
    }
}

/// Somebody has asked for container applications.
pub(super) async fn looked(api: &Api, Caller(token): &Caller) -> Result<(), Failure> {
    let workers = all(api).await?;
    let waiting = workers.iter().filter_map(|worker| worker.pending.as_ref());
    let looks = &api.looks.counts;
    let mut counts = looks.lock().unwrap_or_else(PoisonError::into_inner);
    let former = std::mem::take(&mut *counts);
    for pending in waiting {
        let own = usize::from(pending.author == token.name);
        let count = former.get(&pending.version_id).copied().unwrap_or(0) + own;
        counts.insert(pending.version_id.clone(), count);
    }
    Ok(())
}

/// The client is at the end of its deployment: what it has uploaded goes live with its containers.
pub(super) async fn done(api: &Api, name: &str, Caller(token): &Caller) -> Result<(), Failure> {
    let worker = find(api, name).await?;
    let Some(pending) = worker.pending.as_ref() else {
        return Ok(());
    };
    if pending.author != token.name {
        return Ok(());
    }
    let version = &pending.version_id;
    let containers = worker.version(version).map(|it| it.containers.len());
    if api.looks.count(version) < containers.unwrap_or(0) {
        return Err(Failure::bad_request(format!(
            "The version {version} is to be live together with its containers (`rollout: \"atomic\"`), and not \
             all of them were deployed: the version before is still live. Deploy again, without \
             `--containers-rollout=none`, or make it live with the containers as they are: `versions deploy \
             {version}`"
        )));
    }
    go_live(api, &worker, version).await
}

/// Makes the version that waits live. Requests are answered by it, and by containers that belong to it, when
/// this returns.
pub(super) async fn go_live(api: &Api, worker: &Worker, version: &str) -> Result<(), Failure> {
    let (control, name, id) = (api.control.clone(), worker.name.clone(), version.to_owned());
    blocking(move || control.go_live(&name, &id)).await?;
    settle(api, &worker.name).await
}

/// What waits, as the API shows it beside deployments.
pub(super) fn describe(worker: &Worker) -> Option<Value> {
    let pending = worker.pending.as_ref()?;
    Some(json!({
        "version_id": pending.version_id,
        "created_on": pending.created,
        "author_email": pending.author,
        "annotations": pending.annotations,
    }))
}
