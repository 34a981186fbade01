//! What workerd asks of the container engine, seen by an engine that has nothing.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;

use berth_config::DurableObjectClass;
use berth_workerd::{ClassImages, ContainerOptions, WorkerdEvent};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use crate::world::World;

const SOURCE: &str = r#"
import { Container, getContainer } from "@cloudflare/containers";
export class App extends Container { defaultPort = 8080; sleepAfter = "5m"; }
export default { async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/fetch") return getContainer(env.APP, "a").fetch(request);
    return new Response("worker");
} };
"#;

/// Answers every request as an engine without any container or image; reports `METHOD path`.
async fn engine(socket: &Path) -> mpsc::UnboundedReceiver<String> {
    let (sender, requests) = mpsc::unbounded_channel();
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let sender = sender.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let sender = sender.clone();
                async move {
                    let line = format!("{} {}", request.method(), request.uri());
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let _ = sender.send(format!("{line} {}", String::from_utf8_lossy(&body)));
                    let (status, answer) = if line == "GET /networks/bridge" {
                        (200, r#"{"IPAM":{"Config":[{"Gateway":"127.0.0.1"}]}}"#)
                    } else {
                        (404, r#"{"message":"No such thing"}"#)
                    };
                    let answer = Full::new(Bytes::from_static(answer.as_bytes()));
                    let response = Response::builder().status(status).body(answer);
                    Ok::<_, Infallible>(response.unwrap())
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    requests
}

fn project() -> World {
    let mut world = World::new(&[("src/index.ts", SOURCE)]);
    world.project.containers = vec![crate::world::container("App")];
    world.project.durable_objects = vec![crate::world::object("APP", "App")];
    world.project.classes = vec![DurableObjectClass {
        class_name: "App".to_owned(),
        sqlite: true,
        key: None,
    }];
    let images = ClassImages {
        default: Some("berth/app:1".to_owned()),
        ..Default::default()
    };
    world.containers = Some(ContainerOptions {
        fuse: false,
        docker_socket: world.root().join("docker.sock"),
        egress_image: "berth/egress:1".to_owned(),
        session_id: "s-1".to_owned(),
        images: BTreeMap::from([("App".to_owned(), images)]),
    });
    world
}

#[tokio::test]
async fn the_engine_is_asked_for_the_sessions_container_and_the_failure_is_told() {
    let world = project();
    let mut requests = engine(&world.root().join("docker.sock")).await;
    let mut running = world.start().await;
    let (status, text) = running.get("/fetch").await;
    assert_eq!(
        (status, text.as_str()),
        (500, "Failed to start container: Container failed to start")
    );
    let mut seen = Vec::new();
    while let Ok(request) = requests.try_recv() {
        seen.push(request);
    }
    let name = "/containers/workerd-s-1-my-app-App-";
    assert!(
        seen.iter()
            .any(|request| request.starts_with(&format!("GET {name}"))),
        "{seen:?}"
    );
    assert!(
        seen.iter()
            .any(|request| request.contains("berth/egress:1")),
        "{seen:?}"
    );
    running
        .workerd
        .stop(std::time::Duration::from_secs(10))
        .await;
    let mut logs = Vec::new();
    while let Some(event) = running.events.recv().await {
        if let WorkerdEvent::Log { text, .. } = event {
            logs.push(text);
        }
    }
    // Once, from the class itself; neither its alarms nor workerd add anything.
    assert_eq!(
        logs,
        ["Container error: [Error: Container failed to start]"]
    );
}
