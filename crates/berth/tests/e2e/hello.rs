//! `examples/hello`: one container per id, load balancing, a singleton, a crash.

use std::collections::BTreeSet;

use berth_test::{Client, Project};
use http::StatusCode;

use crate::world;

/// The instance id in an answer of the example.
fn instance(text: &str) -> &str {
    let (_, rest) = text
        .split_once("my instance ID is: ")
        .expect("the answer names its instance");
    rest.split_whitespace().next().unwrap_or_default()
}

/// What its pages say.
pub(crate) async fn drive(session: &Client) {
    assert!(session.text("/").await.contains("/container/<id>"));

    let alice = session.text("/container/alice").await;
    assert!(
        alice.contains("I was passed in via the container class!"),
        "{alice}"
    );
    assert_eq!(instance(&alice).len(), 64, "{alice}");
    assert!(
        instance(&alice)
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit()),
        "{alice}"
    );
    let again = session.text("/container/alice").await;
    assert_eq!(instance(&again), instance(&alice));
    assert!(
        again.contains("answered 2 request"),
        "the same process answers: {again}"
    );
    let bob = session.text("/container/bob").await;
    assert_ne!(instance(&bob), instance(&alice));

    let mut answered = BTreeSet::new();
    for _ in 0..12 {
        answered.insert(instance(&session.text("/lb").await).to_owned());
    }
    assert!((2..=3).contains(&answered.len()), "{answered:?}");

    let one = session.text("/singleton").await;
    assert_eq!(instance(&session.text("/singleton").await), instance(&one));
    assert_eq!(session.get("/nowhere").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn each_route_reaches_its_container() {
    let session = world().dev(&Project::example("hello")).start().await;
    drive(session.client()).await;
    let line = session.log("Listening on port 8080").await;
    assert!(line.text("source").starts_with("MyContainer"), "{line:?}");
    assert_eq!(
        session.log("Container started").await.text("source"),
        "worker"
    );
    session.stop().await;
}

#[tokio::test]
async fn a_crash_costs_one_request_and_nothing_else() {
    let session = world().dev(&Project::example("hello")).start().await;
    session.text("/container/neighbour").await;
    for round in 0..2 {
        let mark = session.events().mark();
        let reply = session.get("/error").await;
        assert_eq!(
            reply.status,
            StatusCode::INTERNAL_SERVER_ERROR,
            "{}",
            reply.text()
        );
        let exited = session
            .events()
            .wait_after(mark, "an exit", berth_test::PATIENCE, |event| {
                event.is_container("exited", "MyContainer")
            })
            .await;
        assert_eq!(exited.0["exit_code"], 1, "round {round}: {exited:?}");
    }
    let neighbour = session.text("/container/neighbour").await;
    assert!(neighbour.contains("answered 2 request"), "{neighbour}");
    session.stop().await;
}
