//! `berth`'s own commands as clients of a server: the same API, the same results as with wrangler.

use berth_test::{Project, ServerSession};
use http::StatusCode;
use serde_json::Value;

use crate::deployed::greeter;
use crate::world;

/// The last event of `berth deploy --json`.
async fn deploy(server: &ServerSession, project: &Project) -> Value {
    let output = server.berth_ok(project, ["deploy", "--json"], "").await;
    let last = output.lines().last().expect("there are events");
    let event: Value = serde_json::from_str(last).expect("they are JSON");
    assert_eq!(event["event"], "deployed", "{output}");
    event
}

async fn json<const N: usize>(
    server: &ServerSession,
    project: &Project,
    arguments: [&str; N],
) -> Value {
    let output = server.berth_ok(project, arguments, "").await;
    serde_json::from_str(&output).expect("it is JSON")
}

#[tokio::test]
async fn berth_deploys_what_wrangler_deploys_and_only_what_is_new() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = greeter(&world);

    let first = deploy(&server, &project).await;
    assert_eq!(first["uploaded"], true);
    assert_eq!(first["containers"][0]["change"], "created");
    assert!(
        first["url"].as_str().unwrap().contains("greeter.localhost"),
        "{first}"
    );
    assert_eq!(server.text("greeter", "/a").await, "hello 1");

    // Nothing is new: nothing is uploaded, nothing is rolled out, the container runs on.
    let same = deploy(&server, &project).await;
    assert_eq!(same["uploaded"], false, "{same}");
    assert_eq!(same["version_id"], first["version_id"]);
    assert_eq!(same["containers"][0]["change"], "unchanged");
    assert_eq!(server.text("greeter", "/a").await, "hello 2");

    // wrangler finds what it would have sent itself, and so does `berth` after it.
    let wrangler = server.wrangler_ok(&project, ["deploy"], "").await;
    assert!(wrangler.contains("no changes"), "{wrangler}");
    let after = deploy(&server, &project).await;
    assert_eq!(after["containers"][0]["change"], "unchanged", "{after}");
    assert_eq!(server.text("greeter", "/a").await, "hello 3");

    // A new image, followed to the end of its rollout.
    project.write("greeting", "howdy");
    let waited = ["deploy", "--wait", "--json"];
    let waited = server.berth_ok(&project, waited, "").await;
    assert!(waited.contains("\"name\":\"rollout\""), "{waited}");
    let changed: Value = serde_json::from_str(waited.lines().last().unwrap()).unwrap();
    assert_eq!(changed["uploaded"], false, "the Worker is the same");
    assert_eq!(changed["containers"][0]["change"], "rolled out");
    let mut greeting = server.text("greeter", "/a").await;
    while greeting.starts_with("hello") {
        greeting = server.text("greeter", "/a").await;
    }
    assert_eq!(greeting, "howdy 1");

    let listed = json(&server, &project, ["containers", "list", "--json"]).await;
    assert_eq!(listed[0]["name"], "greeter-greeter");
    let instances = ["containers", "instances", "greeter-greeter", "--json"];
    let instances = json(&server, &project, instances).await;
    let status = &instances["instances"][0]["current_placement"]["status"];
    assert_eq!(status["container_status"], "running", "{instances}");
    server.stop().await;
}

const CONFIG: &str = r#"{
  "name": "shown",
  "main": "index.js",
  "compatibility_date": "2026-11-01",
  "vars": { "GREETING": "hello" },
  "version_metadata": { "binding": "VERSION" },
  "assets": { "directory": "public" },
  "triggers": { "crons": ["0 3 * * *"] },
  "secrets": { "required": ["KEY"] }
}"#;

const WORKER: &str = r"
export default {
  async fetch(request, env) {
    const { GREETING: greeting, KEY: key, VERSION: version } = env;
    return Response.json({ greeting, key, version: version.id, mode: process.env.NODE_ENV });
  },
};
";

async fn about(server: &ServerSession) -> Value {
    server.get("shown", "/").await.ok().json()
}

fn failed(output: &std::process::Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn versions_secrets_and_deletion() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = Project::empty();
    project.write("wrangler.jsonc", CONFIG);
    project.write("index.js", WORKER);
    project.write("public/page.html", "<p>page</p>");

    // A required secret must be there first; it may be set before the Worker is.
    let refused = failed(&server.berth(&project, ["deploy"], "", &[]).await);
    assert!(
        refused.contains("KEY") && refused.contains("berth secret put"),
        "{refused}"
    );
    server
        .berth_ok(&project, ["secret", "put", "KEY"], "hunter2\n")
        .await;
    let first = deploy(&server, &project).await;
    let now = about(&server).await;
    assert_eq!(
        (&now["greeting"], &now["key"]),
        (&"hello".into(), &"hunter2".into())
    );
    assert_eq!(
        (&now["version"], &now["mode"]),
        (&first["version_id"], &"production".into())
    );
    assert_eq!(server.text("shown", "/page").await, "<p>page</p>");
    assert_eq!(deploy(&server, &project).await["uploaded"], false);

    project.write("public/page.html", "<p>another</p>");
    project.write("wrangler.jsonc", CONFIG.replace("hello", "howdy"));
    let second = deploy(&server, &project).await;
    assert_eq!(second["uploaded"], true);
    assert_eq!(about(&server).await["greeting"], "howdy");
    assert_eq!(server.text("shown", "/page").await, "<p>another</p>");

    let listed = server.berth_ok(&project, ["secret", "list"], "").await;
    assert!(
        listed.contains("KEY") && !listed.contains("hunter2"),
        "{listed}"
    );
    project.write("more.env", "ONE=1\nTWO=2\n");
    let bulk = ["secret", "bulk", "more.env", "--json"];
    assert_eq!(json(&server, &project, bulk).await[1]["name"], "TWO");
    server
        .berth_ok(&project, ["secret", "delete", "TWO"], "")
        .await;

    // A version that waits, its deployment, and the way back.
    let upload = ["versions", "upload", "--message", "waits", "--json"];
    let uploaded = server.berth_ok(&project, upload, "").await;
    let uploaded: Value = serde_json::from_str(uploaded.lines().last().unwrap()).unwrap();
    let waiting = uploaded["version_id"].as_str().unwrap();
    assert_ne!(about(&server).await["version"], waiting);
    let view = json(
        &server,
        &project,
        ["versions", "view", &waiting[..8], "--json"],
    )
    .await;
    assert_eq!(view["annotations"]["workers/message"], "waits");
    server
        .berth_ok(&project, ["versions", "deploy", waiting], "")
        .await;
    assert_eq!(about(&server).await["version"], waiting);
    let first_id = first["version_id"].as_str().unwrap();
    let refused = server
        .berth(&project, ["rollback", first_id], "", &[])
        .await;
    let refused = failed(&refused);
    assert!(
        refused.contains("ONE") && refused.contains("--yes"),
        "{refused}"
    );
    server
        .berth_ok(&project, ["rollback", first_id, "--yes"], "")
        .await;
    assert_eq!(about(&server).await["version"], first_id);
    assert_eq!(server.text("shown", "/page").await, "<p>page</p>");
    let status = json(&server, &project, ["deployments", "status", "--json"]).await;
    assert_eq!(status["versions"][0]["version_id"], first_id);
    let versions = json(&server, &project, ["versions", "list", "--json"]).await;
    assert!(versions.as_array().unwrap().len() >= 5, "{versions}");

    // Nothing is sent without a server, or to one that does not know us.
    let dry = ["deploy", "--dry-run", "--json"];
    let dry = server.berth_ok(&project, dry, "").await;
    assert!(dry.contains("\"event\":\"dry_run\""), "{dry}");
    let nobody = [
        (
            "CLOUDFLARE_API_BASE_URL",
            server.variable("CLOUDFLARE_API_BASE_URL"),
        ),
        ("CLOUDFLARE_API_TOKEN", "berth_nobody"),
    ];
    let refused = failed(&server.berth(&project, ["deploy"], "", &nobody).await);
    assert!(refused.contains("berth token create"), "{refused}");

    server.berth_ok(&project, ["delete", "--force"], "").await;
    assert_eq!(server.get("shown", "/").await.status, StatusCode::NOT_FOUND);
    let gone = failed(&server.berth(&project, ["delete"], "", &[]).await);
    assert!(gone.contains("no Worker `shown`"), "{gone}");
    server.stop().await;
}

#[tokio::test]
async fn tokens_status_and_commands_in_containers() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = greeter(&world);
    deploy(&server, &project).await;
    assert_eq!(server.text("greeter", "/a").await, "hello 1");

    // Another machine: it knows the address and has a token.
    let api = server.variable("CLOUDFLARE_API_BASE_URL");
    let create = async |name, scope| {
        let create = [
            "token", "create", "--name", name, "--scope", scope, "--json",
        ];
        json(&server, &project, create).await
    };
    let (read, deployer) = (create("ci", "read").await, create("bot", "deploy").await);
    let text = |token: &Value| token["value"].as_str().unwrap().to_owned();
    let with = |token: &str| {
        let variables = [
            ("CLOUDFLARE_API_BASE_URL", api),
            ("CLOUDFLARE_API_TOKEN", token),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let call = async |token: &str, arguments: &[&str], input: &str| {
        let variables = with(token);
        let variables = variables
            .each_ref()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        server
            .berth_with(&project, arguments, input, &variables)
            .await
    };
    let listed = call(&text(&read), &["containers", "list"], "").await;
    assert!(listed.status.success());
    let refused = failed(&call(&text(&read), &["deploy", "--force"], "").await);
    assert!(
        refused.contains("only `read`") && refused.contains("--scope"),
        "{refused}"
    );
    let refused = failed(&call(&text(&deployer), &["token", "list"], "").await);
    assert!(refused.contains("`admin` is needed"), "{refused}");
    assert!(
        call(&text(&deployer), &["deploy"], "")
            .await
            .status
            .success()
    );
    let tokens = server
        .berth_ok(&project, ["token", "list", "--json"], "")
        .await;
    assert!(!tokens.contains(&text(&read)), "texts are shown once");
    let tokens: Value = serde_json::from_str(&tokens).unwrap();
    let mut used = tokens.as_array().unwrap().iter();
    assert!(
        used.all(|token| token["last_used_on"].is_string()),
        "{tokens}"
    );

    // Containers, and commands in them, over the API.
    let rows = call(&text(&read), &["ps", "--json"], "").await;
    let rows: Value = serde_json::from_slice(&rows.stdout).unwrap();
    let instance = rows[0]["instance"].as_str().unwrap();
    assert!(instance.starts_with("Greeter"), "{rows}");
    assert!(rows[0]["usage"]["memory_bytes"].as_u64().unwrap() > 0);
    // The image has one program: it fails at its port, which is taken, and says so by its code.
    let exec = ["exec", instance, "--", "/greeter"];
    let ended = call(&text(&deployer), &exec, "").await;
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let missing = ["exec", instance, "--", "/nothing"];
    let missing = call(&text(&deployer), &missing, "").await;
    assert_eq!(missing.status.code(), Some(127), "{missing:?}");
    let said = String::from_utf8_lossy(&missing.stdout);
    assert!(said.contains("/nothing"), "{said}");
    let refused = failed(&call(&text(&read), &exec, "").await);
    assert!(refused.contains("`deploy` is needed"), "{refused}");

    // Health.
    let status = call(&text(&read), &["status", "--json"], "").await;
    assert!(status.status.success());
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(
        (&status["healthy"], &status["problems"]),
        (&true.into(), &serde_json::json!([]))
    );
    assert_eq!(status["workers"][0]["state"], "running");
    assert_eq!(status["containers"]["running"], 1);
    assert!(status["disk"]["registry_bytes"].as_u64().unwrap() > 0);
    let shown = server.berth_ok(&project, ["status"], "").await;
    assert!(
        shown.contains("greeter") && shown.contains("Everything is well"),
        "{shown}"
    );

    // A token that is revoked is nobody's.
    server
        .berth_ok(&project, ["token", "revoke", "bot"], "")
        .await;
    let refused = failed(&call(&text(&deployer), &["whoami"], "").await);
    assert!(refused.contains("revoked"), "{refused}");
    server.stop().await;
}
