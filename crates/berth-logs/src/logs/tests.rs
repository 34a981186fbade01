//! The handle against a real database.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::entry::now_ms;

fn open(directory: &Path) -> Logs {
    Logs::open(directory, LogsOptions::default()).unwrap()
}

fn say(app: &str, text: &str) -> Entry {
    Entry::new(app, Source::Worker, Level::Log, text)
}

async fn texts(logs: &Logs, query: Query) -> Vec<String> {
    let entries = logs.query(query).await.unwrap();
    entries.into_iter().map(|entry| entry.text).collect()
}

#[tokio::test]
async fn entries_are_found_by_every_condition() {
    let directory = tempfile::tempdir().unwrap();
    let logs = open(directory.path());
    let base = now_ms();
    let object = "ab".repeat(32);
    let entries = [
        (say("one", "Hello 100%"), 3),
        (say("two", "hello_world"), 1),
        (
            Entry {
                version: Some("v1".to_owned()),
                instance: Some(object.clone()),
                label: Some("Room/x".to_owned()),
                invocation: Some("i1".to_owned()),
                data: Some(json!({"a": 1})),
                ..Entry::new("one", Source::Container, Level::Error, "late")
            },
            2,
        ),
    ];
    for (mut entry, offset) in entries {
        entry.time_ms = base + offset;
        logs.write(entry);
    }
    let all = Query::default();
    assert_eq!(
        texts(&logs, all.clone()).await,
        ["hello_world", "late", "Hello 100%"]
    );
    let app = |app: &str| Query {
        app: Some(app.to_owned()),
        ..Query::default()
    };
    assert_eq!(texts(&logs, app("one")).await, ["late", "Hello 100%"]);
    let text = |text: &str| Query {
        text: Some(text.to_owned()),
        ..Query::default()
    };
    assert_eq!(texts(&logs, text("HELLO")).await.len(), 2);
    assert_eq!(texts(&logs, text("0%")).await, ["Hello 100%"]);
    assert_eq!(texts(&logs, text("o_w")).await, ["hello_world"]);
    assert_eq!(texts(&logs, text("o%w")).await, [""; 0]);
    for instance in ["ab", "Room/", &object] {
        let query = Query {
            instance: Some(instance.to_owned()),
            ..app("one")
        };
        assert_eq!(texts(&logs, query).await, ["late"]);
    }
    let query = Query {
        level: Some(Level::Warn),
        sources: vec![Source::Container, Source::Event],
        version: Some("v1".to_owned()),
        invocation: Some("i1".to_owned()),
        ..Query::default()
    };
    let found = logs.query(query.clone()).await.unwrap();
    assert_eq!(found.len(), 1);
    assert!(query.matches(&found[0]));
    assert_eq!(found[0].data, Some(json!({"a": 1})));
    let query = Query {
        since_ms: Some(base + 2),
        until_ms: Some(base + 3),
        ..Query::default()
    };
    assert_eq!(texts(&logs, query).await, ["late"]);
    let query = Query {
        limit: Some(1),
        ..Query::default()
    };
    assert_eq!(texts(&logs, query).await, ["Hello 100%"], "the last one");
    let query = Query {
        after: Some(1),
        limit: Some(1),
        ..Query::default()
    };
    assert_eq!(texts(&logs, query).await, ["hello_world"], "the next one");
}

#[tokio::test]
async fn followers_see_everything_once_and_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let logs = open(directory.path());
    let mut follower = logs.follow();
    for number in 0..3000 {
        logs.write(say("app", &number.to_string()));
    }
    for number in 0..3000 {
        let entry = follower.recv().await.unwrap();
        assert_eq!(entry.text, number.to_string());
        assert_eq!(entry.id, number + 1);
    }
}

#[tokio::test]
async fn what_was_kept_is_there_again_and_only_for_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let logs = open(&directory.path().join("logs"));
    logs.write(say("app", "before"));
    drop(logs);
    let logs = open(&directory.path().join("logs"));
    logs.write(say("app", "after"));
    let entries = logs.query(Query::default()).await.unwrap();
    assert_eq!(
        entries.iter().map(|entry| entry.id).collect::<Vec<_>>(),
        [1, 2]
    );
    for file in std::fs::read_dir(directory.path().join("logs")).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
}

#[tokio::test]
async fn old_entries_go_and_then_the_oldest() {
    let directory = tempfile::tempdir().unwrap();
    let options = LogsOptions {
        max_age: Duration::from_secs(60),
        max_bytes: 1 << 20,
    };
    let mut store = Store::open(directory.path(), options).unwrap();
    let mut entries: Vec<Entry> = (0..3000)
        .map(|number| say("app", &format!("{number} {}", "x".repeat(1000))))
        .collect();
    entries[2999].time_ms = now_ms() - 61_000;
    store.insert(&mut entries).unwrap();
    let gone = store.prune().unwrap();
    assert!(gone > 1500, "{gone}");
    assert!(store.used_bytes().unwrap() <= 1 << 20);
    let kept = store
        .query(&Query {
            limit: Some(10_000),
            ..Query::default()
        })
        .unwrap();
    assert_eq!(
        kept.last().unwrap().id,
        2999,
        "the newest that is not too old"
    );
    assert_eq!(kept.len(), 3000 - gone);
    let size = std::fs::metadata(directory.path().join("logs.db"))
        .unwrap()
        .len();
    assert!(size < 2 << 20, "the file is smaller, too: {size}");
    // Ids go on.
    let mut more = [say("app", "more")];
    store.insert(&mut more).unwrap();
    assert_eq!(more[0].id, 3001);
}

#[tokio::test]
async fn lines_get_the_invocation_that_wrote_them() {
    let directory = tempfile::tempdir().unwrap();
    let logs = open(directory.path());
    logs.write(say("app", "hello { a: 1 }"));
    logs.write(say("app", "unknown"));
    let trace = Trace::read(
        "app",
        Some("v1"),
        json!({
            "eventTimestamp": now_ms(), "outcome": "ok", "durableObjectId": "0123",
            "logs": [{"level": "log", "message": ["hello", {"a": 1}]}],
            "event": {"rpcMethod": "hi"},
        }),
    );
    let invocation = trace.invocation.clone();
    logs.write(trace.entry());
    logs.ended(trace);
    let query = Query {
        invocation: Some(invocation),
        ..Query::default()
    };
    let found = logs.query(query).await.unwrap();
    let texts: Vec<_> = found.iter().map(|entry| entry.text.as_str()).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(
        found
            .iter()
            .all(|entry| entry.instance.as_deref() == Some("0123"))
    );
}

#[tokio::test]
async fn a_database_of_the_future_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let path = directory.path().join("logs.db");
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.pragma_update(None, "user_version", 9).unwrap();
    let refused = Logs::open(directory.path(), LogsOptions::default()).unwrap_err();
    assert!(refused.to_string().contains("has format 9"), "{refused}");
}
