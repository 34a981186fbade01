//! `berth serve`: every example, deployed by an unmodified wrangler and driven as under `berth dev`.

use std::time::{Duration, Instant};

use berth_test::{Client, Project, ServerSession, World};
use serde_json::{Value, json};

use crate::{code_sandbox, cron_batch_job, frontend_backend, hello, websocket_chat, world};

/// Longer than until the next full minute, when a cron trigger comes.
const NEXT_MINUTE: Duration = Duration::from_secs(90);

/// A copy of an example as a user has it, after `npm install`.
fn example(world: &World, name: &str) -> Project {
    let project = Project::example(name);
    project.install(world, "@cloudflare/containers", "0.3.7");
    project
}

async fn deploy(server: &ServerSession, project: &Project, name: &str) -> Client {
    server.wrangler_ok(project, ["deploy"], "").await;
    server.client(name)
}

/// What the Worker answers, once it is what it is to be; `limit` is for what never comes.
async fn until(
    client: &Client,
    path: &str,
    limit: Duration,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let began = Instant::now();
    loop {
        let answer = client.get(path).await.ok().json();
        if wanted(&answer) {
            return answer;
        }
        assert!(began.elapsed() < limit, "{path}: {answer}");
        // Only the Worker knows what its hooks have seen, and it has no way to say so by itself.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Hooks see every start and every end, with its exit code.
async fn drive_hooks(client: &Client) {
    let seen = |hooks: Value| {
        move |status: &Value| {
            let history = status["history"].as_array().into_iter().flatten();
            let history = history.map(|entry| json!([entry["hook"], entry["detail"]["exitCode"]]));
            history.collect::<Vec<_>>() == *hooks.as_array().unwrap()
        }
    };
    let (start, limit) = (json!(["onStart", null]), Duration::from_secs(20));
    assert!(client.text("/job").await.starts_with("up for"));
    let left = client.text("/job/exit/3").await;
    assert!(left.contains("exiting with code 3"), "{left}");
    let hooks = json!([start, ["onStop", 3]]);
    until(client, "/job/status", limit, seen(hooks)).await;
    client.text("/job").await;
    client.post("/job/stop", "").await.ok();
    let hooks = json!([start, ["onStop", 3], start, ["onStop", 0]]);
    until(client, "/job/status", limit, seen(hooks)).await;
    client.text("/job").await;
    client.post("/job/destroy", "").await.ok();
    let hooks = json!([
        start,
        ["onStop", 3],
        start,
        ["onStop", 0],
        start,
        ["onStop", 137]
    ]);
    until(client, "/job/status", limit, seen(hooks)).await;
}

#[tokio::test]
async fn the_examples_are_deployed_and_driven() {
    let world = world();
    let data = world.data_with_images("seeds");
    let server = world.server(&data).await;

    // First, so that its minute passes meanwhile.
    let cron = example(&world, "cron-batch-job");
    cron.replace("wrangler.jsonc", "0 2 * * *", "* * * * *");
    let cron = deploy(&server, &cron, "cron-batch-job").await;

    let client = deploy(&server, &example(&world, "hello"), "hello").await;
    hello::drive(&client).await;

    let client = deploy(
        &server,
        &example(&world, "frontend-backend"),
        "frontend-backend",
    )
    .await;
    frontend_backend::drive_assets(&client).await;
    frontend_backend::drive_api(&client).await;

    let client = deploy(&server, &example(&world, "code-sandbox"), "code-sandbox").await;
    code_sandbox::drive(&client).await;
    code_sandbox::drive_limits(&client).await;

    let client = deploy(
        &server,
        &example(&world, "websocket-chat"),
        "websocket-chat",
    )
    .await;
    websocket_chat::drive_page(&client).await;
    websocket_chat::drive_rooms(&client).await;

    let project = example(&world, "status-hooks");
    let client = deploy(&server, &project, "status-hooks").await;
    drive_hooks(&client).await;

    let listed = ["containers", "list", "--json"];
    let listed = server.wrangler_ok(&project, listed, "").await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 6, "{listed}");

    cron_batch_job::drive(&cron).await;
    cron_batch_job::drive_broken(&cron).await;
    let ended = |runs: &Value| runs[0]["exitCode"] == 0;
    let runs = until(&cron, "/runs/nightly", NEXT_MINUTE, ended).await;
    assert_eq!(runs[0]["trigger"], "cron * * * * *");
    assert_eq!(runs[0]["report"]["total_revenue"], "202.45");
    server.stop().await;
}
