//! Resources as records: names, uses, secrets that stay sealed.

use super::*;
use crate::upload::{Part, Upload};

fn control() -> (tempfile::TempDir, Control) {
    let directory = tempfile::tempdir().unwrap();
    let control = Control::open(&directory.path().join("c"), &directory.path().join("k")).unwrap();
    (directory, control)
}

fn deploy(control: &Control, name: &str, bindings: &serde_json::Value) -> Result<(), ControlError> {
    let metadata = serde_json::json!({"main_module": "index.js", "bindings": bindings});
    let part = Part {
        name: "index.js".to_owned(),
        content_type: "application/javascript+module".to_owned(),
        bytes: b"export default {}".to_vec(),
    };
    let upload = Upload::parse(metadata.to_string().as_bytes(), vec![part])?;
    control.prepare(name, "me", upload)?.commit(true)?;
    Ok(())
}

fn said<T: std::fmt::Debug>(result: Result<T, ControlError>) -> String {
    berth_error::chain(&result.unwrap_err())
}

#[test]
fn names_are_there_once_and_what_is_used_stays() {
    let (_directory, control) = control();
    let namespace = control.create_kv_namespace("one").unwrap();
    let other = control.create_kv_namespace("two").unwrap();
    assert!(said(control.create_kv_namespace("one")).contains("a KV namespace `one` already"));
    assert!(said(control.rename_kv_namespace(&other.id, "one")).contains("already"));
    control.rename_kv_namespace(&namespace.id, "one").unwrap();
    assert!(said(control.create_kv_namespace(" ")).contains("`title`"));
    let database = control.create_database("db").unwrap();
    assert_eq!(control.database("db").unwrap().uuid, database.uuid);
    let queue = control.create_queue("q", QueueChanges::default()).unwrap();
    let bindings = serde_json::json!([
        {"name": "KV", "type": "kv_namespace", "namespace_id": namespace.id},
        {"name": "DB", "type": "d1", "id": database.uuid},
        {"name": "Q", "type": "queue", "queue_name": "q"},
    ]);
    deploy(&control, "w", &bindings).unwrap();
    for refused in [
        said(control.delete_kv_namespace(&namespace.id)),
        said(control.delete_database("db")),
        said(control.delete_queue(&queue.id)),
    ] {
        assert!(refused.contains("of the Worker `w`"), "{refused}");
    }
    control.delete_worker("w", false).unwrap();
    control.delete_kv_namespace(&namespace.id).unwrap();
    control.delete_database("db").unwrap();
    control.delete_queue(&queue.id).unwrap();
    assert!(said(control.kv_namespace(&namespace.id)).contains("there is no KV namespace"));
}

#[test]
fn a_binding_leads_somewhere() {
    let (_directory, control) = control();
    let store = control.create_secret_store("s").unwrap();
    for (binding, said_of_it) in [
        (
            serde_json::json!({"type": "kv_namespace", "namespace_id": "x"}),
            "KV namespace `x`",
        ),
        (
            serde_json::json!({"type": "d1", "id": "x"}),
            "D1 database `x`",
        ),
        (
            serde_json::json!({"type": "queue", "queue_name": "x"}),
            "queue `x`",
        ),
        (
            serde_json::json!({"type": "service", "service": "x"}),
            "Worker `x`",
        ),
        (
            serde_json::json!({"type": "workflow", "workflow_name": "x", "class_name": "C", "script_name": "other"}),
            "another Worker",
        ),
        (
            serde_json::json!({"type": "secrets_store_secret", "store_id": store.id, "secret_name": "x"}),
            "secret `x`",
        ),
        (
            serde_json::json!({"type": "secrets_store_secret", "store_id": "y", "secret_name": "x"}),
            "secrets store `y`",
        ),
        (
            serde_json::json!({"type": "service", "service": "w", "environment": "staging"}),
            "environment",
        ),
    ] {
        let mut binding = binding;
        binding["name"] = "LOST".into();
        let text = said(deploy(&control, "w", &serde_json::json!([binding])));
        assert!(
            text.contains("`LOST`") && text.contains(said_of_it),
            "{text}"
        );
        assert!(control.worker("w").is_err(), "nothing is made");
    }
}

#[test]
fn a_queue_has_one_consumer_that_goes_with_its_worker() {
    let (_directory, control) = control();
    let none = serde_json::json!([]);
    deploy(&control, "w", &none).unwrap();
    deploy(&control, "v", &none).unwrap();
    let queue = control.create_queue("q", QueueChanges::default()).unwrap();
    let dead = control
        .create_queue("dead", QueueChanges::default())
        .unwrap();
    let plain = ConsumerSettings::default();
    let set = |worker: &str, dead: Option<&str>, settings| {
        control.set_consumer(&queue.id, None, worker, dead, settings)
    };
    let many = ConsumerSettings {
        batch_size: Some(101),
        ..plain
    };
    assert!(said(set("w", None, many)).contains("`batch_size`"));
    assert!(said(set("x", None, plain)).contains("Worker `x`"));
    assert!(said(set("w", Some("y"), plain)).contains("queue `y`"));
    assert!(said(set("w", Some("q"), plain)).contains("another queue"));
    let (_, consumer) = set("w", Some("dead"), plain).unwrap();
    assert!(said(set("v", None, plain)).contains("consumer `w` already"));
    assert!(said(control.delete_queue(&dead.id)).contains("dead letter queue"));
    let two = ConsumerSettings {
        batch_size: Some(2),
        ..plain
    };
    let changed = control.set_consumer(&queue.id, Some(&consumer.id), "w", None, two);
    assert_eq!(changed.unwrap().1.created, consumer.created);
    let delayed = QueueChanges {
        delivery_delay: Some(43_201),
        ..QueueChanges::default()
    };
    assert!(said(control.change_queue(&queue.id, None, delayed)).contains("delivery_delay"));
    assert!(
        said(control.change_queue(&queue.id, Some("p"), QueueChanges::default()))
            .contains("queue_name")
    );
    control.delete_worker("w", false).unwrap();
    assert!(control.queue(&queue.id).unwrap().consumers.is_empty());
    assert!(said(control.remove_consumer(&queue.id, &consumer.id)).contains("consumer"));
}

#[test]
fn a_stores_secrets_are_sealed_and_all_made_or_none() {
    let (directory, control) = control();
    let store = control.create_secret_store("default").unwrap();
    let secret = |name: &str| NewStoreSecret {
        name: name.to_owned(),
        value: "hunter2-plain".to_owned(),
        scopes: vec!["workers".to_owned()],
        comment: None,
    };
    let made = control
        .create_store_secrets(&store.id, &[secret("A")])
        .unwrap();
    let both = [secret("B"), secret("A")];
    assert!(said(control.create_store_secrets(&store.id, &both)).contains("`A` already"));
    assert_eq!(control.store_secrets(&store.id).unwrap().len(), 1);
    let twin = control
        .duplicate_store_secret(&store.id, &made[0].id, "C", &[], "copy")
        .unwrap();
    assert_eq!(control.open_store_secret(&twin).unwrap(), "hunter2-plain");
    let changes = StoreSecretChanges {
        value: Some("other".to_owned()),
        ..StoreSecretChanges::default()
    };
    let changed = control
        .change_store_secret(&store.id, &made[0].id, &changes)
        .unwrap();
    assert_eq!(control.open_store_secret(&changed).unwrap(), "other");
    let mut swapped = changed;
    swapped.value = twin.value;
    assert!(
        control.open_store_secret(&swapped).is_err(),
        "it is sealed for another"
    );
    for entry in std::fs::read_dir(directory.path().join("c")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains("hunter2"), "{}", path.display());
        }
    }
    control.delete_secret_store(&store.id).unwrap();
    assert!(control.resources::<StoreSecret>().unwrap().is_empty());
}

#[test]
fn a_workflow_is_one_workers() {
    let (_directory, control) = control();
    let flow = serde_json::json!([
        {"name": "F", "type": "workflow", "workflow_name": "flow", "class_name": "Flow"},
    ]);
    deploy(&control, "w", &flow).unwrap();
    assert!(said(control.set_workflow("other", "w", "Flow")).contains("no Workflow `other`"));
    let made = control.set_workflow("flow", "w", "Flow").unwrap();
    assert_eq!(
        control.set_workflow("flow", "w", "Flow").unwrap().id,
        made.id
    );
    assert!(said(deploy(&control, "v", &flow)).contains("the Worker `w`'s"));
    assert!(said(control.delete_workflow("flow")).contains("of the Worker `w`"));
    control.delete_worker("w", false).unwrap();
    assert!(control.workflows().unwrap().is_empty());
    deploy(&control, "v", &flow).unwrap();
}
