//! What Workers and containers have said.

use berth_api::Runtime as _;
use berth_logs::{Entry, Level, Source};
use http::StatusCode;
use serde_json::{Value, json};

use crate::world::world;

#[tokio::test]
async fn tails_are_made_for_workers_that_are_there() {
    let world = world();
    let path = world.account("/workers/scripts/w/tails");
    let (status, none) = world.call("POST", &path, "{}").await;
    assert_eq!(
        (status, &none["errors"][0]["code"]),
        (StatusCode::NOT_FOUND, &json!(10007))
    );
    let metadata = json!({"main_module": "index.js", "compatibility_date": "2026-11-01"});
    let (status, _) = world.upload("PUT", "/workers/scripts/w", &metadata).await;
    assert_eq!(status, StatusCode::OK);
    let (status, bad) = world
        .call("POST", &path, r#"{"filters": [{"shape": "round"}]}"#)
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(bad.to_string().contains("is not a filter"), "{bad}");
    assert!(!world.runtime.tails.wants("w"));
    for body in ["", "{}", r#"{"filters": [{"outcome": ["ok"]}]}"#] {
        let (status, made) = world.call("POST", &path, body).await;
        assert_eq!(status, StatusCode::OK, "{made}");
        let id = made["result"]["id"].as_str().unwrap();
        let url = made["result"]["url"].as_str().unwrap();
        assert!(
            url.starts_with("ws://") && url.ends_with(&format!("/tails/{id}")),
            "{url}"
        );
        assert!(world.runtime.tails.wants("w"));
        let other = world.account(&format!("/workers/scripts/other/tails/{id}"));
        world.call("DELETE", &other, "").await;
        assert!(world.runtime.tails.wants("w"), "it is not of that Worker");
        world.call("DELETE", &format!("{path}/{id}"), "").await;
        assert!(!world.runtime.tails.wants("w"));
    }
    assert!(
        world
            .runtime
            .asked
            .lock()
            .unwrap()
            .contains(&"traced w".to_owned())
    );
}

#[tokio::test]
async fn logs_are_asked_for_with_conditions() {
    let world = world();
    let logs = world.runtime.logs();
    for (app, level, text) in [
        ("a", Level::Log, "one"),
        ("a", Level::Error, "two"),
        ("b", Level::Warn, "three"),
    ] {
        logs.write(Entry::new(app, Source::Worker, level, text));
    }
    let texts = |answer: &Value| -> Vec<String> {
        let entries = answer["result"].as_array().unwrap().iter();
        entries
            .map(|entry| entry["text"].as_str().unwrap().to_owned())
            .collect()
    };
    let path = world.account("/berth/logs");
    let (_, all) = world.call("GET", &path, "").await;
    assert_eq!(texts(&all), ["one", "two", "three"]);
    let asked = format!("{path}?app=a&level=warn&source=worker,event&since=1h&text=TW");
    let (_, some) = world.call("GET", &asked, "").await;
    assert_eq!(texts(&some), ["two"]);
    for (query, said) in [
        ("level=loud", "`level` is `loud`"),
        ("source=worker,moon", "`source` is `moon`"),
        ("since=soon", "`since` is `soon`"),
        ("limit=many", "limit"),
    ] {
        let (status, bad) = world.call("GET", &format!("{path}?{query}"), "").await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(bad.to_string().contains(said), "{bad}");
    }
}
