//! Sleep that keeps memory, through gateway, workerd, the npm class and a Node program.

use std::time::Duration;

use berth_test::{DevSession, Event, Project};
use serde_json::Value;

use crate::world;

/// Longer than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const OWN: &str = r#"{
  // Idle instances give their CPU back
  "containers": {
    "MyContainer": { "sleep": { "freeze_after": "300ms", "quiet_connection_after": "300ms" } }
  }
}"#;

/// The longer sleep, as soon as may be.
const LONGER: &str = r#"{
  "containers": {
    "MyContainer": {
      "sleep": { "freeze_after": "300ms", "quiet_connection_after": "300ms", "checkpoint_after": "100ms" }
    }
  }
}"#;

/// A CRIU that works here, unpacked once for all test runs; the machine stays as it is.
fn criu() -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/criu.sh");
    let output = std::process::Command::new(script)
        .arg(concat!(env!("CARGO_TARGET_TMPDIR"), "/criu"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tools/criu.sh: {said}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn listed(session: &DevSession) -> Value {
    let output = session.berth(["ps", "--json"]).await;
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    list[0].clone()
}

#[tokio::test]
async fn an_idle_instance_sleeps_and_the_next_request_finds_its_memory() {
    let project = Project::example("hello");
    project.write("berth.jsonc", OWN);
    let session = world().dev(&project).start().await;
    for round in 1..=3 {
        let mark = session.events().mark();
        let text = session.text("/container/a").await;
        assert!(
            text.contains(&format!("answered {round} request")),
            "{text}"
        );
        session
            .events()
            .wait_after(
                mark,
                "the container falls asleep",
                PATIENCE,
                |event: &Event| event.is_container("asleep", "MyContainer"),
            )
            .await;
        let row = listed(&session).await;
        assert_eq!(row["asleep"], "frozen", "{row}");
        assert_eq!(row["state"], "running");
        assert!(
            row["status"].as_str().unwrap().contains("asleep (frozen)"),
            "{row}"
        );
        let before = row["usage"].clone();
        let after = listed(&session).await["usage"].clone();
        assert_eq!(
            before["cpu_ns"], after["cpu_ns"],
            "looking costs the container nothing"
        );
        assert!(after["frozen_ms"].as_u64() >= before["frozen_ms"].as_u64());
        assert_eq!(before["running_ms"], after["running_ms"]);
    }
    // A command in it wakes it.
    let instance = listed(&session).await["instance"]
        .as_str()
        .unwrap()
        .to_owned();
    let output = session
        .berth(["exec", &instance, "--", "echo", "hello"])
        .await;
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "hello");
    // The session ends while the container is asleep or about to be.
    session.stop().await;
}

#[tokio::test]
async fn an_instance_that_sleeps_for_long_is_on_disk_and_the_next_request_finds_its_memory() {
    let criu = tokio::task::spawn_blocking(criu).await.unwrap();
    let project = Project::example("hello");
    project.write("berth.jsonc", LONGER);
    let session = world().dev(&project).env("BERTH_CRIU", criu).start().await;
    for round in 1..=2 {
        let text = session.text("/container/a").await;
        assert!(
            text.contains(&format!("answered {round} request")),
            "{text}"
        );
        // workerd keeps its connection for some seconds; then it is written.
        let begin = std::time::Instant::now();
        let row = loop {
            let row = listed(&session).await;
            if row["asleep"] == "on disk" {
                break row;
            }
            assert!(begin.elapsed() < PATIENCE, "not written to disk: {row}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert_eq!(row["state"], "running", "{row}");
        assert!(row["usage"]["stored_ms"].as_u64().is_some(), "{row}");
    }
    let instance = listed(&session).await["instance"]
        .as_str()
        .unwrap()
        .to_owned();
    let output = session
        .berth(["exec", &instance, "--", "echo", "hello"])
        .await;
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "hello");
    session.stop().await;
}
