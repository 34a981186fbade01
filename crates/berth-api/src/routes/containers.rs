//! Container applications and their instances.
//!
//! The containers client of wrangler needs 200 and JSON for everything, and compares an application with
//! what it would send, so that what was sent comes back word for word and nothing is `null`.

use axum::Extension;
use axum::extract::{Path, Query, State};
use berth_control::containers::Application;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::settings::parse;
use super::waiting;
use crate::Api;
use crate::Instance;
use crate::envelope::{Answer, result};
use crate::failure::Failure;
use crate::guard::{Caller, blocking};

/// Below an account and an application.
pub(super) type OfApplication = Path<(String, String)>;

/// `GET me`: what an instance may have. wrangler compares sizes with it.
pub(super) async fn me(State(api): State<Api>) -> Answer {
    let account = &api.control.account().id;
    let vcpu = berth_config::MAX_VCPU;
    let (memory, disk) = (berth_config::MAX_MEMORY_MIB, berth_config::MAX_DISK_MB);
    result(json!({
        "external_account_id": account,
        "legacy_identity": account,
        "limits": {
            "account_id": account,
            "vcpu_per_deployment": vcpu,
            "memory_mib_per_deployment": memory,
            "disk_mb_per_deployment": disk,
            "total_vcpu": vcpu * 1000.0,
            "total_memory_mib": u64::from(memory) * 1000,
            "total_disk_mb": u64::from(disk) * 1000,
            "node_group": "metal",
            "network_modes": ["public"],
            "ipv4s": 0,
        },
        "locations": [],
        "defaults": {"vcpus": 0.0625, "memory_mib": 256, "disk_mb": 2000},
    }))
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Filter {
    name: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Preparation {
    image: String,
}

/// `POST image-preparations`: an image that objects may start with is here. It is when this answers.
pub(super) async fn prepare(State(api): State<Api>, body: Bytes) -> Answer {
    let Preparation { image } = parse(&body)?;
    result(match api.runtime.provide_image(&image).await {
        Ok(()) => json!({"status": "ready", "image": image}),
        Err(reason) => json!({"status": "error", "image": image, "reason": reason}),
    })
}

/// `GET applications`: all at once, wrangler asks for no second page.
pub(super) async fn list(
    State(api): State<Api>,
    Query(filter): Query<Filter>,
    Extension(caller): Extension<Caller>,
) -> Answer {
    waiting::looked(&api, &caller).await?;
    let control = api.control.clone();
    let mut applications = blocking(move || control.applications()).await?;
    if let Some(name) = filter.name {
        applications.retain(|application| application.name == name);
    }
    let shown = applications
        .iter()
        .map(|application| describe(&api, application));
    result(shown.collect::<Vec<_>>())
}

/// `POST applications`.
pub(super) async fn create(State(api): State<Api>, body: Bytes) -> Answer {
    let sent: Map<String, Value> = parse(&body)?;
    if let Some(configuration) = sent.get("configuration")
        && let Some(image) = configuration.get("image").and_then(Value::as_str)
    {
        let provided = api.runtime.provide_image(image).await;
        provided.map_err(Failure::bad_request)?;
    }
    let control = api.control.clone();
    let application = blocking(move || control.create_application(sent)).await?;
    if let Err(failure) = settle(&api, &application).await {
        // The class has no containers again, rather than ones that cannot start.
        let (control, id) = (api.control.clone(), application.id.clone());
        blocking(move || control.delete_application(&id)).await?;
        return Err(failure);
    }
    result(describe(&api, &application))
}

/// `GET applications/{id}`.
pub(super) async fn one(
    State(api): State<Api>,
    Path((_, id)): OfApplication,
    Extension(caller): Extension<Caller>,
) -> Answer {
    waiting::looked(&api, &caller).await?;
    result(describe(&api, &find(&api, &id).await?))
}

/// `PATCH applications/{id}`.
pub(super) async fn modify(
    State(api): State<Api>,
    Path((_, id)): OfApplication,
    body: Bytes,
) -> Answer {
    let changes: Map<String, Value> = parse(&body)?;
    let control = api.control.clone();
    let application = blocking(move || control.modify_application(&id, &changes)).await?;
    settle(&api, &application).await?;
    result(describe(&api, &application))
}

/// `DELETE applications/{id}`.
pub(super) async fn delete(State(api): State<Api>, Path((_, id)): OfApplication) -> Answer {
    let application = find(&api, &id).await?;
    let control = api.control.clone();
    blocking(move || control.delete_application(&id)).await?;
    settle(&api, &application).await?;
    result(json!({}))
}

/// `GET dash/applications`: `wrangler containers list`.
pub(super) async fn dash(State(api): State<Api>) -> Answer {
    let control = api.control.clone();
    let applications = blocking(move || control.applications()).await?;
    let shown = applications.iter().map(|application| {
        json!({
            "id": application.id,
            "created_at": application.created,
            "updated_at": application.modified,
            "name": application.name,
            "version": application.live_version(),
            "instances": api.runtime.instances(&application.namespace_id).len(),
            "image": application.live.image,
            "health": {"instances": health(&api, application)},
        })
    });
    result(shown.collect::<Vec<_>>())
}

/// `GET dash/applications/{id}/instances`: `wrangler containers instances`.
pub(super) async fn instances(State(api): State<Api>, Path((_, id)): OfApplication) -> Answer {
    let application = find(&api, &id).await?;
    let instances = api.runtime.instances(&application.namespace_id);
    let shown = instances.iter().map(|instance| {
        json!({
            "id": instance.id,
            "created_at": instance.created,
            "app_version": instance.version.unwrap_or(application.live_version()),
            "name": instance.name,
            "image": instance.image,
            "type": "durable_object",
            "location": api.runtime.location(),
            "current_placement": {
                "id": instance.id,
                "created_at": instance.created,
                "status": {"health": instance.state, "container_status": instance.state},
                "last_update": instance.since,
            },
            "since": instance.since,
            "reason": instance.reason,
            "usage": instance.usage,
            "size": instance.size,
        })
    });
    let objects = instances.iter().map(|instance| {
        json!({
            "id": instance.object, "deployment_id": instance.id, "assigned_at": instance.created,
            "name": instance.name,
        })
    });
    result(json!({
        "instances": shown.collect::<Vec<_>>(),
        "durable_objects": objects.collect::<Vec<_>>(),
    }))
}

pub(super) async fn find(api: &Api, id: &str) -> Result<Application, Failure> {
    let (control, id) = (api.control.clone(), id.to_owned());
    blocking(move || control.application(&id)).await
}

/// The Worker of the application runs with it, when the client hears of it.
async fn settle(api: &Api, application: &Application) -> Result<(), Failure> {
    let control = api.control.clone();
    for worker in blocking(move || control.workers()).await? {
        let mut classes = worker.classes.values();
        if classes.any(|class| class.namespace_id == application.namespace_id) {
            let settled = api.runtime.settled(&worker.name).await;
            settled.map_err(Failure::bad_request)?;
        }
    }
    Ok(())
}

pub(super) fn health(api: &Api, application: &Application) -> Value {
    let instances = api.runtime.instances(&application.namespace_id);
    let count = |state: &str| {
        let of_state = |instance: &&Instance| instance.state == state;
        instances.iter().filter(of_state).count()
    };
    json!({
        "active": count("running"), "healthy": count("running"), "failed": count("failed"),
        "starting": 0, "scheduling": 0,
    })
}

/// What was sent, with what the server knows.
fn describe(api: &Api, application: &Application) -> Value {
    let mut shown = application.sent.clone();
    shown.insert("id".to_owned(), application.id.clone().into());
    shown.insert(
        "account_id".to_owned(),
        api.control.account().id.clone().into(),
    );
    shown.insert("created_at".to_owned(), application.created.clone().into());
    shown.insert("version".to_owned(), application.live_version().into());
    if let Some(rollout) = application.rollout() {
        shown.insert("active_rollout_id".to_owned(), rollout.id.clone().into());
    }
    let instances = api.runtime.instances(&application.namespace_id).len();
    shown.insert("instances".to_owned(), instances.into());
    let health = json!({"instances": health(api, application)});
    shown.insert("health".to_owned(), health);
    Value::Object(shown)
}
