//! KV namespaces.

use berth_test::Project;
use serde_json::Value;

use super::{after, kill_data_plane, stderr, until};
use crate::world;

const WORKER: &str = r#"
export default {
  async fetch(request, env) {
    const [, verb, key, value] = new URL(request.url).pathname.split("/").map(decodeURIComponent);
    if (verb === "put") await env.NS.put(key, value.repeat(1), { metadata: { by: "Worker" } });
    if (verb === "large") await env.NS.put(key, value.repeat(100_000));
    if (verb === "size") return new Response(String((await env.NS.get(key)).length));
    return new Response(await env.NS.get(key));
  },
};
"#;

fn worker(name: &str, namespace: &str) -> Project {
    let project = Project::empty();
    project.write("index.js", WORKER);
    let config = serde_json::json!({
        "name": name, "main": "index.js", "compatibility_date": "2026-11-01",
        "kv_namespaces": [{"binding": "NS", "id": namespace}],
    });
    project.write("wrangler.json", config.to_string());
    project
}

#[tokio::test]
async fn kv_is_shared_by_workers_and_commands_and_survives_kills() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let none = Project::empty();
    let created = server
        .wrangler_ok(&none, ["kv", "namespace", "create", "first"], "")
        .await;
    let id = after(&created, "\"id\": \"").to_owned();
    let id = id.as_str();
    let again = server
        .wrangler(&none, ["kv", "namespace", "create", "first"], "")
        .await;
    assert!(stderr(&again).contains("first"), "{}", stderr(&again));
    let rename = [
        "kv",
        "namespace",
        "rename",
        "--namespace-id",
        id,
        "--new-name",
        "second",
    ];
    server.wrangler_ok(&none, rename, "").await;
    let listed = server
        .wrangler_ok(&none, ["kv", "namespace", "list"], "")
        .await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (&listed[0]["title"], &listed[0]["id"]),
        (&"second".into(), &id.into())
    );

    let of = ["--namespace-id", id, "--remote"];
    let put = [
        "kv",
        "key",
        "put",
        "a/b c?",
        "wörld",
        "--metadata",
        r#"{"m":"ü"}"#,
        of[0],
        of[1],
        of[2],
    ];
    server.wrangler_ok(&none, put, "").await;
    let (one, two) = (worker("one", id), worker("two", id));
    let lost = worker("lost", "0123456789abcdef0123456789abcdef");
    let refused = stderr(&server.wrangler(&lost, ["deploy"], "").await);
    assert!(
        refused.contains("`NS`") && refused.contains("0123456789abcdef"),
        "{refused}"
    );
    server.wrangler_ok(&one, ["deploy"], "").await;
    server.wrangler_ok(&two, ["deploy"], "").await;
    assert_eq!(server.text("one", "/get/a%2Fb%20c%3F").await, "wörld");
    assert_eq!(server.text("one", "/put/shared/1").await, "1");
    assert_eq!(server.text("two", "/get/shared").await, "1");
    server.text("two", "/large/large/x").await;
    let get = ["kv", "key", "get", "shared", "--text", of[0], of[1], of[2]];
    assert_eq!(server.wrangler_ok(&none, get, "").await.trim(), "1");
    let list = ["kv", "key", "list", of[0], of[1], of[2]];
    let listed = server.wrangler_ok(&none, list, "").await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        listed[0],
        serde_json::json!({"name": "a/b c?", "metadata": {"m": "ü"}})
    );
    assert_eq!(listed[2]["metadata"]["by"], "Worker");

    none.write(
        "put.json",
        r#"[{"key":"k1","value":"v1"},{"key":"k2","value":"djI=","base64":true}]"#,
    );
    none.write("keys.json", r#"["k1","k2"]"#);
    let bulk = ["kv", "bulk", "put", "put.json", of[0], of[1], of[2]];
    server.wrangler_ok(&none, bulk, "").await;
    let bulk = ["kv", "bulk", "get", "keys.json", of[0], of[1], of[2]];
    let got = server.wrangler_ok(&none, bulk, "").await;
    assert!(got.contains(r#""k2": "v2""#), "{got}");
    let bulk = [
        "kv",
        "bulk",
        "delete",
        "keys.json",
        "--force",
        of[0],
        of[1],
        of[2],
    ];
    server.wrangler_ok(&none, bulk, "").await;
    let delete = ["kv", "key", "delete", "a/b c?", of[0], of[1], of[2]];
    server.wrangler_ok(&none, delete, "").await;
    assert_eq!(server.text("two", "/get/k1").await, "");

    kill_data_plane(data.path());
    until(&server, "one", "/get/shared", "1").await;
    assert_eq!(server.text("two", "/size/large").await, "100000");
    let killed = server.kill().await;
    killed.footprint.assert_processes_end();
    let server = world.server(data.path()).await;
    assert_eq!(server.text("two", "/get/shared").await, "1");
    assert_eq!(server.text("one", "/size/large").await, "100000");

    let remove = ["kv", "namespace", "delete", "--namespace-id", id];
    let refused = stderr(&server.wrangler(&none, remove, "").await);
    assert!(refused.contains("the Worker `one`"), "{refused}");
    server.wrangler_ok(&one, ["delete", "--force"], "").await;
    server.wrangler_ok(&two, ["delete", "--force"], "").await;
    server.wrangler_ok(&none, remove, "").await;
    let blobs = data.path().join("server/data/blobs");
    assert_eq!(
        std::fs::read_dir(blobs).unwrap().count(),
        0,
        "its values are gone"
    );
    server.stop().await;
}
