//! Queues: messages are delivered, wait while nobody may have them, and are never lost.

use berth_test::Project;

use super::{kill_data_plane, stderr, until};
use crate::world;

const CONFIG: &str = r#"{
  "name": "worker",
  "main": "index.js",
  "compatibility_date": "2026-11-01",
  "durable_objects": { "bindings": [{ "name": "LOG", "class_name": "Log" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Log"] }],
  "queues": {
    "producers": [{ "binding": "JOBS", "queue": "jobs" }],
    "consumers": [
      { "queue": "jobs", "max_batch_timeout": 0, "max_retries": 1, "dead_letter_queue": "dead" },
      { "queue": "dead", "max_batch_timeout": 0 }
    ]
  }
}"#;

const WORKER: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Log extends DurableObject {
  add(text) {
    this.ctx.storage.kv.put(text, true);
  }
  all() {
    return [...this.ctx.storage.kv.list()].map(([text]) => text).join();
  }
}
const show = (body) =>
  typeof body === "string" ? body
  : body instanceof ArrayBuffer ? `bytes ${new Uint8Array(body)}`
  : body instanceof Map ? `map ${[...body]}`
  : `json ${body.n}`;
export default {
  async fetch(request, env) {
    const [, verb, text] = new URL(request.url).pathname.split("/");
    if (verb === "send") await env.JOBS.send(text, { contentType: "text" });
    if (verb === "kinds") {
      await env.JOBS.send({ n: 1 });
      await env.JOBS.sendBatch([
        { body: new Uint8Array([1, 2]), contentType: "bytes" },
        { body: new Map([[3, 4]]), contentType: "v8" },
      ]);
    }
    return new Response(await env.LOG.getByName("all").all());
  },
  async queue(batch, env) {
    for (const message of batch.messages) {
      const text = show(message.body);
      if (batch.queue === "jobs" && text.startsWith("bad")) message.retry();
      else await env.LOG.getByName("all").add(batch.queue === "dead" ? `dead ${text}` : text);
    }
  },
};
"#;

#[tokio::test]
async fn messages_arrive_whatever_is_killed_paused_or_taken_away() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = Project::empty();
    project.write("wrangler.json", CONFIG);
    project.write("index.js", WORKER);
    server
        .wrangler_ok(&project, ["queues", "create", "jobs"], "")
        .await;
    server
        .wrangler_ok(&project, ["queues", "create", "dead"], "")
        .await;
    server.wrangler_ok(&project, ["deploy"], "").await;
    server.text("worker", "/send/a").await;
    until(&server, "worker", "/", "a").await;
    server.text("worker", "/kinds").await;
    until(&server, "worker", "/", "a,bytes 1,2,json 1,map 3,4").await;
    server.text("worker", "/send/bad").await;
    until(
        &server,
        "worker",
        "/",
        "a,bytes 1,2,dead bad,json 1,map 3,4",
    )
    .await;
    let listed = server.wrangler_ok(&project, ["queues", "list"], "").await;
    assert!(
        listed.contains("jobs") && listed.contains("dead"),
        "{listed}"
    );
    let info = server
        .wrangler_ok(&project, ["queues", "info", "jobs"], "")
        .await;
    assert!(info.contains("worker:worker"), "{info}");

    // What waits outlives its process and the server.
    server
        .wrangler_ok(&project, ["queues", "pause-delivery", "jobs"], "")
        .await;
    server.text("worker", "/send/waits").await;
    kill_data_plane(data.path());
    let killed = server.kill().await;
    killed.footprint.assert_processes_end();
    let server = world.server(data.path()).await;
    assert!(!server.text("worker", "/").await.contains("waits"));
    server
        .wrangler_ok(&project, ["queues", "resume-delivery", "jobs"], "")
        .await;
    until(
        &server,
        "worker",
        "/",
        "a,bytes 1,2,dead bad,json 1,map 3,4,waits",
    )
    .await;

    // Without a consumer it waits, too, and can be thrown away.
    let remove = ["queues", "consumer", "remove", "jobs", "worker"];
    server.wrangler_ok(&project, remove, "").await;
    server.text("worker", "/send/purged").await;
    server
        .wrangler_ok(&project, ["queues", "purge", "jobs", "--force"], "")
        .await;
    server.text("worker", "/send/z").await;
    let add = [
        "queues",
        "consumer",
        "add",
        "jobs",
        "worker",
        "--batch-timeout",
        "0",
    ];
    server.wrangler_ok(&project, add, "").await;
    until(
        &server,
        "worker",
        "/",
        "a,bytes 1,2,dead bad,json 1,map 3,4,waits,z",
    )
    .await;

    let update = "queues update dead --delivery-delay-secs 9";
    server.wrangler_line(&project, update, "").await;
    let found = server.api(
        http::Method::GET,
        "/queues?name=dead",
        serde_json::Value::Null,
    );
    let found = found.await.ok().json();
    assert_eq!(found["result"][0]["settings"]["delivery_delay"], 9);

    let refused = stderr(
        &server
            .wrangler(&project, ["queues", "delete", "jobs"], "")
            .await,
    );
    assert!(refused.contains("the Worker `worker`"), "{refused}");
    server
        .wrangler_ok(&project, ["delete", "--force"], "")
        .await;
    server
        .wrangler_ok(&project, ["queues", "delete", "jobs"], "")
        .await;
    server
        .wrangler_ok(&project, ["queues", "delete", "dead"], "")
        .await;
    server.stop().await;
}
