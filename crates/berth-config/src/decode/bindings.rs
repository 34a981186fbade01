//! KV, D1, R2, Queues, Workflows, services.

use super::crons;
use super::field::{Field, Fields, Spanned};
use super::root::Root;
use super::unique::Bindings;
use super::worker::Names;
use crate::value::Kind;
use crate::{
    D1Database, KvNamespace, QueueConsumer, QueueProducer, R2Bucket, ServiceBinding, Workflow,
};

/// The objects of an array-valued field, if it is there.
fn objects<'a>(root: &Root<'a>, name: &'static str) -> Vec<Fields<'a>> {
    root.get(name)
        .map(|field| field.objects())
        .unwrap_or_default()
}

/// The name in `env`, noted for the check that it is the only one.
fn binding(fields: &Fields<'_>, kind: &'static str, bindings: &mut Bindings) -> Option<String> {
    let name = fields.require_text("binding")?;
    bindings.add(&name, kind);
    Some(name.value)
}

/// `remote: true` asks for a resource on Cloudflare, which Berth never uses.
fn not_remote(fields: &Fields<'_>) {
    if let Some(remote) = fields.get("remote")
        && remote.boolean() == Some(true)
    {
        remote.cx.warn(
            &remote.key_span,
            format!(
                "`{}` is ignored: Berth keeps everything on this machine",
                remote.path
            ),
            "remove it, or expect an empty local resource",
        );
    }
}

/// `kv_namespaces`.
pub(crate) fn kv_namespaces(root: &Root<'_>, bindings: &mut Bindings) -> Vec<KvNamespace> {
    let mut namespaces = Vec::new();
    for fields in objects(root, "kv_namespaces") {
        let name = binding(&fields, "KV namespace", bindings);
        let id = fields.text("id");
        not_remote(&fields);
        fields.ignore(&["preview_id"]);
        fields.finish();
        if let Some(name) = name {
            namespaces.push(KvNamespace {
                id: id.map_or_else(|| name.clone(), |id| id.value),
                binding: name,
            });
        }
    }
    namespaces
}

/// `d1_databases`.
pub(crate) fn d1_databases(root: &Root<'_>, bindings: &mut Bindings) -> Vec<D1Database> {
    let mut databases = Vec::new();
    for fields in objects(root, "d1_databases") {
        let name = binding(&fields, "D1 database", bindings);
        let database_name = fields.text("database_name");
        let id = fields.text("database_id");
        not_remote(&fields);
        fields.ignore(&[
            "preview_database_id",
            "migrations_table",
            "migrations_dir",
            "migrations_pattern",
            "database_internal_env",
        ]);
        fields.finish();
        if let Some(name) = name {
            databases.push(D1Database {
                database_name: database_name.map_or_else(|| name.clone(), |it| it.value),
                database_id: id.map_or_else(|| name.clone(), |it| it.value),
                binding: name,
            });
        }
    }
    databases
}

/// `r2_buckets`.
pub(crate) fn r2_buckets(root: &Root<'_>, bindings: &mut Bindings) -> Vec<R2Bucket> {
    let mut buckets = Vec::new();
    for fields in objects(root, "r2_buckets") {
        let name = binding(&fields, "R2 bucket", bindings);
        let bucket_name = fields.text("bucket_name");
        not_remote(&fields);
        fields.ignore(&["preview_bucket_name", "jurisdiction"]);
        fields.finish();
        if let Some(bucket) = &bucket_name
            && !is_bucket_name(&bucket.value)
        {
            root.cx.error(
                &bucket.span,
                format!("`{}` cannot be the name of a bucket", bucket.value),
                "3 to 63 characters: lower-case letters, digits and hyphens, none of these at the ends",
            );
        }
        if let Some(name) = name {
            buckets.push(R2Bucket {
                // As wrangler names a bucket that it makes.
                bucket_name: bucket_name.map_or_else(
                    || name.to_lowercase().replace('_', "-"),
                    |bucket| bucket.value,
                ),
                binding: name,
            });
        }
    }
    buckets
}

/// R2's rule.
fn is_bucket_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (3..=63).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// `queues`.
pub(crate) fn queues(
    root: &Root<'_>,
    bindings: &mut Bindings,
) -> (Vec<QueueProducer>, Vec<QueueConsumer>) {
    let Some(fields) = root.get("queues").and_then(|field| field.fields()) else {
        return (Vec::new(), Vec::new());
    };
    let list = |name| fields.get(name).map(|field| field.objects());
    let producers = list("producers").unwrap_or_default();
    let consumers = list("consumers").unwrap_or_default();
    let producers = producers
        .into_iter()
        .filter_map(|fields| producer(fields, bindings))
        .collect();
    let mut seen: Vec<QueueConsumer> = Vec::new();
    for fields in consumers {
        if let Some((consumer, name)) = consumer(fields) {
            if seen.iter().any(|other| other.queue == consumer.queue) {
                root.cx.error(
                    &name.span,
                    format!("the queue `{}` has two consumers here", name.value),
                    "a queue has one consumer: merge them",
                );
            }
            seen.push(consumer);
        }
    }
    fields.finish();
    (producers, seen)
}

fn producer(fields: Fields<'_>, bindings: &mut Bindings) -> Option<QueueProducer> {
    let name = binding(&fields, "queue", bindings);
    let queue = fields.text("queue");
    let delay = whole(&fields, "delivery_delay");
    not_remote(&fields);
    fields.finish();
    let name = name?;
    Some(QueueProducer {
        queue: queue.map_or_else(|| name.clone(), |queue| queue.value),
        binding: name,
        delivery_delay_s: delay,
    })
}

fn consumer(fields: Fields<'_>) -> Option<(QueueConsumer, Spanned<String>)> {
    let queue = fields.require_text("queue");
    if let Some(kind) = fields.get("type")
        && let Some(text) = kind.text()
        && text.value != "worker"
    {
        kind.cx.error(
            &text.span,
            format!("`{}` cannot be `{}`", kind.path, text.value),
            "only `worker` consumers are configured here; remove the field",
        );
    }
    let consumer = |queue: String| QueueConsumer {
        queue,
        max_batch_size: at_least_one(&fields, "max_batch_size"),
        max_batch_timeout_s: whole(&fields, "max_batch_timeout"),
        max_retries: whole(&fields, "max_retries"),
        dead_letter_queue: fields.text("dead_letter_queue").map(|queue| queue.value),
        max_concurrency: at_least_one(&fields, "max_concurrency"),
        retry_delay_s: whole(&fields, "retry_delay"),
    };
    let name = queue.clone().map(|queue| queue.value).unwrap_or_default();
    let consumer = consumer(name);
    fields.ignore(&["visibility_timeout_ms"]);
    fields.finish();
    Some((consumer, queue?))
}

fn whole(fields: &Fields<'_>, name: &'static str) -> Option<u32> {
    fields.get(name)?.whole(0, u32::MAX)
}

fn at_least_one(fields: &Fields<'_>, name: &'static str) -> Option<u32> {
    fields.get(name)?.whole(1, u32::MAX)
}

/// `workflows`. Names follow wrangler's rule; two of one name are a mistake, as in wrangler.
pub(crate) fn workflows(root: &Root<'_>, names: &Names, bindings: &mut Bindings) -> Vec<Workflow> {
    let mut workflows: Vec<Workflow> = Vec::new();
    for fields in objects(root, "workflows") {
        let binding = binding(&fields, "workflow", bindings);
        let name = fields.require_text("name");
        let class_name = fields.require_text("class_name");
        other_worker(&fields, names, "workflows");
        if let Some(schedules) = fields.get("schedules") {
            workflow_schedules(&schedules);
        }
        if let Some(limits) = fields.get("limits").and_then(|limits| limits.fields()) {
            if let Some(steps) = limits.get("steps") {
                steps.whole(1, u32::MAX);
            }
            limits.finish();
        }
        fields.ignore(&["remote"]);
        fields.finish();
        let (Some(binding), Some(name), Some(class_name)) = (binding, name, class_name) else {
            continue;
        };
        if !is_workflow_name(&name.value) {
            root.cx.error(
                &name.span,
                format!("`{}` is no name for a workflow", name.value),
                "1 to 64 letters, digits, `_` and `-`, not beginning with `-`",
            );
        }
        if workflows.iter().any(|other| other.name == name.value) {
            root.cx.error(
                &name.span,
                format!("two workflows are named `{}`", name.value),
                "give each its own name",
            );
        }
        workflows.push(Workflow {
            binding,
            name: name.value,
            class_name: class_name.value,
        });
    }
    workflows
}

fn workflow_schedules(field: &Field<'_>) {
    let schedules = match field.value.kind {
        Kind::Array(_) => field.strings(),
        _ => field.text().into_iter().collect(),
    };
    let valid = schedules
        .iter()
        .filter(|cron| crons::check(field, cron))
        .count();
    if valid > 0 {
        field.cx.warn(
            &field.key_span,
            "Berth does not start workflows on a schedule yet",
            "use `triggers.crons` and create the instance in `scheduled()`",
        );
    }
}

fn is_workflow_name(name: &str) -> bool {
    name.len() <= 64
        && !name.starts_with('-')
        && name
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || "_-".contains(character))
}

/// Refuses a class of another Worker.
pub(crate) fn other_worker(fields: &Fields<'_>, names: &Names, what: &str) {
    fields.ignore(&["environment"]);
    if let Some(script) = fields.text("script_name")
        && script.value != names.full
        && !fields.cx.is_deployed()
    {
        fields.cx.error(
            &script.span,
            format!(
                "Berth does not run {what} of other Workers yet: `{}`",
                script.value
            ),
            format!("this Worker is `{}`", names.full),
        );
    }
}

/// `services`: only bindings to this very Worker.
pub(crate) fn services(
    root: &Root<'_>,
    names: &Names,
    bindings: &mut Bindings,
) -> Vec<ServiceBinding> {
    let mut services = Vec::new();
    for fields in objects(root, "services") {
        let binding = binding(&fields, "service", bindings);
        let service = fields.require_text("service");
        let entrypoint = fields.text("entrypoint");
        not_remote(&fields);
        fields.ignore(&["environment", "props", "dev"]);
        fields.finish();
        let (Some(binding), Some(service)) = (binding, service) else {
            continue;
        };
        if service.value != names.full && !root.cx.is_deployed() {
            root.cx.error(
                &service.span,
                format!(
                    "Berth does not run services to other Workers yet: `{}`",
                    service.value
                ),
                format!("this Worker is `{}`", names.full),
            );
        }
        services.push(ServiceBinding {
            binding,
            service: service.value,
            entrypoint: entrypoint.map(|entrypoint| entrypoint.value),
        });
    }
    services
}
