//! Requests that come and go while an instance sleeps, stops and starts.

use std::time::Duration;

use http::Method;
use serde_json::json;

use berth_test::PATIENCE;
use http_body_util::BodyExt as _;

use crate::class_api::{call, start};

/// `sleepAfter` passes although the client went away in the middle of the answer, and the program
/// learns of it.
#[tokio::test]
async fn a_client_that_aborts_does_not_hold_an_instance_awake() {
    let session = start("0.3.7").await;
    session.get("/fetch/Short/s/id").await.ok();
    let mark = session.events().mark();
    let client = session.client();
    let request = client.request(Method::GET, "/fetch/Short/s/ticks", "");
    let mut body = client.exchange(request).await.into_body();
    assert!(body.frame().await.is_some(), "the first piece arrives");
    drop(body);
    session.log("ticks have ended").await;
    session
        .events()
        .wait_after(mark, "the instance to stop", PATIENCE, |event| {
            event.is_log("hook onStop ")
        })
        .await;
    session.stop().await;
}

/// The process has ended and the object has not been told yet: the requests that come now are
/// answered by one new process.
#[tokio::test]
async fn requests_at_the_moment_of_a_stop_are_served_by_one_new_start() {
    let session = start("0.3.7").await;
    let first = session.get("/fetch/Main/m/id").await.ok().json();
    let mark = session.events().mark();
    call(&session, "Main/m/stop", json!([])).await;
    session
        .events()
        .wait_after(mark, "the process's end", PATIENCE, |event| {
            event.is_container("exited", "Main")
        })
        .await;
    let replies = (0..10).map(|_| session.get("/fetch/Main/m/id"));
    for reply in futures_util::future::join_all(replies).await {
        let second = reply.ok().json();
        assert_ne!(first["boot"], second["boot"]);
    }
    let boots = session.events().count(|event| event.is_log("boot "));
    assert_eq!(boots, 2);
    session.stop().await;
}

/// A WebSocket counts as activity for as long as it is open, silent or not.
#[tokio::test]
async fn an_open_websocket_holds_an_instance_awake() {
    let session = start("0.3.7").await;
    let mut socket = session.websocket("/fetch/Short/s/").await;
    socket.send("one").await;
    assert_eq!(socket.text().await, "8080: one");
    let mark = session.events().mark();
    // Twice `sleepAfter` and more: this is about time passing.
    tokio::time::sleep(Duration::from_secs(5)).await;
    socket.send("two").await;
    assert_eq!(socket.text().await, "8080: two");
    assert_eq!(
        session.events().count(|event| event.is_log("hook onStop ")),
        0
    );
    socket.close(1000).await;
    session
        .events()
        .wait_after(mark, "the instance to stop", PATIENCE, |event| {
            event.is_log("hook onStop ")
        })
        .await;
    session.stop().await;
}
