//! `examples/status-hooks`: what the hooks see of starts, exits, stops and the end of activity.

use berth_test::{DevSession, PATIENCE, Project};
use http::StatusCode;
use serde_json::{Value, json};

use crate::world;

/// Does something, then waits until a hook has logged `hook` with `detail` in its text.
async fn until_hook(session: &DevSession, mark: usize, hook: &str, detail: &str) {
    let what = format!("{hook} with `{detail}`");
    session
        .events()
        .wait_after(mark, &what, PATIENCE, |event| {
            event.is_log(hook) && event.text("message").contains(detail)
        })
        .await;
}

async fn history(session: &DevSession, id: &str) -> Vec<(String, Value)> {
    let status = session.get(&format!("/{id}/status")).await.ok().json();
    let entries = status["history"].as_array().unwrap().iter();
    entries
        .map(|entry| {
            (
                entry["hook"].as_str().unwrap().to_owned(),
                entry["detail"].clone(),
            )
        })
        .collect()
}

#[tokio::test]
async fn every_end_is_seen_with_its_exit_code() {
    let session = world().dev(&Project::example("status-hooks")).start().await;
    assert!(session.text("/job").await.starts_with("up for"));
    let status = session.get("/job/status").await.ok().json();
    assert_eq!(status["state"]["status"], "healthy", "{status}");

    let mark = session.events().mark();
    assert!(
        session
            .text("/job/exit/3")
            .await
            .contains("exiting with code 3")
    );
    until_hook(&session, mark, "onStop", r#""exitCode":3"#).await;

    session.text("/job").await;
    let mark = session.events().mark();
    session.client().post("/job/stop", "").await.ok();
    until_hook(&session, mark, "onStop", r#""exitCode":0"#).await;
    session.log("Received SIGTERM").await;

    session.text("/job").await;
    let mark = session.events().mark();
    session.client().post("/job/destroy", "").await.ok();
    until_hook(&session, mark, "onStop", r#""exitCode":137"#).await;

    let exit = |code: i32| {
        (
            "onStop".to_owned(),
            json!({ "exitCode": code, "reason": "exit" }),
        )
    };
    let start = || ("onStart".to_owned(), json!({}));
    assert_eq!(
        history(&session, "job").await,
        [start(), exit(3), start(), exit(0), start(), exit(137)]
    );
    let status = session.get("/job/status").await.ok().json();
    assert!(
        status["state"]["status"]
            .as_str()
            .unwrap()
            .starts_with("stopped"),
        "{status}"
    );
    session.stop().await;
}

#[tokio::test]
async fn a_program_that_never_listens_is_an_error() {
    let session = world().dev(&Project::example("status-hooks")).start().await;
    let reply = session.client().post("/broken/broken", "").await;
    assert_eq!(
        reply.status,
        StatusCode::INTERNAL_SERVER_ERROR,
        "{}",
        reply.text()
    );
    until_hook(&session, 0, "onError", "message").await;
    assert!(
        history(&session, "broken")
            .await
            .iter()
            .any(|(hook, _)| hook == "onError")
    );
    // The next start uses the image's own program again.
    assert!(session.text("/broken").await.starts_with("up for"));
    session.stop().await;
}

#[tokio::test]
async fn an_idle_container_is_put_to_sleep_and_wakes_up() {
    let project = Project::example("status-hooks");
    let session = world()
        .dev(&project)
        .args(["--var", "SLEEP_AFTER:2s"])
        .start()
        .await;
    session.text("/idle").await;
    until_hook(&session, 0, "onActivityExpired", "{}").await;
    // The class's alarm tells onStop, unless it was set in the millisecond that it ran for and is
    // lost (see `class_api`). What is pending is told by the next stop.
    session.container("exited", "Watched").await;
    session.client().post("/idle/stop", "").await.ok();
    until_hook(&session, 0, "onStop", r#""exitCode":0"#).await;
    let hooks: Vec<_> = history(&session, "idle")
        .await
        .into_iter()
        .map(|(hook, _)| hook)
        .collect();
    assert_eq!(hooks, ["onStart", "onActivityExpired", "onStop"]);
    session.text("/idle").await;
    assert_eq!(
        session
            .events()
            .count(|event| event.is_container("started", "Watched")),
        2
    );
    session.stop().await;
}
