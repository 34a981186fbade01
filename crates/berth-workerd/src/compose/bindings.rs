//! `env` of the Worker.

use serde_json::json;

use super::{Context, assets, platform, server, with_props};
use crate::capnp::{Capnp, record};

/// All bindings. Secrets win over variables of the same name.
pub(super) fn bindings(context: &Context<'_>) -> Vec<Capnp> {
    let project = context.project;
    let on_server = context.options.server.as_ref();
    let mut bindings = Vec::new();
    let vars = project.vars.iter();
    for (name, value) in vars.filter(|(name, _)| !project.secrets.contains_key(*name)) {
        bindings.push(match value {
            serde_json::Value::String(text) => binding(name, "text", text.as_str().into()),
            other => binding(name, "json", other.clone().into()),
        });
    }
    let secrets = project.secrets.iter();
    bindings.extend(secrets.map(|(name, value)| binding(name, "text", value.as_str().into())));
    for object in &project.durable_objects {
        let class = object.class_name.as_str().into();
        bindings.push(binding(&object.name, "durableObjectNamespace", class));
    }
    for namespace in &project.kv_namespaces {
        let props = json!({ "namespace": namespace.id });
        let service = match on_server {
            Some(_) => server::kv(&namespace.id),
            None => with_props(platform::KV, None, props),
        };
        bindings.push(binding(&namespace.binding, "kvNamespace", service));
    }
    for producer in &project.queue_producers {
        let props = json!({ "queue": producer.queue });
        let service = match on_server {
            Some(_) => server::queue(&producer.queue),
            None => with_props(platform::QUEUES, None, props),
        };
        bindings.push(binding(&producer.binding, "queue", service));
    }
    for workflow in &project.workflows {
        let wrapped = platform::workflow_binding(&workflow.name);
        bindings.push(binding(&workflow.binding, "wrapped", wrapped));
    }
    for database in &project.d1_databases {
        let props = json!({ "database": database.database_id });
        let service = match on_server {
            Some(_) => server::d1(context, &database.database_id),
            None => with_props(platform::D1, None, props),
        };
        let wrapped = wrapped("cloudflare-internal:d1-api", service);
        bindings.push(binding(&database.binding, "wrapped", wrapped));
    }
    for bucket in &project.r2_buckets {
        let service = super::r2::service_of(&bucket.bucket_name);
        bindings.push(binding(
            &bucket.binding,
            "r2Bucket",
            service.as_str().into(),
        ));
    }
    bindings.extend(on_server.map(server::secrets).into_iter().flatten());
    for service in &project.services {
        if on_server.is_some_and(|server| server.peers.contains_key(&service.binding)) {
            let peer = server::peer(&service.binding);
            bindings.push(binding(&service.binding, "service", peer));
            continue;
        }
        let mut designator = vec![("name", project.name.as_str().into())];
        let entrypoint = service.entrypoint.as_deref();
        designator.extend(entrypoint.map(|entrypoint| ("entrypoint", entrypoint.into())));
        bindings.push(binding(
            &service.binding,
            "service",
            Capnp::Struct(designator),
        ));
    }
    let assets_binding = project
        .assets
        .as_ref()
        .and_then(|assets| assets.binding.as_ref());
    bindings.extend(assets_binding.map(|name| binding(name, "service", assets::files_only())));
    bindings
}

fn binding(name: &str, kind: &'static str, value: Capnp) -> Capnp {
    record([("name", name.into()), (kind, value)])
}

/// A binding whose JavaScript side is one of workerd's internal modules.
pub(super) fn wrapped(module: &str, service: Capnp) -> Capnp {
    let inner = record([("name", "fetcher".into()), ("service", service)]);
    record([
        ("moduleName", module.into()),
        ("innerBindings", Capnp::List(vec![inner])),
    ])
}
