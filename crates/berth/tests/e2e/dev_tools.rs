//! `berth ps`, `logs` and `exec` against a running session, `--print-config`, and its table of
//! bindings.

use std::process::Output;

use berth_test::Project;
use serde_json::Value;

use crate::world;

#[track_caller]
fn stdout(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn commands_look_into_the_session() {
    let project = Project::example("hello");
    let session = world().dev(&project).start().await;
    assert_eq!(stdout(&session.berth(["ps", "--json"]).await).trim(), "[]");
    session.text("/container/a").await;

    let table = stdout(&session.berth(["ps"]).await);
    assert!(table.contains("MyContainer"), "{table}");
    let list: Value =
        serde_json::from_str(&stdout(&session.berth(["ps", "--json"]).await)).unwrap();
    let instances = list.as_array().unwrap();
    assert_eq!(
        instances.len(),
        1,
        "only the user's containers are listed: {list}"
    );
    let started = session.container("started", "MyContainer").await;
    let instance = started.text("name").to_owned();
    assert!(list.to_string().contains(&instance), "{list}");

    let logs = stdout(&session.berth(["logs", &instance]).await);
    assert!(logs.contains("Listening on port 8080"), "{logs}");
    assert!(logs.contains("GET /container/a"), "{logs}");

    let output = session
        .berth(["exec", &instance, "--", "cat", "/app/server.js"])
        .await;
    assert_eq!(stdout(&output), project.read("container/server.js"));
    let output = session
        .berth(["exec", &instance, "--", "sh", "-c", "echo oops >&2; exit 9"])
        .await;
    assert_eq!(output.status.code(), Some(9));
    assert_eq!(String::from_utf8_lossy(&output.stderr).trim(), "oops");
    let environment = stdout(
        &session
            .berth(["exec", "-e", "ADDED=1", &instance, "--", "env"])
            .await,
    );
    assert!(
        environment.contains("MESSAGE=I was passed in"),
        "{environment}"
    );
    assert!(environment.contains("ADDED=1"), "{environment}");

    let trace: Value = serde_json::from_str(&stdout(
        &session.berth(["trace", "--json", &instance]).await,
    ))
    .unwrap();
    let steps = trace["steps"].as_array().unwrap();
    for phase in [
        "call",
        "network",
        "prepare",
        "open",
        "spawn",
        "rootfs",
        "exec",
        "boot",
        "hold",
        "first byte",
    ] {
        let found = steps.iter().filter(|step| step["phase"] == phase);
        assert!(found.count() > 0, "{phase}: {trace}");
    }
    let end = |step: &Value| step["at_us"].as_u64().unwrap() + step["took_us"].as_u64().unwrap();
    let last = steps.iter().rfind(|step| step["phase"] == "first byte");
    let total = trace["total_us"].as_u64().unwrap();
    // Begin and duration are each cut to whole microseconds.
    assert!(total.abs_diff(end(last.unwrap())) <= 1, "{trace}");
    let table = stdout(&session.berth(["trace", &instance]).await);
    assert!(
        table.contains("POST /containers/{container}/start"),
        "{table}"
    );

    let unknown = session.berth(["logs", "no-such-instance"]).await;
    assert!(!unknown.status.success());
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no-such-instance"));
    session.stop().await;
}

#[tokio::test]
async fn logs_follow_until_the_container_is_gone() {
    let project = Project::example("hello");
    let session = world().dev(&project).start().await;
    session.text("/container/a").await;
    let instance = session
        .container("started", "MyContainer")
        .await
        .text("name")
        .to_owned();
    let follow = session.berth(["logs", "-f", &instance]);
    let ask_and_crash = async {
        session.text("/container/a?second").await;
        let path = "/container/a";
        let crash = ["exec", &instance, "--", "node", "-e"];
        let script = "fetch('http://127.0.0.1:8080/error').catch(() => {})";
        session
            .berth([crash[0], crash[1], crash[2], crash[3], crash[4], script])
            .await;
        session.container("exited", "MyContainer").await;
        session.get(path).await;
    };
    let (output, ()) = tokio::join!(follow, ask_and_crash);
    assert!(stdout(&output).contains("Listening on port 8080"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("Asked to crash"),
        "what it wrote to standard error: {errors}"
    );
    session.stop().await;
}

#[tokio::test]
async fn without_a_session_the_commands_say_so() {
    let project = Project::example("hello");
    let path = project.path().to_str().unwrap();
    let output = world().run(["ps", "--project", path]).await;
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("berth dev"), "{message}");
}

#[tokio::test]
async fn the_ready_event_lists_the_bindings() {
    let session = world().dev(&Project::example("env-vars")).start().await;
    let ready = session
        .event("ready", |event| event.kind() == "ready")
        .await;
    let bindings = ready.0["bindings"].as_array().unwrap();
    let names: Vec<_> = bindings
        .iter()
        .filter_map(|row| row["name"].as_str())
        .collect();
    for name in ["SETTINGS", "CONFIGURED", "STAGE"] {
        assert!(
            names.iter().any(|row| row.contains(name)),
            "{name} is not in {names:?}"
        );
    }
    session.stop().await;
}

#[tokio::test]
async fn the_configuration_of_workerd_can_be_read() {
    let project = Project::example("hello");
    let path = project.path().to_str().unwrap();
    let output = world().run(["dev", path, "--print-config"]).await;
    let text = stdout(&output);
    assert!(text.contains("MyContainer"), "{text}");
    assert!(text.contains("Workerd.Config"), "{text}");
}

#[tokio::test]
async fn address_and_configuration_file_can_be_chosen() {
    let project = Project::example("hello");
    let config = project.read("wrangler.jsonc");
    project.write("other.jsonc", config.replace("\"hello\"", "\"other\""));
    project.write("wrangler.jsonc", "not read");
    let file = project.path().join("other.jsonc");
    let session = world()
        .dev(&project)
        .args(["--ip", "127.0.0.2", "--config", file.to_str().unwrap()])
        .start()
        .await;
    assert!(
        session.url().starts_with("http://127.0.0.2:"),
        "{}",
        session.url()
    );
    assert!(session.text("/").await.contains("/container/"));
    session.stop().await;
}
