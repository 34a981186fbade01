//! Bodies and WebSockets through Worker, object and container, in both directions.

use berth_test::{DevSession, PATIENCE, channel_body};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::class_api::start;

/// The next piece of a body, within the usual patience.
async fn chunk(body: &mut Incoming) -> Option<Bytes> {
    let next = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.expect("the body does not break off");
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                return Some(data);
            }
        }
        None
    };
    tokio::time::timeout(PATIENCE, next)
        .await
        .expect("the body goes on")
}

#[tokio::test]
async fn bodies_stream_in_both_directions() {
    let session = start("0.3.7").await;
    session.get("/fetch/Main/s/id").await.ok();
    response_arrives_in_pieces(&session).await;
    request_arrives_in_pieces(&session).await;
    echo_of_a_large_body(&session).await;
    session.stop().await;
}

/// The second half is only sent after the first one was received here.
async fn response_arrives_in_pieces(session: &DevSession) {
    let client = session.client();
    let request = client.request(Method::GET, "/fetch/Main/s/stream?gate=one", "");
    let mut body = client.exchange(request).await.into_body();
    assert_eq!(chunk(&mut body).await.unwrap(), "first");
    session.get("/fetch/Main/s/release?gate=one").await.ok();
    assert_eq!(chunk(&mut body).await.unwrap(), "last");
    assert_eq!(chunk(&mut body).await, None);
}

/// The second half is only sent after the container has said that it has the first one.
async fn request_arrives_in_pieces(session: &DevSession) {
    let client = session.client();
    let (sender, body) = channel_body();
    let request = client.request_with(Method::POST, "/fetch/Main/s/collect", body);
    let send = async {
        sender.send(Bytes::from_static(b"first")).await.unwrap();
        session.log("first chunk has arrived").await;
        sender.send(Bytes::from_static(b"last")).await.unwrap();
        drop(sender);
    };
    let (reply, ()) = tokio::join!(client.send(request), send);
    assert_eq!(reply.ok().json()["size"], "firstlast".len());
}

/// Each piece comes back before the next one is sent; then a large body at once.
async fn echo_of_a_large_body(session: &DevSession) {
    let client = session.client();
    let (sender, body) = channel_body();
    let request = client.request_with(Method::POST, "/fetch/Main/s/echo", body);
    sender.send(Bytes::from_static(b"one")).await.unwrap();
    let mut echo = client.exchange(request).await.into_body();
    assert_eq!(chunk(&mut echo).await.unwrap(), "one");
    sender.send(Bytes::from_static(b"two")).await.unwrap();
    assert_eq!(chunk(&mut echo).await.unwrap(), "two");
    drop(sender);
    assert_eq!(chunk(&mut echo).await, None);

    let large: Bytes = (0..8 * 1024 * 1024_u32)
        .map(|n| (n.wrapping_mul(31) >> 3) as u8)
        .collect();
    let reply = client.post("/fetch/Main/s/echo", large.clone()).await.ok();
    assert!(
        reply.body == large,
        "8 MiB come back as they were: {}",
        reply.body.len()
    );
}

#[tokio::test]
async fn websockets_work_in_both_directions_0_3() {
    websockets("0.3.7").await;
}

#[tokio::test]
async fn websockets_work_in_both_directions_0_0() {
    websockets("0.0.31").await;
}

async fn websockets(version: &str) {
    let session = start(version).await;
    // The first thing this container ever gets is an upgrade.
    let mut socket = session.websocket("/fetch/Main/ws/").await;
    socket.send("hello").await;
    assert_eq!(socket.text().await, "8080: hello");
    socket.send("push").await;
    for number in 0..3 {
        assert_eq!(socket.text().await, format!("push {number}"));
    }
    assert_eq!(socket.text().await, "8080: push");
    let long = "x".repeat(500_000);
    socket.send(long.clone()).await;
    assert_eq!(socket.text().await, format!("8080: {long}"));
    // The other side closes with a code of its own.
    socket.send("close").await;
    assert_eq!(socket.closed().await, Some(4001));

    // Two at once on another port, and this side closes.
    let mut one = session.websocket("/switch/Ports/ws/8081/").await;
    let mut two = session.websocket("/switch/Ports/ws/8080/").await;
    one.send("1").await;
    two.send("2").await;
    assert_eq!(one.text().await, "8081: 1");
    assert_eq!(two.text().await, "8080: 2");
    let mark = session.events().mark();
    one.close(1000).await;
    session
        .events()
        .wait_after(mark, "the container's close", PATIENCE, |event| {
            event.is_log("websocket closed")
        })
        .await;
    two.send("still here").await;
    assert_eq!(two.text().await, "8080: still here");
    drop(two);
    session.stop().await;
}
