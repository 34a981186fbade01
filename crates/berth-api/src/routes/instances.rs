//! Every container, with what it uses and what happened to it: our own route, and the placements of the
//! containers API.

use axum::extract::Query as UrlQuery;
use axum::extract::{Path, State};
use berth_logs::{Entry, Level, Query, Source};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::containers::OfApplication;
use crate::describe::{Routes, about, get};
use crate::envelope::{Answer, result};
use crate::failure::Failure;
use crate::guard::blocking;
use crate::{Api, Instance};

/// Events that are shown of one container.
const EVENTS: usize = 100;

pub(super) fn routes() -> Routes {
    let all = about("Every instance: state, place, version, since when, what it uses and may use");
    Routes::new()
        .route("/berth/instances", get(list, all.query::<Filter>()))
        .route(
            "/containers/deployments/{id}/placements",
            get(placements, "The placement of an instance, with its events"),
        )
        .route(
            "/containers/placements/{id}",
            get(placement, "A placement, with its events"),
        )
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Filter {
    /// Name of a Worker.
    app: Option<String>,
}

/// `GET berth/instances`.
async fn list(State(api): State<Api>, UrlQuery(filter): UrlQuery<Filter>) -> Answer {
    let all = all(&api).await?.into_iter();
    let shown = all
        .filter(|one| filter.app.as_ref().is_none_or(|app| one.worker == *app))
        .map(|one| describe(&api, &one));
    result(shown.collect::<Vec<_>>())
}

/// An instance and whose it is.
pub(super) struct Owned {
    worker: String,
    class: String,
    pub(super) application: Option<String>,
    pub(super) instance: Instance,
}

/// The instance with this id.
pub(super) async fn find(api: &Api, id: &str) -> Result<Owned, Failure> {
    let all = all(api).await?;
    let found = all.into_iter().find(|one| one.instance.id == id);
    found.ok_or_else(|| {
        let text = format!("there is no instance `{id}`");
        Failure::new(StatusCode::NOT_FOUND, 1603, text)
    })
}

async fn all(api: &Api) -> Result<Vec<Owned>, Failure> {
    let control = api.control.clone();
    let (workers, applications) =
        blocking(move || Ok((control.workers()?, control.applications()?))).await?;
    let mut all = Vec::new();
    for worker in workers {
        for (class, record) in &worker.classes {
            let mut of_class = applications.iter();
            let application = of_class.find(|one| one.namespace_id == record.namespace_id);
            let instances = api.runtime.instances(&record.namespace_id).into_iter();
            all.extend(instances.map(|instance| Owned {
                worker: worker.name.clone(),
                class: class.clone(),
                application: application.map(|application| application.id.clone()),
                instance,
            }));
        }
    }
    Ok(all)
}

fn describe(api: &Api, one: &Owned) -> Value {
    let instance = &one.instance;
    json!({
        "id": instance.id,
        "name": instance.name,
        "app": one.worker,
        "class_name": one.class,
        "application": one.application,
        "object": instance.object,
        "state": instance.state,
        "since": instance.since,
        "reason": instance.reason,
        "created_at": instance.created,
        "location": api.runtime.location(),
        "version": instance.version,
        "image": instance.image,
        "usage": instance.usage,
        "size": instance.size,
    })
}

/// `GET containers/deployments/{id}/placements`: there is one.
async fn placements(State(api): State<Api>, Path((_, id)): OfApplication) -> Answer {
    result([described(&api, &id).await?])
}

/// `GET containers/placements/{id}`.
async fn placement(State(api): State<Api>, Path((_, id)): OfApplication) -> Answer {
    result(described(&api, &id).await?)
}

async fn described(api: &Api, id: &str) -> Result<Value, Failure> {
    let one = find(api, id).await?;
    let query = Query {
        app: Some(one.worker.clone()),
        instance: Some(one.instance.object.clone()),
        sources: vec![Source::Event],
        limit: Some(EVENTS),
        ..Query::default()
    };
    let events = api.runtime.logs().query(query).await;
    let events = events.map_err(Failure::internal)?;
    let state = one.instance.state;
    Ok(json!({
        "id": one.instance.id,
        "created_at": one.instance.created,
        "deployment_id": one.instance.id,
        "deployment_version": one.instance.version.unwrap_or(1),
        "terminate": matches!(state, "stopping" | "stopped" | "failed"),
        "status": {"health": state, "container_status": state},
        "last_update": one.instance.since,
        "durable_object_actor_id": one.instance.object,
        "events": events.iter().map(event).collect::<Vec<_>>(),
    }))
}

/// In the names of the containers API.
fn event(entry: &Entry) -> Value {
    let word = entry.data.as_ref().and_then(|data| data["event"].as_str());
    let (name, change) = match word.unwrap_or_default() {
        "placed" => ("SchedulerPlaced", "placed"),
        "pulled" => ("ImagePulled", "placed"),
        "started" => ("ContainerStarted", "running"),
        "retired" => ("VMStopping", "stopping"),
        "stopped" => ("VMStopped", "stopped"),
        "start_failed" => ("VMFailedToStart", "failed"),
        "refused" | "lost" => ("VMFailed", "failed"),
        _ => ("ServiceHealthUpdates", ""),
    };
    let kind = match entry.level {
        Level::Error => "Error",
        Level::Warn => "Warn",
        _ => "Info",
    };
    json!({
        "id": entry.id.to_string(),
        "time": entry.time(),
        "type": kind,
        "name": name,
        "message": entry.text,
        "details": entry.data,
        "statusChange": {"health": change},
    })
}
