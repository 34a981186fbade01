//! Queues, their consumers and their messages.

use std::collections::HashMap;

use std::time::Instant;

use axum::extract::{Path, Query, RawQuery, State};
use berth_control::resources::{Consumer, ConsumerSettings, Queue, QueueChanges};
use berth_control::worker::{BindingKind, Worker};
use bytes::Bytes;
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::settings::parse;
use super::workers::Named;
use crate::Api;
use crate::data::administer;
use crate::envelope::{Answer, paged, result};
use crate::failure::Failure;
use crate::guard::blocking;

/// An invalid consumer.
const CONSUMER: u32 = 100_127;

/// Who sends to which queue.
fn producers(workers: &[Worker]) -> HashMap<String, Vec<Value>> {
    let mut producers: HashMap<String, Vec<Value>> = HashMap::new();
    for worker in workers {
        for binding in worker.live().into_iter().flat_map(|live| &live.bindings) {
            if let BindingKind::Queue { queue_name, .. } = &binding.kind {
                let producer = json!({
                    "type": "worker",
                    "script": worker.name,
                    "service": worker.name,
                    "environment": "production",
                });
                producers
                    .entry(queue_name.clone())
                    .or_default()
                    .push(producer);
            }
        }
    }
    producers
}

fn consumer(queue: &Queue, consumer: &Consumer) -> Value {
    let mut described = json!({
        "consumer_id": consumer.id,
        "type": "worker",
        "script": consumer.script_name,
        "service": consumer.script_name,
        "environment": "production",
        "queue_name": queue.name,
        "created_on": consumer.created,
        "settings": consumer.settings,
    });
    if let Some(name) = &consumer.dead_letter_queue {
        described["dead_letter_queue"] = name.clone().into();
    }
    described
}

fn described(queue: &Queue, producers: &HashMap<String, Vec<Value>>) -> Value {
    let producers = producers.get(&queue.name).cloned().unwrap_or_default();
    let consumers = queue.consumers.iter().map(|one| consumer(queue, one));
    json!({
        "queue_id": queue.id,
        "queue_name": queue.name,
        "created_on": queue.created,
        "modified_on": queue.modified,
        "producers_total_count": producers.len(),
        "producers": producers,
        "consumers_total_count": queue.consumers.len(),
        "consumers": consumers.collect::<Vec<_>>(),
        "settings": {
            "delivery_delay": queue.settings.delivery_delay,
            "delivery_paused": queue.settings.delivery_paused,
            "message_retention_period": queue.retention(),
        },
    })
}

async fn describe(api: &Api, queue: &Queue) -> Answer {
    let control = api.control.clone();
    let workers = blocking(move || control.workers()).await?;
    result(described(queue, &producers(&workers)))
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Page {
    page: Option<usize>,
    per_page: Option<usize>,
}

/// `GET queues`: all, or those that `name` (any number of times) names.
pub(super) async fn list(
    State(api): State<Api>,
    Query(page): Query<Page>,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = query.unwrap_or_default();
    let names: Vec<String> = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("name="))
        .map(|name| {
            let name = name.replace('+', " ");
            percent_encoding::percent_decode_str(&name)
                .decode_utf8_lossy()
                .into_owned()
        })
        .collect();
    let control = api.control.clone();
    let (queues, workers) = blocking(move || Ok((control.queues()?, control.workers()?))).await?;
    let producers = producers(&workers);
    let wanted = queues
        .iter()
        .filter(|queue| names.is_empty() || names.contains(&queue.name));
    let wanted = wanted.map(|queue| described(queue, &producers)).collect();
    paged(wanted, page.page, page.per_page)
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct NewQueue {
    queue_name: String,
    #[serde(default)]
    settings: Settings,
}

#[derive(Default, Deserialize, JsonSchema)]
struct Settings {
    delivery_delay: Option<u32>,
    message_retention_period: Option<u32>,
    delivery_paused: Option<bool>,
}

impl From<Settings> for QueueChanges {
    fn from(settings: Settings) -> Self {
        Self {
            delivery_delay: settings.delivery_delay,
            message_retention_period: settings.message_retention_period,
            delivery_paused: settings.delivery_paused,
        }
    }
}

/// `POST queues`.
pub(super) async fn create(State(api): State<Api>, body: Bytes) -> Answer {
    let since = Instant::now();
    let new: NewQueue = parse(&body)?;
    let control = api.control.clone();
    let queue =
        blocking(move || control.create_queue(&new.queue_name, new.settings.into())).await?;
    told(&api, since).await?;
    describe(&api, &queue).await
}

/// `GET queues/{id}`.
pub(super) async fn one(State(api): State<Api>, Path((_, id)): Named) -> Answer {
    let queue = find(&api, &id).await?;
    describe(&api, &queue).await
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct ChangedQueue {
    queue_name: Option<String>,
    #[serde(default)]
    settings: Settings,
}

/// `PATCH queues/{id}`.
pub(super) async fn change(State(api): State<Api>, Path((_, id)): Named, body: Bytes) -> Answer {
    let since = Instant::now();
    let changed: ChangedQueue = parse(&body)?;
    let control = api.control.clone();
    let change = move || {
        let name = changed.queue_name.as_deref();
        control.change_queue(&id, name, changed.settings.into())
    };
    let queue = blocking(change).await?;
    told(&api, since).await?;
    describe(&api, &queue).await
}

/// `DELETE queues/{id}`: with its messages.
pub(super) async fn delete(State(api): State<Api>, Path((_, id)): Named) -> Answer {
    let since = Instant::now();
    let control = api.control.clone();
    let queue = blocking(move || control.delete_queue(&id)).await?;
    told(&api, since).await?;
    let what = ("queue", "forget", queue.name.as_str());
    let _: Value = administer(&api, what, Method::POST, "").await?;
    result(json!({}))
}

/// `POST queues/{id}/purge`.
pub(super) async fn purge(State(api): State<Api>, Path((_, id)): Named) -> Answer {
    let queue = find(&api, &id).await?;
    let what = ("queue", "purge", queue.name.as_str());
    let _: Value = administer(&api, what, Method::POST, "").await?;
    describe(&api, &queue).await
}

/// `GET queues/{id}/metrics`.
pub(super) async fn metrics(State(api): State<Api>, Path((_, id)): Named) -> Answer {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metrics {
        backlog_count: u64,
        backlog_bytes: u64,
    }
    let queue = find(&api, &id).await?;
    let what = ("queue", "metrics", queue.name.as_str());
    let metrics: Metrics = administer(&api, what, Method::POST, "").await?;
    result(json!({
        "backlog_count": metrics.backlog_count,
        "backlog_bytes": metrics.backlog_bytes,
    }))
}

/// `GET queues/{id}/consumers`.
pub(super) async fn consumers(State(api): State<Api>, Path((_, id)): Named) -> Answer {
    let queue = find(&api, &id).await?;
    let consumers = queue.consumers.iter().map(|one| consumer(&queue, one));
    result(consumers.collect::<Vec<_>>())
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct NewConsumer {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    script_name: Option<String>,
    dead_letter_queue: Option<String>,
    #[serde(default)]
    settings: ConsumerForm,
}

#[derive(Default, Deserialize, JsonSchema)]
struct ConsumerForm {
    batch_size: Option<u32>,
    max_retries: Option<u32>,
    max_wait_time_ms: Option<u32>,
    max_concurrency: Option<u32>,
    retry_delay: Option<u32>,
}

/// `POST queues/{id}/consumers`.
pub(super) async fn add(State(api): State<Api>, Path((_, id)): Named, body: Bytes) -> Answer {
    set(&api, id, None, &body).await
}

/// `PUT queues/{id}/consumers/{consumer}`.
pub(super) async fn replace(
    State(api): State<Api>,
    Path((_, id, consumer)): Path<(String, String, String)>,
    body: Bytes,
) -> Answer {
    set(&api, id, Some(consumer), &body).await
}

/// `DELETE queues/{id}/consumers/{consumer}`.
pub(super) async fn remove(
    State(api): State<Api>,
    Path((_, id, consumer)): Path<(String, String, String)>,
) -> Answer {
    let since = Instant::now();
    let control = api.control.clone();
    blocking(move || control.remove_consumer(&id, &consumer)).await?;
    told(&api, since).await?;
    result(json!({}))
}

async fn set(api: &Api, queue: String, id: Option<String>, body: &[u8]) -> Answer {
    let since = Instant::now();
    let new: NewConsumer = parse(body)?;
    let refused = |text: String| Failure::new(StatusCode::BAD_REQUEST, CONSUMER, text);
    if let Some(kind) = new.kind.filter(|kind| kind != "worker") {
        let text = format!("consumers of the type `{kind}` are not supported: a Worker can be one");
        return Err(refused(text));
    }
    let script = new.script_name;
    let script = script.ok_or_else(|| refused("`script_name` is missing".to_owned()))?;
    let form = new.settings;
    let settings = ConsumerSettings {
        batch_size: form.batch_size,
        max_retries: form.max_retries,
        max_wait_time_ms: form.max_wait_time_ms,
        max_concurrency: form.max_concurrency,
        retry_delay: form.retry_delay,
    };
    let control = api.control.clone();
    let change = move || {
        let dead = new
            .dead_letter_queue
            .as_deref()
            .filter(|name| !name.is_empty());
        control.set_consumer(&queue, id.as_deref(), &script, dead, settings)
    };
    let (queue, made) = blocking(change).await?;
    told(api, since).await?;
    result(consumer(&queue, &made))
}

async fn find(api: &Api, id: &str) -> Result<Queue, Failure> {
    let (control, id) = (api.control.clone(), id.to_owned());
    blocking(move || control.queue(&id)).await
}

/// What runs knows of it when the client hears of it. `since`: before it was changed.
pub(super) async fn told(api: &Api, since: Instant) -> Result<(), Failure> {
    let told = api.runtime.shared_changed(since).await;
    told.map_err(|reason| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, 10_013, reason))
}
