//! The services behind the bindings: workerd's bundled Workers and their disks.

use berth_config::QueueConsumer;
use serde_json::{Map, Value, json};

use super::{ComposeError, Context, disk, with_props};
use crate::capnp::{Capnp, record, texts};

/// Disk of the Worker's Durable Objects.
pub(super) const DO_STORAGE: &str = "berth:do-storage";
pub(super) const KV: &str = "berth:kv";
pub(super) const D1: &str = "berth:d1";
pub(super) const QUEUES: &str = "berth:queues";
/// Runs handlers of the Worker by hand.
pub(super) const TRIGGERS: &str = "berth:triggers";
const WORKFLOWS: &str = "berth:workflows";
const CRON: &str = "berth:cron";

/// Compatibility date of workerd's bundled Workers.
pub(crate) const BUNDLED_DATE: &str = "2026-01-01";
/// Lets a service binding call `scheduled()` and `queue()`.
pub(crate) const EXTRA_HANDLERS: &str = "service_binding_extra_handlers";
const TRIGGERS_MODULE: &str = include_str!("triggers.js");

/// Every service that the project needs besides its Worker.
pub(super) fn services(context: &Context<'_>) -> Result<Vec<Capnp>, ComposeError> {
    let project = context.project;
    let mut services = Vec::new();
    if !project.classes.is_empty() {
        services.push(disk(context, DO_STORAGE, "do")?);
    }
    match &context.options.server {
        Some(server) => services.extend(super::server::services(context, server)),
        None => services.extend(own_data(context)?),
    }
    if !project.workflows.is_empty() {
        services.extend(workflows(context)?);
    }
    if !project.crons.is_empty() {
        // The binding to the Worker also names its schedule.
        let bindings = vec![
            binding("CRONS", "json", json!({ "worker": project.crons }).into()),
            binding("worker", "service", project.name.as_str().into()),
        ];
        let class = ("SCHEDULE", "Schedule");
        services.extend(store(
            context,
            CRON,
            "cron",
            class,
            &[EXTRA_HANDLERS],
            bindings,
        )?);
    }
    if has_triggers(context) {
        services.push(triggers(context));
    }
    Ok(services)
}

/// KV, D1 and queues, of a Worker that shares them with nobody.
fn own_data(context: &Context<'_>) -> Result<Vec<Capnp>, ComposeError> {
    let project = context.project;
    let mut services = Vec::new();
    if !project.kv_namespaces.is_empty() {
        let blobs = binding("BLOBS", "service", "berth:kv-blobs".into());
        services.extend(store(
            context,
            KV,
            "kv",
            ("SHARD", "KVNamespace"),
            &[],
            vec![blobs],
        )?);
        services.push(disk(context, "berth:kv-blobs", "kv/blobs")?);
    }
    if !project.d1_databases.is_empty() {
        let class = ("DATABASE", "D1Database");
        services.extend(store(context, D1, "d1", class, &[], Vec::new())?);
    }
    if !project.queue_producers.is_empty() || !project.queue_consumers.is_empty() {
        let bindings = vec![
            binding(
                "CONSUMERS",
                "json",
                consumers(&project.queue_consumers).into(),
            ),
            binding("worker", "service", project.name.as_str().into()),
        ];
        let class = ("SHARD", "QueueShard");
        services.extend(store(
            context,
            QUEUES,
            "queues",
            class,
            &[EXTRA_HANDLERS],
            bindings,
        )?);
    }
    Ok(services)
}

/// Whether there is something to trigger by hand.
pub(super) fn has_triggers(context: &Context<'_>) -> bool {
    let project = context.project;
    let server = context.options.server.as_ref();
    let wanted = |server: &super::ServerSide| server.consumes || !project.workflows.is_empty();
    !context.bundle.modules.is_empty() && (!project.crons.is_empty() || server.is_some_and(wanted))
}

fn triggers(context: &Context<'_>) -> Capnp {
    let module = record([
        ("name", "triggers.js".into()),
        ("esModule", TRIGGERS_MODULE.into()),
    ]);
    let project = context.project;
    let mut bindings = vec![binding("WORKER", "service", project.name.as_str().into())];
    if context.options.server.is_some() {
        for flow in &project.workflows {
            let name = format!("workflow:{}", flow.name);
            bindings.push(binding(&name, "wrapped", workflow_binding(&flow.name)));
            let name = format!("instances:{}", flow.name);
            bindings.push(workflow_objects(context, &flow.name, &name));
        }
    }
    let worker = record([
        ("modules", Capnp::List(vec![module])),
        ("compatibilityDate", BUNDLED_DATE.into()),
        ("compatibilityFlags", texts([EXTRA_HANDLERS])),
        ("bindings", bindings.into()),
    ]);
    record([("name", TRIGGERS.into()), ("worker", worker)])
}

/// A bundled Worker that keeps its state in one SQLite-backed Durable Object class, and its disk.
fn store(
    context: &Context<'_>,
    name: &'static str,
    short: &str,
    (namespace, class): (&str, &str),
    flags: &[&str],
    mut bindings: Vec<Capnp>,
) -> Result<[Capnp; 2], ComposeError> {
    let storage = format!("{name}-storage");
    bindings.insert(
        0,
        binding(namespace, "durableObjectNamespace", class.into()),
    );
    let objects = record([
        ("className", class.into()),
        ("uniqueKey", class.into()),
        ("enableSql", true.into()),
    ]);
    let worker = record([
        ("modules", bundled(short)),
        ("compatibilityDate", BUNDLED_DATE.into()),
        ("compatibilityFlags", texts(flags)),
        ("bindings", bindings.into()),
        ("durableObjectNamespaces", Capnp::List(vec![objects])),
        (
            "durableObjectStorage",
            record([("localDisk", storage.as_str().into())]),
        ),
    ]);
    let service = record([("name", name.into()), ("worker", worker)]);
    Ok([service, disk(context, &storage, short)?])
}

fn workflows(context: &Context<'_>) -> Result<[Capnp; 2], ComposeError> {
    let storage = format!("{WORKFLOWS}-storage");
    let flows = &context.project.workflows;
    let mut bindings: Vec<Capnp> = flows
        .iter()
        .map(|flow| workflow_objects(context, &flow.name, &format!("workflow:{}", flow.name)))
        .collect();
    let settings: Map<String, Value> = flows
        .iter()
        .map(|flow| (flow.name.clone(), json!({})))
        .collect();
    bindings.push(binding("WORKFLOWS", "json", Value::Object(settings).into()));
    let worker = record([
        ("modules", bundled("workflows")),
        ("compatibilityDate", BUNDLED_DATE.into()),
        (
            "compatibilityFlags",
            texts(["workflows_preserve_non_retryable_error_message"]),
        ),
        ("bindings", bindings.into()),
        (
            "durableObjectStorage",
            record([("localDisk", storage.as_str().into())]),
        ),
    ]);
    let service = record([("name", WORKFLOWS.into()), ("worker", worker)]);
    Ok([service, disk(context, &storage, "workflows")?])
}

/// What the objects of a workflow's instances are called: their class, and the directory of their storage in
/// `workflows` of the state.
pub fn workflow_class(workflow: &str) -> String {
    format!("miniflare-workflows-{workflow}")
}

/// A binding of those objects, which workerd makes for each entry of the Worker's `workflowsEngine`.
fn workflow_objects(context: &Context<'_>, workflow: &str, name: &str) -> Capnp {
    let namespace = record([
        ("className", workflow_class(workflow).into()),
        ("serviceName", context.project.name.as_str().into()),
    ]);
    binding(name, "durableObjectNamespace", namespace)
}

/// The Worker's `workflowsEngine`.
pub(super) fn workflows_engine(context: &Context<'_>) -> Capnp {
    let engine = record([("name", WORKFLOWS.into()), ("entrypoint", "Engine".into())]);
    let flows = context.project.workflows.iter().map(|flow| {
        record([
            ("className", flow.class_name.as_str().into()),
            ("name", flow.name.as_str().into()),
            ("bindingService", workflow_service(&flow.name)),
        ])
    });
    record([
        ("actorClass", engine),
        ("workflows", Capnp::List(flows.collect())),
    ])
}

/// The service behind a workflow's binding.
pub(super) fn workflow_service(name: &str) -> Capnp {
    with_props(
        WORKFLOWS,
        Some("WorkflowBinding"),
        json!({ "workflow": name }),
    )
}

/// The JavaScript side of a workflow's binding.
pub(super) fn workflow_binding(name: &str) -> Capnp {
    super::bindings::wrapped("cloudflare-internal:workflows-api", workflow_service(name))
}

/// `CONSUMERS` of `/workerd/queues.js`: queue → consumer and its settings, where given.
fn consumers(consumers: &[QueueConsumer]) -> Value {
    let consumers = consumers.iter().map(|consumer| {
        let settings = [
            ("maxBatchSize", consumer.max_batch_size.map(Value::from)),
            (
                "maxBatchTimeout",
                consumer.max_batch_timeout_s.map(Value::from),
            ),
            ("maxRetries", consumer.max_retries.map(Value::from)),
            (
                "deadLetterQueue",
                consumer.dead_letter_queue.clone().map(Value::from),
            ),
            ("maxConcurrency", consumer.max_concurrency.map(Value::from)),
            ("retryDelay", consumer.retry_delay_s.map(Value::from)),
        ];
        let settings = settings
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let mut object = Map::from_iter([("consumer".to_owned(), Value::from("worker"))]);
        object.extend(settings);
        (consumer.queue.clone(), Value::Object(object))
    });
    Value::Object(consumers.collect())
}

fn bundled(short: &str) -> Capnp {
    let name = format!("{short}.js");
    let source = format!("/workerd/{name}");
    Capnp::List(vec![record([
        ("name", name.into()),
        ("bundled", source.into()),
    ])])
}

fn binding(name: &str, kind: &'static str, value: Capnp) -> Capnp {
    record([("name", name.into()), (kind, value)])
}
