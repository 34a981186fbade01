//! Logs of Workers and containers on one timeline.

use std::time::{Duration, Instant};

use berth_test::{PATIENCE, Program, Project, ServerSession};
use http::{Method, StatusCode};
use serde_json::Value;

use crate::deployed::{add_program, answering};
use crate::world;

/// Says that it begins to listen, and what it is asked for.
const TALKER: Program = Program {
    name: "talker",
    source: answering!(
        r#"
    dprintf(1, "listening\n");
"#,
        r#"
            *strchr(request, '\r') = 0;
            dprintf(2, "served %s\n", request);
            reply(peer, "hello");
"#
    ),
};

const CONFIG: &str = r#"{
  "name": "talker",
  "main": "index.js",
  "compatibility_date": "2026-11-01",
  "observability": { "enabled": true },
  "containers": [{ "class_name": "Talker", "image": "./Dockerfile", "max_instances": 3 }],
  "durable_objects": { "bindings": [{ "name": "TALKER", "class_name": "Talker" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Talker"] }]
}"#;

/// Its alarms are many and say nothing.
const WORKER: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Talker extends DurableObject {
  async fetch(request) {
    console.warn("object asked for", new URL(request.url).pathname);
    if (!this.ctx.container.running) this.ctx.container.start();
    await this.ctx.storage.setAlarm(Date.now() + 20);
    return this.ctx.container.getTcpPort(8080).fetch(request);
  }
  async alarm() {}
}
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    console.log("worker asked for", pathname, { a: 1 });
    return env.TALKER.getByName(pathname).fetch(request);
  },
};
"#;

async fn logs(server: &ServerSession, query: &str) -> Vec<Value> {
    let path = format!("/berth/logs?app=talker&{query}");
    let answer = server
        .api(Method::GET, &path, Value::Null)
        .await
        .ok()
        .json();
    answer["result"].as_array().unwrap().clone()
}

/// Asks until there is an answer with this text and, if wanted, an invocation.
async fn entry(server: &ServerSession, query: &str, text: &str, linked: bool) -> Value {
    let begin = Instant::now();
    loop {
        let entries = logs(server, query).await;
        let found = entries.iter().find(|entry| {
            let is = entry["text"].as_str().unwrap().contains(text);
            is && (!linked || entry["invocation"].is_string())
        });
        if let Some(found) = found {
            return found.clone();
        }
        assert!(begin.elapsed() < PATIENCE, "no `{text}` in {entries:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn workers_and_containers_have_one_timeline() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = Project::empty();
    project.write("wrangler.jsonc", CONFIG);
    project.write("index.js", WORKER);
    add_program(&world, &project, TALKER);
    server.wrangler_ok(&project, ["deploy"], "").await;
    assert_eq!(server.text("talker", "/one").await, "hello");

    let version = entry(&server, "source=system", "is live", false).await;
    assert_eq!(version["version"].as_str().unwrap().len(), 36);

    // What the container says, and what happens to it.
    let served = entry(&server, "source=container", "served GET /one", false).await;
    assert_eq!(served["level"], "error", "standard error");
    let label = served["label"].as_str().unwrap();
    assert!(label.starts_with("Talker/"), "{label}");
    let instance = served["instance"].as_str().unwrap().to_owned();
    assert_eq!(instance.len(), 64);
    let said = entry(&server, "source=container", "listening", false).await;
    assert_eq!(said["level"], "log");
    entry(&server, "source=event", "placed with image", false).await;
    let started = entry(&server, "source=event", "started", false).await;
    assert_eq!(started["data"]["event"], "started");

    // Lines of the console belong to the request that wrote them, as soon as it has ended.
    let line = entry(
        &server,
        "source=worker",
        "worker asked for /one { a: 1 }",
        true,
    )
    .await;
    let asked = entry(&server, "source=worker", "object asked for /one", true).await;
    assert_eq!(asked["instance"], instance.as_str());
    assert_ne!(asked["invocation"], line["invocation"], "the object's own");
    let query = format!("invocation={}", line["invocation"].as_str().unwrap());
    let of_request = logs(&server, &query).await;
    assert_eq!(of_request.len(), 2, "{of_request:#?}");
    let request = of_request
        .iter()
        .find(|entry| entry["source"] == "invocation")
        .unwrap();
    let text = request["text"].as_str().unwrap();
    assert!(
        text.starts_with("GET http://talker.localhost") && text.ends_with("/one 200"),
        "{text}"
    );

    // By instance, level, text and time.
    let of_instance = logs(&server, &format!("instance={}", &instance[..12])).await;
    let sources: Vec<_> = of_instance
        .iter()
        .map(|entry| entry["source"].clone())
        .collect();
    for source in ["worker", "container", "event", "invocation"] {
        assert!(
            sources.contains(&source.into()),
            "{source}: {of_instance:#?}"
        );
    }
    let urgent = logs(&server, "level=warn&text=ASKED").await;
    assert_eq!(urgent.len(), 1, "{urgent:#?}");
    assert!(logs(&server, "until=1h").await.is_empty());

    // Alarms ran by now, and none of them is here.
    server.text("talker", "/two").await;
    entry(&server, "source=container", "served GET /two", false).await;
    assert!(
        logs(&server, "text=alarm&source=invocation")
            .await
            .is_empty()
    );

    // They are there again.
    let killed = server.kill().await;
    killed.footprint.assert_server_ends();
    let server = world.server(data.path()).await;
    entry(&server, "source=container", "served GET /one", false).await;
    let path = "/berth/logs?source=nothing";
    let wrong = server.api(Method::GET, path, Value::Null).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    server.stop().await;
}
