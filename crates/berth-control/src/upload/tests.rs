//! Uploads as wrangler sends them, and what is refused.

use serde_json::json;

use super::*;

fn part(name: &str, content_type: &str) -> Part {
    Part {
        name: name.to_owned(),
        content_type: content_type.to_owned(),
        bytes: b"export default {}".to_vec(),
    }
}

fn parse(metadata: &serde_json::Value) -> Result<Upload, UploadError> {
    let parts = vec![
        part("index.js", "application/javascript+module"),
        part("index.js.map", "application/source-map"),
    ];
    Upload::parse(metadata.to_string().as_bytes(), parts)
}

#[test]
fn what_wrangler_sends_is_understood() {
    let upload = parse(&json!({
        "main_module": "index.js",
        "compatibility_date": "2026-01-02",
        "compatibility_flags": ["nodejs_compat"],
        "bindings": [
            {"name": "TEXT", "type": "plain_text", "text": "x"},
            {"name": "JSON", "type": "json", "json": {"a": [1]}},
            {"name": "KEY", "type": "secret_text", "text": "hunter2"},
            {"name": "OBJ", "type": "durable_object_namespace", "class_name": "Obj"},
            {"name": "OLD", "type": "inherit"},
            {"name": "VERSION", "type": "version_metadata"},
        ],
        "migrations": {"new_tag": "v1", "steps": [{"new_sqlite_classes": ["Obj"]}]},
        "containers": [{"name": "app", "class_name": "Obj"}],
        "keep_bindings": ["secret_text", "secret_key"],
        "annotations": {"workers/message": "hello"},
        "logpush": false, "placement": {"mode": "smart"}, "observability": {"enabled": true},
    }))
    .unwrap();
    assert_eq!(upload.bindings.len(), 4);
    assert_eq!(upload.secrets["KEY"], "hunter2");
    assert_eq!(upload.inherited, ["OLD"]);
    assert_eq!(upload.objects().collect::<Vec<_>>(), [("OBJ", "Obj")]);
    assert_eq!(upload.modules[1].kind, ModuleKind::SourceMap);
    assert_eq!(upload.annotations["workers/message"], "hello");
    assert_eq!(upload.migrations.unwrap().new_tag.as_deref(), Some("v1"));
}

#[test]
fn what_cannot_run_is_refused_by_name() {
    for (metadata, expected) in [
        (json!([]), "`metadata`"),
        (json!({}), "no main module"),
        (json!({"body_part": "index.js"}), "service worker"),
        (json!({"main_module": "other.js"}), "`other.js`"),
        (
            json!({"main_module": "index.js", "compatibility_date": "today"}),
            "`today`",
        ),
        (
            json!({"main_module": "index.js", "bindings": [{"name": "AI", "type": "ai"}]}),
            "`AI` has the type `ai`",
        ),
        (
            json!({"main_module": "index.js", "bindings": [{"type": "json", "json": 1}]}),
            "no name",
        ),
        (
            json!({"main_module": "index.js", "bindings": [
                {"name": "A", "type": "json", "json": 1}, {"name": "A", "type": "inherit"}]}),
            "two bindings `A`",
        ),
        (
            json!({"main_module": "index.js", "bindings": [
                {"name": "A", "type": "durable_object_namespace", "class_name": "C", "script_name": "w"}]}),
            "of another Worker",
        ),
        (
            json!({"main_module": "index.js", "bindings": [{"name": "A", "type": "plain_text"}]}),
            "`A`",
        ),
        (
            json!({"main_module": "index.js", "migrations": {"steps": [{"new": []}]}}),
            "unknown field",
        ),
    ] {
        let error = parse(&metadata).unwrap_err().to_string();
        assert!(error.contains(expected), "{metadata}: {error}");
    }
    let metadata = json!({"main_module": "index.js"}).to_string();
    let twice = vec![
        part("index.js", "application/javascript+module"),
        part("index.js", "text/plain"),
    ];
    let error = Upload::parse(metadata.as_bytes(), twice).unwrap_err();
    assert!(matches!(error, UploadError::Twice(_)));
    let python = vec![part("index.js", "text/x-python")];
    let error = Upload::parse(metadata.as_bytes(), python).unwrap_err();
    assert!(error.to_string().contains("text/x-python"), "{error}");
}
