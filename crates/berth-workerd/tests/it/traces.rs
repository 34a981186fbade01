//! What the Worker does is told while somebody wants to know.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use berth_workerd::{Listen, TraceOptions, Traces, Workerd};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use crate::world::World;

const WORKER: &str = r#"import { DurableObject } from "cloudflare:workers";
export class Room extends DurableObject {
  hello() { console.warn("in the room"); return "hello"; }
}
export default {
  async fetch(request: Request, env: any): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname === "/throw") throw new TypeError("boom");
    if (pathname === "/room") return new Response(await env.ROOM.getByName("a").hello());
    console.log("asked for", pathname, { big: 5n });
    return new Response("ok");
  },
};
"#;

/// Takes traces, one by one, with the path at which they came.
fn sink(path: &Path) -> mpsc::UnboundedReceiver<(String, Value)> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let sender = sender.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let sender = sender.clone();
                async move {
                    let path = request.uri().path().to_owned();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let events: Vec<Value> = serde_json::from_slice(&body).unwrap();
                    for event in events {
                        sender.send((path.clone(), event)).unwrap();
                    }
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
                }
            });
            let serving = hyper::server::conn::http1::Builder::new();
            tokio::spawn(serving.serve_connection(TokioIo::new(stream), service));
        }
    });
    receiver
}

async fn next(events: &mut mpsc::UnboundedReceiver<(String, Value)>) -> Value {
    let next = tokio::time::timeout(Duration::from_secs(20), events.recv()).await;
    let (path, event) = next.expect("a trace comes").expect("the sink listens");
    assert_eq!(path, "/app");
    event
}

fn world() -> World {
    let mut world = World::new(&[("src/index.ts", WORKER)]);
    world
        .project
        .durable_objects
        .push(crate::world::object("ROOM", "Room"));
    world
        .project
        .classes
        .push(berth_config::DurableObjectClass {
            class_name: "Room".to_owned(),
            sqlite: true,
            key: None,
        });
    world.trace = Some(TraceOptions {
        sink: world.root().join("sink"),
        path: "/app".to_owned(),
    });
    world
}

#[tokio::test]
async fn traces_come_while_they_are_wanted() {
    let world = world();
    let mut events = sink(&world.root().join("sink"));
    let running = world.start().await;
    assert_eq!(running.text("/unheard").await, "ok");

    let switch = running.workerd.trace_switch().unwrap();
    switch.set(Traces::Told).await.unwrap();
    assert_eq!(running.text("/heard?a=b").await, "ok");
    let heard = next(&mut events).await;
    let request = &heard["event"]["request"];
    assert_eq!(request["url"], "http://localhost:8787/heard?a=b", "{heard}");
    assert_eq!(heard["event"]["response"]["status"], 200);
    assert_eq!(heard["outcome"], "ok");
    assert_eq!(heard["logs"][0]["message"][1], "/heard");

    assert_eq!(running.get("/throw").await.0, 500);
    let thrown = next(&mut events).await;
    assert_eq!(thrown["outcome"], "exception");
    assert_eq!(thrown["exceptions"][0]["message"], "boom");

    assert_eq!(running.text("/room").await, "hello");
    let mut both = [next(&mut events).await, next(&mut events).await];
    both.sort_by_key(|event| event["entrypoint"].is_null());
    assert_eq!(both[0]["entrypoint"], "Room");
    assert_eq!(both[0]["event"]["rpcMethod"], "hello");
    assert_eq!(both[0]["logs"][0]["level"], "warn");
    assert_eq!(both[0]["durableObjectId"].as_str().unwrap().len(), 64);

    switch.set(Traces::Off).await.unwrap();
    assert_eq!(running.text("/unheard").await, "ok");
    switch.set(Traces::Told).await.unwrap();
    assert_eq!(running.text("/again").await, "ok");
    let again = next(&mut events).await;
    assert_eq!(
        again["event"]["request"]["url"],
        "http://localhost:8787/again"
    );
    running.workerd.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn nobody_at_the_sink_harms_nobody() {
    let world = world();
    let running = world.start().await;
    let switch = running.workerd.trace_switch().unwrap();
    switch.set(Traces::Told).await.unwrap();
    for _ in 0..3 {
        assert_eq!(running.text("/").await, "ok");
    }
    let mut events = sink(&world.root().join("sink"));
    assert_eq!(running.text("/now").await, "ok");
    // One of those before may have been waiting while another was tried in vain.
    while next(&mut events).await["event"]["request"]["url"] != "http://localhost:8787/now" {}
    running.workerd.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn two_with_the_same_configuration_are_told_apart() {
    let world = world();
    let mut events = sink(&world.root().join("sink"));
    let mut options = world.prepare(&world.socket()).await;
    options.listen = Listen::Unix(world.root().join("a-socket-beside-the-other-one"));
    let (sender, _events) = mpsc::unbounded_channel();
    let workerd = Workerd::start(options, sender).await.unwrap();
    workerd
        .trace_switch()
        .unwrap()
        .set(Traces::Told)
        .await
        .unwrap();
    let upstream = workerd.upstream().borrow().clone().unwrap();
    crate::world::send(&upstream, "GET", "/beside", "").await;
    let heard = next(&mut events).await;
    assert_eq!(heard["logs"][0]["message"][1], "/beside");
    workerd.stop(Duration::ZERO).await;
}
