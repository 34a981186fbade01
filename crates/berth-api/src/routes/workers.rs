//! Workers as such: what there is, and that one goes.

use axum::extract::{Path, Query, State};
use berth_control::worker::Worker;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::envelope::{Answer, list as envelope_list, page, result};
use crate::failure::Failure;
use crate::guard::blocking;

/// Below an account: `{account}` has been checked.
pub(crate) type Named = Path<(String, String)>;

#[derive(Deserialize, JsonSchema)]
pub(super) struct Page {
    page: Option<u64>,
}

/// The Worker of a path.
pub(super) async fn find(api: &Api, name: &str) -> Result<Worker, Failure> {
    let (control, name) = (api.control.clone(), name.to_owned());
    blocking(move || control.worker(&name)).await
}

pub(super) async fn all(api: &Api) -> Result<Vec<Worker>, Failure> {
    let control = api.control.clone();
    blocking(move || control.workers()).await
}

/// `GET services/{name}`: whether there is one, and which migrations it has.
pub(super) async fn service(State(api): State<Api>, Path((_, name)): Named) -> Answer {
    let worker = find(&api, &name).await?;
    let mut script = json!({
        "id": worker.name,
        "tag": worker.id,
        "tags": worker.settings.get("tags").cloned().unwrap_or_else(|| json!([])),
        "created_on": worker.created,
        "modified_on": worker.modified,
        "last_deployed_from": "wrangler",
        "etag": worker.live().map(|version| version.etag.clone()).unwrap_or_default(),
    });
    if let Some(tag) = &worker.migration_tag {
        script["migration_tag"] = tag.clone().into();
    }
    result(json!({
        "id": worker.name,
        "created_on": worker.created,
        "modified_on": worker.modified,
        "default_environment": {
            "environment": "production",
            "created_on": worker.created,
            "modified_on": worker.modified,
            "script": script,
        },
    }))
}

/// `GET scripts`: all of them; wrangler 4.86 looks here for the migrations.
pub(super) async fn list(State(api): State<Api>) -> Answer {
    let workers = all(&api).await?.into_iter();
    let workers = workers.map(|worker| {
        let mut item = json!({
            "id": worker.name,
            "tag": worker.id,
            "created_on": worker.created,
            "modified_on": worker.modified,
            "last_deployed_from": "wrangler",
            "etag": worker.live().map(|version| version.etag.clone()).unwrap_or_default(),
        });
        if let Some(tag) = worker.migration_tag {
            item["migration_tag"] = tag.into();
        }
        item
    });
    envelope_list(workers.collect())
}

/// `GET workers/{name}`: where it answers. wrangler 4.164 prints it.
pub(super) async fn worker(State(api): State<Api>, Path((_, name)): Named) -> Answer {
    let worker = find(&api, &name).await?;
    result(json!({
        "id": worker.id,
        "name": worker.name,
        "created_on": worker.created,
        "updated_on": worker.modified,
        "subdomain": {
            "enabled": worker.subdomain.enabled,
            "previews_enabled": worker.subdomain.previews_enabled,
            "url": api.runtime.url(&worker.name),
        },
    }))
}

/// `GET subdomain`: what stands before `workers.dev` elsewhere. There is no such thing here, but the
/// first deployment fails without.
pub(super) async fn subdomain(State(api): State<Api>) -> Answer {
    result(json!({"subdomain": api.runtime.base_domain()}))
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Force {
    /// Also one that is the tail consumer of others.
    force: Option<bool>,
}

pub(super) async fn delete(
    State(api): State<Api>,
    Path((_, name)): Named,
    Query(query): Query<Force>,
) -> Answer {
    let control = api.control.clone();
    let deleted = name.clone();
    let force = query.force.unwrap_or(false);
    blocking(move || control.delete_worker(&deleted, force)).await?;
    if let Err(reason) = api.runtime.settled(&name).await {
        tracing::warn!(
            worker = name,
            reason,
            "a deleted Worker may run on for a while"
        );
    }
    result(Value::Null)
}

/// `GET references`: no Worker depends on another one here.
pub(super) async fn references(State(api): State<Api>, Path((_, name)): Named) -> Answer {
    find(&api, &name).await?;
    result(json!({
        "services": {"incoming": [], "outgoing": []},
        "durable_objects": [],
        "dispatch_outbounds": [],
    }))
}

/// `GET tails/by-consumer/{name}`: wrangler asks before it deletes one.
pub(super) async fn tail_producers(State(api): State<Api>, Path((_, name)): Named) -> Answer {
    let (control, consumer) = (api.control.clone(), name.clone());
    let producers = blocking(move || control.tail_producers(&consumer)).await?;
    let producers = producers
        .into_iter()
        .map(|producer| json!({"producer": {"script": producer}, "consumer": {"script": name}}));
    envelope_list(producers.collect())
}

/// `GET durable_objects/namespaces`.
pub(super) async fn namespaces(State(api): State<Api>, Query(query): Query<Page>) -> Answer {
    let mut namespaces = Vec::new();
    for worker in all(&api).await? {
        for (name, class) in &worker.all_classes() {
            namespaces.push(json!({
                "id": class.namespace_id,
                "name": format!("{}_{name}", worker.name),
                "script": worker.name,
                "class": name,
                "use_sqlite": class.sqlite,
            }));
        }
    }
    page(namespaces, query.page)
}
