//! `berth serve`: an unmodified wrangler deploys Workers to it, changes them and takes them away.

use std::os::unix::fs::PermissionsExt as _;

use berth_test::ServerSession;
use http::StatusCode;
use serde_json::Value;

use crate::deployed::{COUNTER_CONFIG, GREETER_WORKER, counter, counter_worker, greeter};
use crate::world;

pub(crate) async fn about(server: &ServerSession) -> Value {
    server.get("counter", "/").await.ok().json()
}

/// The id that wrangler prints last.
pub(crate) fn version(output: &str) -> &str {
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

    project.write("more.json", r#"{"ONE": "1", "TWO": "2"}"#);
    let bulk = ["secret", "bulk", "more.json"];
    server.wrangler_ok(&project, bulk, "").await;
    let delete = ["secret", "delete", "TWO"];
    server.wrangler_ok(&project, delete, "").await;
    let listed = server.wrangler_ok(&project, ["secret", "list"], "").await;
    assert!(
        listed.contains("ONE") && !listed.contains("TWO"),
        "{listed}"
    );
    let deployments = ["deployments", "list", "--json"];
    let listed = server.wrangler_ok(&project, deployments, "").await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 4);

    // A new version has the objects and the secrets of the one before.
    project.write("wrangler.jsonc", COUNTER_CONFIG.replace("hello", "howdy"));
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
    assert_eq!(listed.as_array().unwrap().len(), 5);
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
    project.write("wrangler.jsonc", COUNTER_CONFIG.replace("hello", "waiting"));
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

    let put = ["versions", "secret", "put", "LATER"];
    server.wrangler_ok(&project, put, "later").await;
    assert_eq!(about(&server).await, back, "that version waits");

    let apps = data.path().join("server/apps");
    let mode = std::fs::metadata(data.path().join("server"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0, "objects and code are nobody else's");
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
    let throwing = format!("{}\nthrow new Error('not today');\n", counter_worker());
    let without = counter_worker().replace("export class Counter", "class Counter");
    for (code, said) in [(throwing, "not today"), (without, "Counter")] {
        project.write("index.js", &code);
        let refused = server.wrangler(&project, ["deploy"], "").await;
        assert!(!refused.status.success());
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(text.contains(said), "{text}");
        assert_eq!(about(&server).await, before);
    }
    let unsupported =
        COUNTER_CONFIG.replace("\"vars\"", "\"ai\": { \"binding\": \"AI\" }, \"vars\"");
    project.write("index.js", counter_worker());
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

#[tokio::test]
async fn wrangler_builds_pushes_and_rolls_out_containers() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = greeter(&world);

    server.wrangler_ok(&project, ["deploy"], "").await;
    assert_eq!(server.text("greeter", "/a").await, "hello 1");
    assert_eq!(server.text("greeter", "/a").await, "hello 2");
    assert_eq!(server.text("greeter", "/b").await, "hello 1");
    let listed = server
        .wrangler_ok(&project, ["containers", "list", "--json"], "")
        .await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let application = &listed[0];
    assert_eq!(application["name"], "greeter-greeter");
    let id = application["id"].as_str().unwrap();
    let image = application["image"].as_str().unwrap().to_owned();
    assert!(image.contains("@sha256:"), "{image}");
    let instances = server
        .wrangler_ok(&project, ["containers", "instances", id, "--json"], "")
        .await;
    assert_eq!(instances.matches("running").count(), 2, "{instances}");

    // A new Worker with the same image: the containers run on.
    project.write("index.js", format!("{GREETER_WORKER}// another version\n"));
    let same = server.wrangler_ok(&project, ["deploy"], "").await;
    assert!(!same.contains("Modified application"), "{same}");
    assert_eq!(server.text("greeter", "/a").await, "hello 3");

    // A new image: they end, and the next request starts the new ones.
    project.write("greeting", "howdy");
    let immediate = ["deploy", "--containers-rollout=immediate"];
    server.wrangler_ok(&project, immediate, "").await;
    let mut greeting = server.text("greeter", "/a").await;
    while greeting.starts_with("hello") {
        greeting = server.text("greeter", "/a").await;
    }
    assert_eq!(greeting, "howdy 1");
    let info = server
        .wrangler_ok(&project, ["containers", "info", id], "")
        .await;
    assert!(!info.contains(&image), "{info}");

    // Images of one's own accord, and an application without its Worker.
    let build = ["containers", "build", ".", "--tag", "by-hand:one"];
    server.wrangler_ok(&project, build, "").await;
    let push = ["containers", "push", "by-hand:one"];
    let pushed = server.wrangler_ok(&project, push, "").await;
    assert!(pushed.contains("by-hand:one"), "{pushed}");

    // They run on when the server is killed, go when they are deleted, come with the next deployment, and
    // go with the Worker.
    let killed = server.kill().await;
    killed.footprint.assert_server_ends();
    let server = world.server(data.path()).await;
    assert_eq!(server.text("greeter", "/a").await, "howdy 2");
    let list = ["containers", "list", "--json"];
    let none = serde_json::json!([]);
    server
        .wrangler_ok(&project, ["containers", "delete", id], "")
        .await;
    let listed = server.wrangler_ok(&project, list, "").await;
    assert_eq!(serde_json::from_str::<Value>(&listed).unwrap(), none);
    server.wrangler_ok(&project, ["deploy"], "").await;
    assert_eq!(server.text("greeter", "/a").await, "howdy 1");
    server
        .wrangler_ok(&project, ["delete", "--force"], "")
        .await;
    let listed = server.wrangler_ok(&project, list, "").await;
    assert_eq!(serde_json::from_str::<Value>(&listed).unwrap(), none);
    server.stop().await;
}
