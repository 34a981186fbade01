//! What an upload says of a Worker, in wrangler's words (`create-worker-upload-form.ts`).

use berth_config::{Project, RunWorkerFirst};
use serde_json::{Map, Value, json};

use super::images::Pushed;

/// Names in the file and in the API.
type Fields = &'static [(&'static str, &'static str)];

/// Lists of bindings that become bindings of one type with some of their fields, under these names.
const LISTS: &[(&str, &str, Fields)] = &[
    (
        "kv_namespaces",
        "kv_namespace",
        &[("binding", "name"), ("id", "namespace_id")],
    ),
    (
        "r2_buckets",
        "r2_bucket",
        &[
            ("binding", "name"),
            ("bucket_name", "bucket_name"),
            ("jurisdiction", "jurisdiction"),
        ],
    ),
    (
        "d1_databases",
        "d1",
        &[("binding", "name"), ("database_id", "id")],
    ),
    (
        "services",
        "service",
        &[
            ("binding", "name"),
            ("service", "service"),
            ("environment", "environment"),
            ("entrypoint", "entrypoint"),
            ("props", "props"),
        ],
    ),
    (
        "secrets_store_secrets",
        "secrets_store_secret",
        &[
            ("binding", "name"),
            ("store_id", "store_id"),
            ("secret_name", "secret_name"),
        ],
    ),
    (
        "workflows",
        "workflow",
        &[
            ("binding", "name"),
            ("name", "workflow_name"),
            ("class_name", "class_name"),
            ("script_name", "script_name"),
        ],
    ),
];
/// The same for lists inside another field.
const DURABLE_OBJECTS: Fields = &[
    ("name", "name"),
    ("class_name", "class_name"),
    ("script_name", "script_name"),
    ("environment", "environment"),
];
const PRODUCERS: Fields = &[
    ("binding", "name"),
    ("queue", "queue_name"),
    ("delivery_delay", "delivery_delay"),
];

/// All bindings. One that lacks an id of something that a server has yet to make lacks it here, too.
pub(super) fn bindings(project: &Project) -> Vec<Value> {
    let mut bindings: Vec<Value> = project
        .vars
        .iter()
        .map(|(name, value)| match value {
            Value::String(text) => json!({"name": name, "type": "plain_text", "text": text}),
            other => json!({"name": name, "type": "json", "json": other}),
        })
        .collect();
    let written = &project.written;
    for (list, kind, fields) in LISTS {
        bindings.extend(of_list(written.get(*list), kind, fields));
    }
    let objects = written.get("durable_objects");
    let objects = objects.and_then(|objects| objects.get("bindings"));
    bindings.extend(of_list(
        objects,
        "durable_object_namespace",
        DURABLE_OBJECTS,
    ));
    let producers = written.get("queues");
    let producers = producers.and_then(|queues| queues.get("producers"));
    bindings.extend(of_list(producers, "queue", PRODUCERS));
    let metadata = written.get("version_metadata");
    if let Some(name) = metadata.and_then(|it| it["binding"].as_str()) {
        bindings.push(json!({"name": name, "type": "version_metadata"}));
    }
    if let Some(name) = project
        .assets
        .as_ref()
        .and_then(|assets| assets.binding.as_ref())
    {
        bindings.push(json!({"name": name, "type": "assets"}));
    }
    bindings
}

fn of_list(list: Option<&Value>, kind: &str, fields: Fields) -> Vec<Value> {
    let entries = list.and_then(Value::as_array).into_iter().flatten();
    entries
        .map(|entry| {
            let mut binding = Map::from_iter([("type".to_owned(), Value::from(kind))]);
            for (from, to) in fields {
                if let Some(value) = entry.get(*from).filter(|value| !value.is_null()) {
                    binding.insert((*to).to_owned(), value.clone());
                }
            }
            Value::Object(binding)
        })
        .collect()
}

/// `containers` of the metadata.
pub(super) fn containers(project: &Project, pushed: &Pushed) -> Vec<Value> {
    let containers = project.containers.iter();
    containers
        .map(|app| {
            let mut shown = json!({"name": app.name, "class_name": app.class_name});
            let images = pushed.named(&app.name);
            if !images.is_empty() {
                shown["images"] = Value::Object(images);
            }
            shown
        })
        .collect()
}

/// Migrations that the Worker does not have yet: those after `tag`.
pub(super) fn migrations(project: &Project, tag: Option<&str>) -> Option<Value> {
    let all = project.written.get("migrations")?.as_array()?;
    let new_tag = all.last()?["tag"].as_str()?;
    let done = tag.and_then(|tag| all.iter().position(|migration| migration["tag"] == tag));
    let steps: Vec<Value> = all
        .iter()
        .skip(done.map_or(0, |done| done + 1))
        .map(|migration| {
            let mut step = migration.clone();
            if let Some(step) = step.as_object_mut() {
                step.remove("tag");
            }
            step
        })
        .collect();
    if steps.is_empty() {
        return None;
    }
    let mut migrations = json!({"new_tag": new_tag, "steps": steps});
    // Also one that is not in the file any more: the server says so.
    if let Some(tag) = tag {
        migrations["old_tag"] = tag.into();
    }
    Some(migrations)
}

/// What else the metadata say, the same for every upload of the same project.
pub(super) fn rest(project: &Project) -> Map<String, Value> {
    let mut metadata = Map::new();
    let mut set = |name: &str, value: Value| metadata.insert(name.to_owned(), value);
    set(
        "compatibility_date",
        project.compatibility_date.clone().into(),
    );
    set(
        "compatibility_flags",
        project.compatibility_flags.clone().into(),
    );
    let written = &project.written;
    // As wrangler: over what is made, whatever it is.
    let own = written.get("unsafe").and_then(|own| own.get("metadata"));
    for (name, value) in own.and_then(Value::as_object).into_iter().flatten() {
        set(name, value.clone());
    }
    if project.containers.iter().any(|app| app.atomic) {
        set("berth", json!({"rollout": "atomic"}));
    }
    for name in [
        "exports",
        "logpush",
        "placement",
        "tail_consumers",
        "streaming_tail_consumers",
        "limits",
        "observability",
    ] {
        if let Some(value) = written.get(name) {
            set(name, value.clone());
        }
    }
    let strategy = written.get("durable_objects");
    let strategy = strategy.and_then(|objects| objects.get("code_update_strategy"));
    let strategy = strategy.cloned();
    set(
        "code_update_strategy",
        strategy.unwrap_or_else(|| json!({"mode": "deferred", "max_delay": 300})),
    );
    metadata
}

/// `assets.config` of the metadata.
pub(super) fn assets_config(project: &Project) -> Option<Value> {
    let assets = project.assets.as_ref()?;
    let mut config = Map::new();
    let written = project.written.get("assets");
    for name in ["html_handling", "not_found_handling"] {
        let value = written.and_then(|written| written.get(name));
        if let Some(value) = value {
            config.insert(name.to_owned(), value.clone());
        }
    }
    match &assets.run_worker_first {
        RunWorkerFirst::Always(false) => {}
        RunWorkerFirst::Always(true) => {
            config.insert("run_worker_first".to_owned(), true.into());
        }
        RunWorkerFirst::Routes(routes) => {
            config.insert("run_worker_first".to_owned(), routes.clone().into());
        }
    }
    for name in ["_redirects", "_headers"] {
        if let Ok(text) = fs_err::read_to_string(assets.directory.join(name)) {
            config.insert(name.to_owned(), text.into());
        }
    }
    Some(Value::Object(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(written: Value) -> Project {
        let mut project = Project::new("app", std::path::Path::new("/p"));
        project.written = written.as_object().unwrap().clone();
        project
    }

    #[test]
    fn bindings_have_the_names_of_the_api() {
        let mut project = project(json!({
            "kv_namespaces": [{"binding": "KV", "id": "abc", "preview_id": "x"}, {"binding": "NEW"}],
            "d1_databases": [{"binding": "DB", "database_name": "n", "database_id": "id"}],
            "durable_objects": {"bindings": [{"name": "O", "class_name": "C"}]},
            "queues": {"producers": [{"binding": "Q", "queue": "q", "delivery_delay": 5}]},
            "services": [{"binding": "S", "service": "other", "entrypoint": "E"}],
            "version_metadata": {"binding": "V"},
        }));
        project.vars.insert("T".to_owned(), "text".into());
        project.vars.insert("J".to_owned(), json!({"a": 1}));
        assert_eq!(
            Value::from(bindings(&project)),
            json!([
                {"name": "T", "type": "plain_text", "text": "text"},
                {"name": "J", "type": "json", "json": {"a": 1}},
                {"type": "kv_namespace", "name": "KV", "namespace_id": "abc"},
                {"type": "kv_namespace", "name": "NEW"},
                {"type": "d1", "name": "DB", "id": "id"},
                {"type": "service", "name": "S", "service": "other", "entrypoint": "E"},
                {"type": "durable_object_namespace", "name": "O", "class_name": "C"},
                {"type": "queue", "name": "Q", "queue_name": "q", "delivery_delay": 5},
                {"name": "V", "type": "version_metadata"},
            ])
        );
    }

    #[test]
    fn only_migrations_after_the_last_are_sent() {
        let project = project(json!({"migrations": [
            {"tag": "v1", "new_sqlite_classes": ["A"]},
            {"tag": "v2", "renamed_classes": [{"from": "A", "to": "B"}]},
        ]}));
        let all = migrations(&project, None).unwrap();
        assert_eq!(all["new_tag"], "v2");
        assert_eq!(all["steps"].as_array().unwrap().len(), 2);
        assert!(all.get("old_tag").is_none());
        let later = migrations(&project, Some("v1")).unwrap();
        assert_eq!(
            later,
            json!({"new_tag": "v2", "old_tag": "v1",
                "steps": [{"renamed_classes": [{"from": "A", "to": "B"}]}]})
        );
        assert_eq!(migrations(&project, Some("v2")), None);
        assert_eq!(
            migrations(&project, Some("unknown")).unwrap()["steps"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
    }
}
