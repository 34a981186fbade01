//! `wrangler tail`: what a deployed Worker does, as it happens.

use std::time::Duration;

use berth_test::{Project, ServerSession, WebSocket};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world;

const CONFIG: &str = r#"{
  "name": "noisy",
  "main": "index.js",
  "compatibility_date": "2026-11-01",
  "durable_objects": { "bindings": [{ "name": "ROOM", "class_name": "Room" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Room"] }]
}"#;

const WORKER: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Room extends DurableObject {
  enter(name) { console.info("entered by", name); return "welcome"; }
}
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    console.log("asked for", pathname);
    if (pathname === "/throw") throw new TypeError("no such luck");
    if (pathname === "/room") return new Response(await env.ROOM.getByName("a").enter("me"));
    return new Response("ok");
  },
};
"#;

/// Makes a tail: its id and the WebSocket that it is watched on.
async fn tail(server: &ServerSession, filters: Value) -> (String, String, String) {
    let body = json!({"filters": filters});
    let made = server.api(Method::POST, "/workers/scripts/noisy/tails", body);
    let made = made.await.ok().json();
    let url = made["result"]["url"].as_str().unwrap();
    let (base, path) = url.split_at(url.find("/client").unwrap());
    let id = made["result"]["id"].as_str().unwrap();
    (
        base.replacen("ws", "http", 1),
        path.to_owned(),
        id.to_owned(),
    )
}

#[tokio::test]
async fn what_a_worker_does_is_shown_to_who_asks() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = Project::empty();
    project.write("wrangler.jsonc", CONFIG);
    project.write("index.js", WORKER);
    server.wrangler_ok(&project, ["deploy"], "").await;
    assert_eq!(server.text("noisy", "/unheard").await, "ok");

    let (base, path, id) = tail(&server, json!([])).await;
    let mut all = WebSocket::connect(&base, &path).await;
    assert!(WebSocket::try_connect(&base, &path).await.is_err(), "once");
    let (base, path, _) = tail(&server, json!([{"outcome": ["exception"]}])).await;
    let mut failed = WebSocket::connect(&base, &path).await;

    // Nothing between the answer and the first request is missed.
    assert_eq!(server.text("noisy", "/heard?x=1").await, "ok");
    let heard = all.json().await;
    let url = heard["event"]["request"]["url"].as_str().unwrap();
    assert!(
        url.starts_with("http://noisy.localhost:") && url.ends_with("/heard?x=1"),
        "{url}"
    );
    assert_eq!(heard["event"]["response"]["status"], 200);
    assert_eq!(heard["scriptName"], "noisy");
    assert_eq!(heard["scriptVersion"]["id"].as_str().unwrap().len(), 36);
    assert_eq!(heard["logs"][0]["message"], json!(["asked for", "/heard"]));

    assert_eq!(server.text("noisy", "/room").await, "welcome");
    let mut both = [all.json().await, all.json().await];
    both.sort_by_key(|event| event["entrypoint"].is_null());
    assert_eq!(both[0]["entrypoint"], "Room");
    assert_eq!(both[0]["event"]["rpcMethod"], "enter");
    assert_eq!(both[0]["logs"][0]["level"], "info");

    let thrown = server.get("noisy", "/throw").await;
    assert_eq!(thrown.status, StatusCode::INTERNAL_SERVER_ERROR);
    let first = failed.json().await;
    assert_eq!(first["exceptions"][0]["message"], "no such luck");
    assert_eq!(all.json().await["outcome"], "exception");

    // A new version is watched on.
    project.write("index.js", WORKER.replace("asked for", "asked again for"));
    server.wrangler_ok(&project, ["deploy"], "").await;
    assert_eq!(server.text("noisy", "/").await, "ok");
    assert_eq!(all.json().await["logs"][0]["message"][0], "asked again for");

    let path = format!("/workers/scripts/noisy/tails/{id}");
    server.api(Method::DELETE, &path, Value::Null).await.ok();
    assert_eq!(all.closed().await, Some(1000));

    // The real one, which writes for people.
    let arguments = ["tail", "--format", "pretty", "--status", "error"];
    let mut pretty = server.wrangler_running(&project, arguments);
    pretty.line("Connected to noisy").await;
    assert_eq!(server.text("noisy", "/quiet").await, "ok");
    assert_eq!(
        server.get("noisy", "/throw").await.status,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    pretty.line("GET http://noisy.localhost").await;
    pretty.line("asked again for /throw").await;
    pretty.line("TypeError: no such luck").await;
    assert!(!pretty.seen().contains("/quiet"), "{}", pretty.seen());
    assert!(pretty.interrupt().await.success());

    // And for tools; it does not say when it is connected.
    let mut tools =
        server.wrangler_running(&project, ["tail", "--format", "json", "--search", "needle"]);
    let mut found = false;
    while !found {
        assert_eq!(server.text("noisy", "/other").await, "ok");
        assert_eq!(server.text("noisy", "/needle").await, "ok");
        let waited = tokio::time::timeout(Duration::from_millis(300), tools.line("/needle")).await;
        found = waited.is_ok();
    }
    assert!(!tools.seen().contains("/other"), "{}", tools.seen());
    tools.interrupt().await;
    server.stop().await;
}
