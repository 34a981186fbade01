//! Limits that hold, on the unmodified class: instances, starts per second.

use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;

use crate::class_api::{call, project};
use crate::world;

#[tokio::test]
async fn one_instance_too_many_is_a_503_and_the_next_one_fits_when_another_ends() {
    let world = world();
    let project = project(&world, "0.3.7");
    project.replace(
        "wrangler.jsonc",
        r#""max_instances": 60"#,
        r#""max_instances": 2"#,
    );
    let session = world.dev(&project).start().await;
    for instance in ["a", "b"] {
        session.get(&format!("/fetch/Main/{instance}/id")).await.ok();
    }
    let reply = session.get("/fetch/Main/c/id").await;
    println!("{} {}", reply.status, reply.text());
    println!("{}", session.events().transcript());
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    session.stop().await;
}
