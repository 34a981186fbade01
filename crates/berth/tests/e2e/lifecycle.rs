//! Requests that come and go while an instance sleeps, stops and starts.
//!
//! What workerd (1.20261117.1) and the class (0.3.7) do not hear, by requests sent to workerd's own
//! socket: that a client has left (a) in the middle of a chunked upload that the program has not
//! answered, and (b) while a response streams and the program is silent. The object's `fetch` of the
//! container goes on, the class counts it as in flight and `sleepAfter` never passes; the program is
//! not told. An upload with a length breaks off in the program, and a stream that says something ends.
//! With the compatibility flags `enable_request_signal` *and* `request_signal_passthrough` the instance
//! stops in both cases; (a) is then still not told before.

use std::cell::Cell;
use std::time::Duration;

use http::Method;
use serde_json::json;

use berth_test::{DevSession, PATIENCE};
use http_body_util::BodyExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::class_api::{call, project, start};
use crate::world;

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
    stops(&session, mark, 1).await;
    session.stop().await;
}

/// As above, in the middle of an upload of known length: nothing has been answered yet.
#[tokio::test]
async fn a_client_that_aborts_its_upload_does_not_hold_an_instance_awake() {
    let session = start("0.3.7").await;
    session.get("/fetch/Short/s/id").await.ok();
    let mark = session.events().mark();
    let head = "POST /fetch/Short/s/upload HTTP/1.1\r\nContent-Length: 70";
    let client = begin(&session, head, "a piece").await;
    session.log("an upload has begun").await;
    drop(client);
    session.log("the upload broke off").await;
    stops(&session, mark, 1).await;
    session.stop().await;
}

/// The two that workerd keeps to itself unless a Worker asks for the signal (see above).
#[tokio::test]
async fn with_request_signals_nothing_that_a_client_left_holds_an_instance_awake() {
    let world = world();
    let project = project(&world, "0.3.7");
    project.replace(
        "wrangler.jsonc",
        "\"compatibility_date\"",
        "\"compatibility_flags\": [\"enable_request_signal\", \"request_signal_passthrough\"],\n  \
         \"compatibility_date\"",
    );
    let session = world.dev(&project).start().await;
    for instance in ["a", "b"] {
        session
            .get(&format!("/fetch/Short/{instance}/id"))
            .await
            .ok();
    }
    let mark = session.events().mark();
    let head = "POST /fetch/Short/a/upload HTTP/1.1\r\nTransfer-Encoding: chunked";
    let upload = begin(&session, head, "7\r\na piece\r\n").await;
    session.log("an upload has begun").await;
    let silence = begin(&session, "GET /fetch/Short/b/silence HTTP/1.1", "").await;
    session.log("silence has begun").await;
    drop((upload, silence));
    session.log("silence has ended").await;
    stops(&session, mark, 2).await;
    session.stop().await;
}

/// Sends the beginning of a request on a connection of its own.
async fn begin(session: &DevSession, head: &str, body: &str) -> TcpStream {
    let address = session.client().base().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{head}\r\nHost: {address}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Waits until the processes of so many instances have ended. Not until `onStop`: the class calls it
/// later, from its alarm, and on a busy machine it was once not called at all.
async fn stops(session: &DevSession, mark: usize, count: usize) {
    let left = Cell::new(count);
    let wanted = format!("{count} instances to stop");
    session
        .events()
        .wait_after(mark, &wanted, PATIENCE, move |event| {
            left.set(left.get() - usize::from(event.is_container("exited", "Short")));
            left.get() == 0
        })
        .await;
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
    stops(&session, mark, 1).await;
    session.stop().await;
}
