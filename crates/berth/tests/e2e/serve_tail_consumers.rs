//! `tail_consumers`: a Worker is told what another one does, which runs in another process.

use std::time::Duration;

use berth_test::{Project, ServerSession, WebSocket};
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use crate::world;

const PRODUCER: &str = r#"
import { channel } from "node:diagnostics_channel";
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    console.log("asked for", pathname, { n: 1 });
    if (pathname === "/channel") {
      const message = { at: new Date(5), big: 5n, map: new Map([["a", new Set([1])]]), bytes: new Uint8Array([7]) };
      channel("mine").publish(message);
    }
    if (pathname === "/throw") throw new TypeError("no such luck");
    return new Response("ok");
  },
};
"#;

/// Writes down what it is told, and what of it JSON has no form for.
const CONSUMER: &str = r#"
const described = ({ channel, message }) =>
  [channel, message.at instanceof Date, typeof message.big, message.map.get("a").has(1), message.bytes[0]];
export default {
  async fetch(request, env) {
    const { keys } = await env.NS.list();
    return Response.json(await Promise.all(keys.map(({ name }) => env.NS.get(name, "json"))));
  },
  async tail(events, env, ctx) {
    const written = events.map((event) => env.NS.put(crypto.randomUUID(), JSON.stringify({
      by: "version one",
      script: event.scriptName,
      version: event.scriptVersion?.id,
      outcome: event.outcome,
      at: typeof event.eventTimestamp,
      logs: event.logs.map(({ level, message }) => [level, message]),
      exceptions: event.exceptions.map(({ name, message }) => [name, message]),
      path: event.event.request && new URL(event.event.request.url).pathname,
      status: event.event.response?.status,
      told: event.event.request?.headers["authorization"],
      whole: event.event.request?.getUnredacted().headers["authorization"],
      channels: event.diagnosticsChannelEvents.map(described),
      consumed: event.event.consumedEvents,
    })));
    ctx.waitUntil(Promise.all(written));
  },
};
"#;

const CLASS: &str = r#"
import { WorkerEntrypoint } from "cloudflare:workers";
export default class extends WorkerEntrypoint {
  fetch(request) { return handler.fetch(request, this.env); }
  tail(events) { return handler.tail(events, this.env, this.ctx); }
}
"#;

fn project(name: &str, source: &str, more: Value) -> Project {
    let project = Project::empty();
    project.write("index.js", source);
    configure(&project, name, more);
    project
}

fn configure(project: &Project, name: &str, more: Value) {
    let mut config = json!({
        "name": name, "main": "index.js", "compatibility_date": "2026-11-01",
        "compatibility_flags": ["nodejs_compat"],
    });
    config
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    project.write("wrangler.json", config.to_string());
}

fn told_to(consumer: &str) -> Value {
    json!({"tail_consumers": [{"service": consumer}]})
}

async fn refused(server: &ServerSession, project: &Project) -> String {
    let output = server.wrangler(project, ["deploy"], "").await;
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What the consumer has been told, once `enough` of it is there.
async fn told(server: &ServerSession, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let mut all = Vec::new();
    let asked = async {
        while !enough(&all) {
            let reply = server.get("consumer", "/").await;
            if reply.status.is_success() {
                all = serde_json::from_slice(&reply.body).unwrap();
            }
        }
    };
    let limit = tokio::time::timeout(Duration::from_secs(60), asked).await;
    assert!(limit.is_ok(), "{all:#?}\n{}", server.transcript());
    all
}

fn at<'a>(all: &'a [Value], path: &str) -> Vec<&'a Value> {
    all.iter().filter(|one| one["path"] == path).collect()
}

#[tokio::test]
async fn a_worker_is_told_what_another_one_does() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let producer = project("producer", PRODUCER, told_to("consumer"));
    let text = refused(&server, &producer).await;
    assert!(
        text.contains("`consumer` does not exist") && text.contains("10203"),
        "{text}"
    );

    let body = json!({"title": "heard"});
    let made = server
        .api(Method::POST, "/storage/kv/namespaces", body)
        .await;
    let made = made.ok().json();
    let namespaces = json!([{"binding": "NS", "id": made["result"]["id"]}]);
    let binds = json!({ "kv_namespaces": namespaces });
    let consumer = project("consumer", "export default { fetch() {} };", binds.clone());
    server.wrangler_ok(&consumer, ["deploy"], "").await;
    let text = refused(&server, &producer).await;
    assert!(text.contains("`consumer` has no tail() handler"), "{text}");
    consumer.write("index.js", CONSUMER);
    server.wrangler_ok(&consumer, ["deploy"], "").await;
    server.wrangler_ok(&producer, ["deploy"], "").await;

    // Each request of the producer, from the first.
    let client = server.client("producer");
    let mut request = client.request(Method::GET, "/first", "");
    let secret = HeaderValue::from_static("Bearer abc");
    request
        .headers_mut()
        .insert(http::header::AUTHORIZATION, secret);
    client.send(request).await.ok();
    let failed = server.get("producer", "/throw").await;
    assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(server.text("producer", "/channel").await, "ok");
    let all = told(&server, |all| all.len() == 3).await;
    let first = at(&all, "/first")[0];
    assert_eq!(first["script"], "producer");
    assert_eq!(first["outcome"], "ok");
    assert_eq!(first["at"], "number");
    assert_eq!(first["version"].as_str().unwrap().len(), 36);
    assert_eq!(
        first["logs"],
        json!([["log", ["asked for", "/first", {"n": 1}]]])
    );
    assert_eq!(first["exceptions"], json!([]));
    assert_eq!(first["status"], 200);
    assert_eq!(first["told"], "REDACTED");
    assert_eq!(first["whole"], "Bearer abc");
    let thrown = at(&all, "/throw")[0];
    assert_eq!(thrown["outcome"], "exception");
    assert_eq!(thrown["exceptions"], json!([["TypeError", "no such luck"]]));
    let channels = &at(&all, "/channel")[0]["channels"];
    assert_eq!(*channels, json!([["mine", true, "bigint", true, 7]]));

    replaced_meanwhile(&server, &consumer).await;
    in_a_circle(&server, &consumer, &binds).await;
    deleted(&server, &producer, &consumer).await;
    server.stop().await;
}

/// What the producer does while another version of the consumer takes over reaches one of the two.
async fn replaced_meanwhile(server: &ServerSession, consumer: &Project) {
    // As a class, which is another way to write one.
    let class = CONSUMER
        .replace("version one", "version two")
        .replace("export default {", "const handler = {");
    consumer.write("index.js", class + CLASS);
    let deployed = server.wrangler_ok(consumer, ["deploy"], "");
    tokio::pin!(deployed);
    let mut count = 0;
    loop {
        let path = format!("/r{count}");
        tokio::select! {
            _ = &mut deployed => break,
            answer = server.text("producer", &path) => assert_eq!(answer, "ok"),
        }
        count += 1;
        // A few in every phase of the deployment.
        let pause = tokio::time::sleep(Duration::from_millis(50));
        tokio::select! { _ = &mut deployed => break, () = pause => {} }
    }
    assert_eq!(server.text("producer", "/last").await, "ok");
    let all = told(server, |all| {
        let there = |path: &str| !at(all, path).is_empty();
        there("/last") && (0..count).all(|n| there(&format!("/r{n}")))
    })
    .await;
    assert_eq!(at(&all, "/last")[0]["by"], "version two");
    // Without a handler it is refused: the producer counts on it.
    consumer.write("index.js", "export default { fetch() {} };");
    let text = refused(server, consumer).await;
    assert!(text.contains("`consumer` has no tail() handler"), "{text}");
    assert!(text.contains("`producer`"), "{text}");
    consumer.write("index.js", CONSUMER);
}

/// It may be told what it does itself, but not that it was told so.
async fn in_a_circle(server: &ServerSession, consumer: &Project, binds: &Value) {
    let mut more = binds.clone();
    more["tail_consumers"] = told_to("consumer")["tail_consumers"].clone();
    configure(consumer, "consumer", more);
    server.wrangler_ok(consumer, ["deploy"], "").await;
    let body = json!({"filters": []});
    let made = server
        .api(Method::POST, "/workers/scripts/consumer/tails", body)
        .await;
    let made = made.ok().json();
    let url = made["result"]["url"].as_str().unwrap();
    let (base, path) = url.split_at(url.find("/client").unwrap());
    let mut watched = WebSocket::connect(&base.replacen("ws", "http", 1), path).await;

    assert_eq!(server.text("producer", "/circle").await, "ok");
    let all = told(server, |all| {
        let mut own = all.iter();
        !at(all, "/circle").is_empty() && own.any(|one| one["script"] == "consumer")
    })
    .await;
    assert!(all.iter().all(|one| one["consumed"].is_null()), "{all:#?}");
    // People are shown those calls.
    loop {
        let event = watched.json().await;
        let consumed = &event["event"]["consumedEvents"];
        if consumed[0]["scriptName"] == "producer" {
            assert_eq!(event["outcome"], "ok");
            assert!(event["entrypoint"].is_null(), "{event}");
            break;
        }
    }
    // Calls of its own that were not followed by others: nothing goes round by itself.
    let own = |all: &[Value]| {
        let own = all.iter().filter(|one| one["script"] == "consumer");
        own.count()
    };
    configure(consumer, "consumer", binds.clone());
    server.wrangler_ok(consumer, ["deploy"], "").await;
    let path = "/workers/scripts/consumer/script-settings";
    let none = json!({"tail_consumers": []});
    server.api(Method::PATCH, path, none).await.ok();
    assert_eq!(server.text("producer", "/quiet").await, "ok");
    told(server, |all| !at(all, "/quiet").is_empty()).await;
    assert_eq!(server.text("producer", "/quieter").await, "ok");
    let all = told(server, |all| !at(all, "/quieter").is_empty()).await;
    let before = own(&all);
    assert_eq!(server.text("producer", "/still").await, "ok");
    let all = told(server, |all| !at(all, "/still").is_empty()).await;
    assert_eq!(own(&all), before);
    assert!(all.iter().all(|one| one["consumed"].is_null()), "{all:#?}");
}

async fn deleted(server: &ServerSession, producer: &Project, consumer: &Project) {
    let path = "/workers/tails/by-consumer/consumer";
    let found = server.api(Method::GET, path, Value::Null).await.ok().json();
    assert_eq!(found["result"][0]["producer"]["script"], "producer");
    let path = "/workers/services/consumer";
    let kept = server.api(Method::DELETE, path, Value::Null).await;
    assert_eq!(kept.status, StatusCode::CONFLICT, "{}", kept.text());
    let output = server
        .berth(consumer, ["delete", "consumer"], "", &[])
        .await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && text.contains("producer"),
        "{text}"
    );
    // Asked without a terminal, wrangler takes yes for the answer, and says of whom.
    let text = server.wrangler_ok(consumer, ["delete"], "").await;
    assert!(
        text.contains("producer uses this Worker as a Tail Worker"),
        "{text}"
    );
    // Nobody is told, nobody minds.
    assert_eq!(server.text("producer", "/alone").await, "ok");
    let text = refused(server, producer).await;
    assert!(text.contains("10203"), "{text}");
}
