//! `berth serve`: an unmodified wrangler deploys Workers to it, changes them and takes them away.

use berth_test::{Project, ServerSession};
use http::StatusCode;
use serde_json::Value;

use crate::world;

const CONFIG: &str = r#"{
  "name": "counter",
  "main": "index.js",
  "compatibility_date": "2026-11-01",
  "vars": { "GREETING": "hello", "LIST": [1, 2] },
  "version_metadata": { "binding": "VERSION" },
  "durable_objects": { "bindings": [{ "name": "COUNTER", "class_name": "Counter" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Counter"] }]
}"#;

const WORKER: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Counter extends DurableObject {
  async next() {
    const count = ((await this.ctx.storage.get("count")) ?? 0) + 1;
    await this.ctx.storage.put("count", count);
    return count;
  }
}
export default {
  async fetch(request, env) {
    const { pathname, host } = new URL(request.url);
    if (pathname === "/count") return new Response(String(await env.COUNTER.getByName("a").next()));
    const { GREETING: greeting, LIST: list, KEY: key, VERSION: version } = env;
    return Response.json({ greeting, list, key, version: version.id, host });
  },
};
"#;

fn counter() -> Project {
    let project = Project::empty();
    project.write("wrangler.jsonc", CONFIG);
    project.write("index.js", WORKER);
    project
}

async fn about(server: &ServerSession) -> Value {
    server.get("counter", "/").await.ok().json()
}

/// The id that wrangler prints last.
fn version(output: &str) -> &str {
    let (_, id) = output.rsplit_once("Current Version ID: ").expect(output);
    id.trim()
}

#[tokio::test]
async fn wrangler_deploys_changes_and_deletes_a_worker() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = counter();

    let whoami = server.wrangler_ok(&project, ["whoami"], "").await;
    assert!(
        whoami.contains(server.variable("CLOUDFLARE_ACCOUNT_ID")),
        "{whoami}"
    );
    assert_eq!(
        server.get("counter", "/").await.status,
        StatusCode::NOT_FOUND
    );

    let deployed = server.wrangler_ok(&project, ["deploy"], "").await;
    assert!(deployed.contains("counter.localhost"), "{deployed}");
    let first = about(&server).await;
    assert_eq!(first["version"], version(&deployed));
    assert_eq!(
        (&first["greeting"], &first["list"]),
        (&"hello".into(), &serde_json::json!([1, 2]))
    );
    assert_eq!(server.text("counter", "/count").await, "1");

    // Secrets: a version of their own, never shown, carried on.
    server
        .wrangler_ok(&project, ["secret", "put", "KEY"], "hunter2")
        .await;
    assert_eq!(about(&server).await["key"], "hunter2");
    let listed = server.wrangler_ok(&project, ["secret", "list"], "").await;
    assert!(
        listed.contains("KEY") && !listed.contains("hunter2"),
        "{listed}"
    );

    // A new version has the objects and the secrets of the one before.
    project.write("wrangler.jsonc", CONFIG.replace("hello", "howdy"));
    let second = server
        .wrangler_ok(&project, ["deploy", "--message", "second"], "")
        .await;
    let now = about(&server).await;
    assert_eq!(
        (&now["greeting"], &now["key"]),
        (&"howdy".into(), &"hunter2".into())
    );
    assert_eq!(now["version"], version(&second));
    assert_eq!(server.text("counter", "/count").await, "2");

    let listed = server
        .wrangler_ok(&project, ["versions", "list", "--json"], "")
        .await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 3);
    let shown = server
        .wrangler_ok(&project, ["versions", "view", version(&second)], "")
        .await;
    assert!(
        shown.contains("second") && shown.contains("COUNTER"),
        "{shown}"
    );
    let status = server
        .wrangler_ok(&project, ["deployments", "status"], "")
        .await;
    assert!(status.contains(version(&second)), "{status}");

    // A version that waits, and its deployment.
    project.write("wrangler.jsonc", CONFIG.replace("hello", "waiting"));
    server
        .wrangler_ok(&project, ["versions", "upload"], "")
        .await;
    assert_eq!(about(&server).await["greeting"], "howdy");
    let refused = server
        .wrangler(&project, ["secret", "put", "OTHER"], "x")
        .await;
    assert!(
        !refused.status.success(),
        "it would not be known on which version"
    );
    let listed = server
        .wrangler_ok(&project, ["versions", "list", "--json"], "")
        .await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let waiting = listed.as_array().unwrap().last().unwrap()["id"]
        .as_str()
        .unwrap();
    let share = format!("{waiting}@100%");
    server
        .wrangler_ok(&project, ["versions", "deploy", &share, "--yes"], "")
        .await;
    assert_eq!(about(&server).await["greeting"], "waiting");

    // Back to the version that the first deployment made, which had no secret yet.
    let first_id = first["version"].as_str().unwrap();
    server
        .wrangler_ok(
            &project,
            ["rollback", first_id, "--yes", "--message", "back"],
            "",
        )
        .await;
    let back = about(&server).await;
    assert_eq!(
        (&back["version"], &back["greeting"]),
        (&first["version"], &"hello".into())
    );
    assert_eq!(server.text("counter", "/count").await, "3");

    let apps = data.path().join("server/apps");
    assert_eq!(std::fs::read_dir(&apps).unwrap().count(), 1);
    server
        .wrangler_ok(&project, ["delete", "--force"], "")
        .await;
    assert_eq!(
        server.get("counter", "/").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        std::fs::read_dir(&apps).unwrap().count(),
        0,
        "its objects are gone"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_version_that_does_not_start_changes_nothing() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = counter();
    server.wrangler_ok(&project, ["deploy"], "").await;
    let before = about(&server).await;
    let throwing = format!("{WORKER}\nthrow new Error('not today');\n");
    let without = WORKER.replace("export class Counter", "class Counter");
    for (code, said) in [(throwing, "not today"), (without, "Counter")] {
        project.write("index.js", &code);
        let refused = server.wrangler(&project, ["deploy"], "").await;
        assert!(!refused.status.success());
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(text.contains(said), "{text}");
        assert_eq!(about(&server).await, before);
    }
    let unsupported = CONFIG.replace("\"vars\"", "\"ai\": { \"binding\": \"AI\" }, \"vars\"");
    project.write("index.js", WORKER);
    project.write("wrangler.jsonc", &unsupported);
    let refused = server.wrangler(&project, ["deploy"], "").await;
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        text.contains("`AI`") && text.contains("not supported"),
        "{text}"
    );
    assert_eq!(about(&server).await, before);
    server.stop().await;
}

#[tokio::test]
async fn a_killed_server_comes_back_with_what_was_deployed() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = counter();
    server.wrangler_ok(&project, ["deploy"], "").await;
    assert_eq!(server.text("counter", "/count").await, "1");
    let token = server.variable("CLOUDFLARE_API_TOKEN").to_owned();
    let before = about(&server).await["version"].clone();
    let killed = server.kill().await;
    killed.footprint.assert_processes_end();

    let server = world.server(data.path()).await;
    assert_eq!(server.variable("CLOUDFLARE_API_TOKEN"), token);
    assert_eq!(
        about(&server).await["version"],
        before,
        "it answers at once"
    );
    assert_eq!(server.text("counter", "/count").await, "2");
    killed.footprint.assert_gone();
    server.stop().await;
}
