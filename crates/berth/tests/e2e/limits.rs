//! How many instances may run and start, told by the unmodified class.

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;

use crate::class_api::{call, project};
use crate::world;

#[tokio::test]
async fn one_instance_too_many_is_a_503_until_another_ends() {
    let world = world();
    let project = project(&world, "0.3.7");
    project.replace(
        "wrangler.jsonc",
        r#""max_instances": 60"#,
        r#""max_instances": 2"#,
    );
    let session = world.dev(&project).start().await;
    for instance in ["a", "b"] {
        session
            .get(&format!("/fetch/Main/{instance}/id"))
            .await
            .ok();
    }
    let reply = session.get("/fetch/Main/c/id").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    let text = reply.text();
    assert!(text.contains("no Container instance available"), "{text}");
    let told = |event: &berth_test::Event| event.is_container("failed", "Main");
    assert_eq!(session.events().count(told), 1, "said once, not per try");
    let failed = session.container("failed", "Main").await;
    let reason = failed.text("reason");
    assert!(reason.contains("`max_instances`"), "{reason}");
    // Another class is not affected, and a place that becomes free while the class tries is taken.
    session.get("/fetch/Manual/m/id").await;
    let waiting = session.get("/fetch/Main/c/id");
    let ending = call(&session, "Main/a/stop", json!([]));
    let (reply, _) = futures_util::future::join(waiting, ending).await;
    reply.ok();
    session.stop().await;
}

#[tokio::test]
async fn too_many_starts_per_second_are_a_429() {
    let world = world();
    let session = world
        .dev(&project(&world, "0.3.7"))
        .args(["--start-rate", "1"])
        .start()
        .await;
    let paths: Vec<_> = (0..8).map(|n| format!("/fetch/Main/{n}/id")).collect();
    let replies = join_all(paths.iter().map(|path| session.get(path))).await;
    let count = |status| {
        replies
            .iter()
            .filter(|reply| reply.status == status)
            .count()
    };
    let (ok, refused) = (count(StatusCode::OK), count(StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(ok + refused, 8);
    assert!(ok >= 3 && refused >= 1, "{ok} started, {refused} refused");
    let text = replies
        .iter()
        .find(|reply| reply.status == StatusCode::TOO_MANY_REQUESTS)
        .unwrap()
        .text();
    assert!(
        text.contains("you are requesting too many containers per second"),
        "{text}"
    );
    session.stop().await;
}
