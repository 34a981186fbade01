//! `berth serve`: wrangler 4.86, the newest that runs on Node 20. Its requests differ here and there.

use berth_test::{Project, Release};
use http::{Method, StatusCode};
use serde_json::Value;

use crate::deployed::{COUNTER_CONFIG, counter};
use crate::serve::{about, version};
use crate::world;

#[tokio::test]
async fn a_worker_from_its_deployment_to_its_end() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world
        .server(data.path())
        .await
        .with_wrangler(Release::Node20);
    let project = counter();
    let release = server.wrangler_ok(&project, ["--version"], "").await;
    assert!(release.contains("4.86.0"), "{release}");
    let whoami = server.wrangler_ok(&project, ["whoami"], "").await;
    assert!(
        whoami.contains(server.variable("CLOUDFLARE_ACCOUNT_ID")),
        "{whoami}"
    );
    let first = server.wrangler_ok(&project, ["deploy"], "").await;
    assert_eq!(server.text("counter", "/count").await, "1");

    server
        .wrangler_ok(&project, ["secret", "put", "KEY"], "hunter2")
        .await;
    project.write("more.json", r#"{"ONE": "1", "TWO": "2"}"#);
    server
        .wrangler_ok(&project, ["secret", "bulk", "more.json"], "")
        .await;
    server
        .wrangler_ok(&project, ["secret", "delete", "TWO"], "")
        .await;
    let listed = server.wrangler_ok(&project, ["secret", "list"], "").await;
    assert!(
        listed.contains("ONE") && !listed.contains("TWO"),
        "{listed}"
    );
    assert_eq!(about(&server).await["key"], "hunter2");

    // It finds the migrations that were made, and keeps objects and secrets.
    project.write("wrangler.jsonc", COUNTER_CONFIG.replace("hello", "howdy"));
    let second = server.wrangler_ok(&project, ["deploy"], "").await;
    let now = about(&server).await;
    assert_eq!(
        (&now["greeting"], &now["key"]),
        (&"howdy".into(), &"hunter2".into())
    );
    assert_eq!(server.text("counter", "/count").await, "2");

    project.write("wrangler.jsonc", COUNTER_CONFIG.replace("hello", "waiting"));
    server
        .wrangler_ok(&project, ["versions", "upload"], "")
        .await;
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
    let viewed = server
        .wrangler_ok(&project, ["versions", "view", version(&second)], "")
        .await;
    assert!(viewed.contains("COUNTER"), "{viewed}");
    let status = server
        .wrangler_ok(&project, ["deployments", "status"], "")
        .await;
    assert!(status.contains(waiting), "{status}");

    server
        .wrangler_ok(
            &project,
            ["rollback", version(&first), "--yes", "--message", "back"],
            "",
        )
        .await;
    assert_eq!(about(&server).await["greeting"], "hello");
    assert_eq!(server.text("counter", "/count").await, "3");
    server
        .wrangler_ok(&project, ["delete", "--force"], "")
        .await;
    assert_eq!(
        server.get("counter", "/").await.status,
        StatusCode::NOT_FOUND
    );
    server.stop().await;
}

#[tokio::test]
async fn containers_and_assets() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world
        .server(data.path())
        .await
        .with_wrangler(Release::Node20);
    let project = crate::serve_api::prober(&world);
    project.write("public/page.html", "a page");
    project.replace(
        "wrangler.jsonc",
        r#""main""#,
        r#""assets": { "directory": "public" }, "main""#,
    );
    server.wrangler_ok(&project, ["deploy"], "").await;
    assert_eq!(server.text("prober", "/page").await, "a page");
    let own = server.text("prober", "/connect/127.0.0.1/8080").await;
    assert!(own.contains("200 OK"), "{own}");
    let list = ["containers", "list"];
    let listed = server.wrangler_ok(&project, list, "").await;
    assert!(listed.contains("prober-prober"), "{listed}");
    let applications = server
        .api(http::Method::GET, "/containers/applications", Value::Null)
        .await
        .ok()
        .json();
    let id = applications["result"][0]["id"].as_str().unwrap();
    let info = server
        .wrangler_ok(&project, ["containers", "info", id], "")
        .await;
    assert!(info.contains("prober"), "{info}");
    let images = ["containers", "images", "list"];
    let images = server.wrangler_ok(&project, images, "").await;
    assert!(images.contains("prober-prober"), "{images}");
    server
        .wrangler_ok(&project, ["containers", "delete", id], "")
        .await;
    server
        .wrangler_ok(&project, ["delete", "--force"], "")
        .await;
    server.stop().await;
}

#[tokio::test]
async fn what_is_refused_is_said() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world
        .server(data.path())
        .await
        .with_wrangler(Release::Node20);
    let project = Project::empty();
    project.write(
        "index.js",
        "throw new Error('not today'); export default {};",
    );
    project.write(
        "wrangler.jsonc",
        r#"{"name": "bad", "main": "index.js", "compatibility_date": "2026-11-01"}"#,
    );
    let refused = server.wrangler(&project, ["deploy"], "").await;
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && text.contains("not today"),
        "{text}"
    );
    server.stop().await;
}

const READER: &str = r#"
export default {
  async fetch(request, env) {
    console.log("reads", new URL(request.url).pathname);
    return new Response(await env.NS.get("a"));
  },
};
"#;

#[tokio::test]
async fn data_and_tails() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world
        .server(data.path())
        .await
        .with_wrangler(Release::Node20);
    let project = Project::empty();
    let run = async |line: &str| server.wrangler_line(&project, line, "").await;
    let first = async |path: &str, field: &str| {
        let found = server.api(Method::GET, path, Value::Null).await.ok().json();
        let result = &found["result"];
        result[0][field].as_str().expect("there is one").to_owned()
    };

    run("kv namespace create names").await;
    assert!(run("kv namespace list").await.contains("names"));
    let kv = first("/storage/kv/namespaces", "id").await;
    run(&format!("kv key put a one --namespace-id {kv} --remote")).await;
    project.write("pairs.json", r#"[{"key": "b", "value": "two"}]"#);
    run(&format!(
        "kv bulk put pairs.json --namespace-id {kv} --remote"
    ))
    .await;
    let keys = run(&format!("kv key list --namespace-id {kv} --remote")).await;
    let keys: Value = serde_json::from_str(&keys).unwrap();
    assert_eq!(keys.as_array().unwrap().len(), 2, "{keys}");
    assert_eq!(
        run(&format!("kv key get b --namespace-id {kv} --remote --text"))
            .await
            .trim(),
        "two"
    );
    run(&format!("kv key delete b --namespace-id {kv} --remote")).await;

    run("d1 create base").await;
    assert!(run("d1 list").await.contains("base"));
    project.write(
        "base.sql",
        "CREATE TABLE t (v TEXT); INSERT INTO t VALUES ('x')",
    );
    run("d1 execute base --remote --yes --file base.sql").await;
    let rows = server
        .wrangler_ok(
            &project,
            [
                "d1",
                "execute",
                "base",
                "--remote",
                "--json",
                "--command",
                "SELECT v FROM t",
            ],
            "",
        )
        .await;
    let rows: Value = serde_json::from_str(&rows).unwrap();
    assert_eq!(rows[0]["results"][0]["v"], "x", "{rows}");
    assert!(run("d1 info base").await.contains("base"));
    run("d1 delete base --skip-confirmation").await;

    run("r2 bucket create files").await;
    assert!(run("r2 bucket list").await.contains("files"));
    run("r2 object put files/a/pairs.json --file pairs.json --remote").await;
    run("r2 object get files/a/pairs.json --file back.json --remote").await;
    assert_eq!(project.read("back.json"), project.read("pairs.json"));
    run("r2 object delete files/a/pairs.json --remote").await;
    run("r2 bucket delete files").await;

    run("queues create jobs").await;
    run("queues update jobs --delivery-delay-secs 3").await;
    assert!(run("queues info jobs").await.contains("jobs"));
    run("queues delete jobs").await;

    run("secrets-store store create main --remote").await;
    let store = first("/secrets_store/stores", "id").await;
    run(&format!(
        "secrets-store secret create {store} --name key --value v --scopes workers --remote"
    ))
    .await;
    let listed = run(&format!("secrets-store secret list {store} --remote")).await;
    assert!(listed.contains("key"), "{listed}");
    let secret = first(&format!("/secrets_store/stores/{store}/secrets"), "id").await;
    run(&format!(
        "secrets-store secret delete {store} --secret-id {secret} --remote"
    ))
    .await;
    run(&format!("secrets-store store delete {store} --remote")).await;

    project.write("index.js", READER);
    let config = format!(
        r#"{{"name": "reader", "main": "index.js", "compatibility_date": "2026-11-01",
            "kv_namespaces": [{{"binding": "NS", "id": "{kv}"}}]}}"#
    );
    project.write("wrangler.jsonc", config);
    run("deploy").await;
    let mut tail = server.wrangler_running(&project, ["tail", "--format", "pretty"]);
    tail.line("Connected to reader").await;
    assert_eq!(server.text("reader", "/seen").await, "one");
    tail.line("reads /seen").await;
    assert!(tail.interrupt().await.success());
    run("delete --force").await;
    run(&format!("kv namespace delete --namespace-id {kv}")).await;
    server.stop().await;
}
