//! Connections: versions, keep-alive, silence, garbage, the socket's mode, shutdown.

use std::os::unix::fs::PermissionsExt as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::world::{World, name, proxy};

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_carries_many_requests_with_and_without_a_version() {
    let world = World::new().await;
    let mut stream = UnixStream::connect(&world.docker.socket).await.unwrap();
    for path in ["/_ping", "/v1.44/_ping"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nOK") {
            answer.push(stream.read_u8().await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap().to_lowercase();
        assert!(answer.starts_with("http/1.1 200 "), "{answer}");
        assert!(answer.contains("api-version: 1.44"), "{answer}");
        assert!(answer.contains("ostype: linux"), "{answer}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_garbage_harm_nobody() {
    let world = World::new().await;
    for _ in 0..20 {
        drop(UnixStream::connect(&world.docker.socket).await.unwrap());
    }
    assert_eq!(world.docker.raw("nonsense\r\n\r\n").await.status, 400);
    let mut partial = UnixStream::connect(&world.docker.socket).await.unwrap();
    partial
        .write_all(b"POST /containers/create HTTP/1.1\r\nContent-Length: 99\r\n\r\n{\"Im")
        .await
        .unwrap();
    drop(partial);
    let body = serde_json::json!(["not", "an", "object"]);
    let reply = world.docker.send("POST", "/containers/create", &body).await;
    assert_eq!(reply.status, 400);
    assert_eq!(
        world.docker.get("/nothing").await.message(),
        "page not found"
    );
    assert_eq!(world.docker.get("/_ping").await.status, 200);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_private_and_exclusive() {
    let world = World::new().await;
    let socket = &world.docker.socket;
    let mode = fs_err::metadata(socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = berth_docker::DockerApi::serve(
        socket,
        world.engine.clone(),
        berth_docker::Applications {
            applications: Vec::new(),
            identity: berth_docker::Identity {
                deployment_id: String::new(),
                location: String::new(),
                region: String::new(),
                country: String::new(),
                node_id: String::new(),
            },
            starts_per_second: None,
        },
    );
    assert_eq!(
        second.await.unwrap_err().kind(),
        std::io::ErrorKind::AddrInUse
    );
    assert_eq!(world.docker.get("/_ping").await.status, 200);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_yet_says_so() {
    let world = World::new().await;
    let body = serde_json::json!({});
    let path = "/containers/x/rename";
    let reply = world.docker.send("POST", path, &body).await;
    assert_eq!(reply.status, 501);
    assert!(reply.message().contains("is not supported yet"));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_closes_everything() {
    let world = World::new().await;
    let port = world.sidecar().await;
    world.run(&["/guest", "serve", "8080"]).await;
    let mut tunnel = crate::world::connect(port, 8080).await.unwrap();
    let waiting = world.docker.wait(&name(), "").await;
    assert_eq!(waiting.status(), 200);
    world.api.shutdown().await;
    assert_eq!(tunnel.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    assert!(!world.docker.socket.exists());
    // The containers are the engine's.
    assert_eq!(world.engine.list().len(), 1);
    assert!(world.engine.inspect(&proxy()).is_none());
    world.close().await;
}
