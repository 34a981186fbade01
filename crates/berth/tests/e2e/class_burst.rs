//! Many at once: first requests to one object, many objects, slow programs.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::StatusCode;

use crate::class_api::{project, start};
use crate::world;

#[tokio::test]
async fn a_hundred_first_requests_start_one_container_0_3() {
    hundred_first_requests("0.3.7").await;
}

#[tokio::test]
async fn a_hundred_first_requests_start_one_container_0_0() {
    hundred_first_requests("0.0.31").await;
}

async fn hundred_first_requests(version: &str) {
    let session = start(version).await;
    let replies = join_all((0..100).map(|_| session.get("/fetch/Main/popular/id"))).await;
    let boots: BTreeSet<_> = replies
        .into_iter()
        .map(|reply| reply.ok().json()["boot"].to_string())
        .collect();
    assert_eq!(boots.len(), 1, "one process answered all");
    let booted = session.events().count(|event| event.is_log("boot "));
    assert_eq!(booted, 1, "and no other was ever started");
    session.stop().await;
}

#[tokio::test]
async fn sixty_objects_at_once_all_answer() {
    let session = start("0.3.7").await;
    let paths: Vec<_> = (0..60)
        .map(|number| format!("/fetch/Main/object-{number}/id"))
        .collect();
    let replies = join_all(paths.iter().map(|path| session.get(path))).await;
    let boots: BTreeSet<_> = replies
        .into_iter()
        .map(|reply| reply.ok().json()["boot"].to_string())
        .collect();
    assert_eq!(boots.len(), 60, "each object has a process of its own");
    session.stop().await;
}

#[tokio::test]
async fn a_program_that_boots_for_ten_seconds_is_waited_for() {
    let world = world();
    let project = project(&world, "0.3.7");
    project.replace(
        "src/index.ts",
        r#"OVERRIDDEN: "class","#,
        r#"BOOT_MS: "10000","#,
    );
    let session = world.dev(&project).start().await;
    let began = Instant::now();
    let reply = session.get("/fetch/Main/slow/id").await;
    let took = began.elapsed();
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert!(took > Duration::from_secs(10), "{took:?}");
    assert!(
        took < Duration::from_secs(14),
        "it answers soon after it listens: {took:?}"
    );
    session.stop().await;
}
