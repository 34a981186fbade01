//! Starts, exits, deletions: the sequences of workerd's own tests, in its order.

use berth_engine::Event;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::world::{IMAGE, OBJECT, World, app_body, connect, echo, ingress, name, proxy};

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_and_a_warm_one_after_destroy() {
    let world = World::new().await;
    let docker = &world.docker;
    let volumes = docker
        .get("/volumes?filters=%7B%22name%22%3A%5B%22workerd-snap-%22%5D%7D")
        .await;
    assert_eq!(volumes.status, 200);
    assert_eq!(docker.inspect(&name()).await.status, 404);
    let bridge = docker.get("/networks/bridge").await.json();
    assert_eq!(bridge["IPAM"]["Config"][0]["Gateway"], "127.0.0.1");
    let subnets = ["0", "1"]
        .map(|i| bridge["IPAM"]["Config"][i.parse::<usize>().unwrap()]["Subnet"].to_string());
    assert!(!subnets[0].contains(':') && subnets[1].contains(':'));
    assert_eq!(docker.remove(&proxy()).await.status, 404);

    let port = world.sidecar().await;
    let settings = r#"{"port":9,"dns":{"allowHostnames":[]},"internet":{"enabled":true}}"#;
    assert_eq!(ingress(port, "PUT", "/egress", settings).await.status, 204);
    let ca = ingress(port, "GET", "/ca", "").await;
    assert!(ca.body.starts_with(b"-----BEGIN CERTIFICATE-----"));

    for _ in 0..2 {
        world.run(&["/guest", "serve", "8080", "50"]).await;
        let waiting = docker.wait(&name(), "").await;
        // Held until the port listens: the first try succeeds.
        let mut tunnel = connect(port, 8080).await.unwrap();
        echo(&mut tunnel, "hello").await;
        let inspected = docker.inspect(&name()).await.json();
        assert_eq!(inspected["State"]["Status"], "running");
        assert!(inspected["State"]["Pid"].as_u64().unwrap() > 0);
        assert_eq!(inspected["Config"]["Image"], IMAGE);
        assert_eq!(docker.remove(&name()).await.status, 204);
        assert_eq!(waiting.code().await, 137);
        // What was connected ends with the container.
        assert!(matches!(tunnel.read(&mut [0; 1]).await, Ok(0) | Err(_)));
        let removed = docker.wait(&name(), "?condition=removed").await;
        assert_eq!(removed.status(), 404);
        assert_eq!(docker.inspect(&name()).await.status, 404);
        assert_eq!(docker.ingress_port(&proxy()).await, port);
    }
    assert_eq!(docker.remove(&proxy()).await.status, 204);
    assert_eq!(docker.inspect(&proxy()).await.status, 404);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_before_and_after_the_exit() {
    let world = World::new().await;
    let docker = &world.docker;
    world.sidecar().await;
    for code in [0, 7] {
        let mut events = world.engine.events();
        // The name is free although the container before has ended and was never deleted.
        world.run(&["/guest", "exit", &code.to_string()]).await;
        assert_eq!(docker.wait(&name(), "").await.code().await, code);
        world
            .until(&mut events, |event| matches!(event, Event::Exited(_)))
            .await;
        assert_eq!(docker.wait(&name(), "").await.code().await, code);
        let state = docker.inspect(&name()).await.json()["State"].clone();
        assert_eq!(state["Status"], "exited");
        assert_eq!(state["ExitCode"], code);
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_unique_except_after_workerds_containers_have_ended() {
    let world = World::new().await;
    let docker = &world.docker;
    world.sidecar().await;
    world.run(&["/guest"]).await;
    let again = world.create(&[]).await;
    assert_eq!(again.status, 409);
    assert!(again.message().contains("already in use"));

    let path = "/containers/create?name=somebodys";
    let body = app_body(&["/guest", "exit", "0"]);
    assert_eq!(docker.send("POST", path, &body).await.status, 201);
    docker.post("/containers/somebodys/start").await;
    assert_eq!(docker.wait("somebodys", "").await.code().await, 0);
    assert_eq!(docker.send("POST", path, &body).await.status, 409);

    let sidecar = json!({"Image": "x", "ExposedPorts": {"39001/tcp": {}}});
    let path = format!("/containers/create?name={}", proxy());
    assert_eq!(docker.send("POST", &path, &sidecar).await.status, 409);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_of_start() {
    let world = World::new().await;
    let docker = &world.docker;
    let start =
        |name: String| async move { docker.post(&format!("/containers/{name}/start")).await };
    assert_eq!(start(name()).await.status, 404);
    let orphan = world.create(&[]).await;
    assert_eq!(orphan.status, 404, "its sidecar does not exist");
    world.sidecar().await;
    assert_eq!(start(proxy()).await.status, 304);

    world.run(&["/guest"]).await;
    let again = start(name()).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    docker.remove(&name()).await;

    assert_eq!(world.create(&["/nothing"]).await.status, 201);
    // workerd drops the text of a failed start and hands on the one of the wait after it.
    assert_eq!(start(name()).await.status, 204);
    let path = format!("/containers/{}/wait", name());
    let missing = docker.post(&path).await;
    assert_eq!(missing.status, 400, "{missing:?}");
    assert!(missing.message().contains("/nothing"), "{missing:?}");
    assert!(missing.message().contains("`Box/"), "a name for people");
    assert_eq!(docker.remove(&name()).await.status, 204);

    let mut body = app_body(&[]);
    body["Image"] = json!("nowhere:latest");
    let create = format!("/containers/create?name={}", name());
    assert_eq!(docker.send("POST", &create, &body).await.status, 201);
    assert_eq!(start(name()).await.status, 204);
    let missing = docker.post(&path).await;
    assert_eq!(missing.status, 404, "{missing:?}");
    assert!(missing.message().contains("nowhere:latest"), "{missing:?}");
    // What is not workerd's is told at once.
    let create = "/containers/create?name=somebodys";
    assert_eq!(docker.send("POST", create, &body).await.status, 404);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_overtakes_a_start() {
    let world = World::new().await;
    let docker = &world.docker;
    world.sidecar().await;
    for _ in 0..5 {
        assert_eq!(world.create(&["/guest"]).await.status, 201);
        let path = format!("/containers/{}/start", name());
        let name = name();
        let (start, removal) = tokio::join!(docker.post(&path), docker.remove(&name));
        assert!([204, 404, 409].contains(&start.status), "{start:?}");
        assert_eq!(removal.status, 204);
        assert_eq!(docker.inspect(&name).await.status, 404);
    }
    assert_eq!(docker.remove(&proxy()).await.status, 204);
    assert!(world.engine.list().is_empty());
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_goes_on_when_its_client_leaves() {
    let world = World::new().await;
    world.sidecar().await;
    assert_eq!(world.create(&["/guest"]).await.status, 201);
    let mut events = world.engine.events();
    let mut stream = UnixStream::connect(&world.docker.socket).await.unwrap();
    let request = format!(
        "POST /containers/{}/start HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
        name()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    drop(stream);
    world
        .until(&mut events, |event| matches!(event, Event::Started(_)))
        .await;
    assert_eq!(
        world.docker.inspect(&name()).await.json()["State"]["Status"],
        "running"
    );
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_and_stop() {
    let world = World::new().await;
    let docker = &world.docker;
    world.sidecar().await;
    let path = |operation: &str| format!("/containers/{}/{operation}", name());
    assert_eq!(docker.post(&path("kill?signal=SIGTERM")).await.status, 404);

    world.run_until_ready().await;
    assert_eq!(docker.post(&path("kill?signal=SIGNOPE")).await.status, 400);
    assert_eq!(docker.post(&path("kill?signal=SIGTERM")).await.status, 204);
    assert_eq!(docker.wait(&name(), "").await.code().await, 0);
    assert_eq!(docker.post(&path("kill?signal=15")).await.status, 409);

    world.run_until_ready().await;
    assert_eq!(docker.post(&path("kill?signal=9")).await.status, 204);
    assert_eq!(docker.wait(&name(), "").await.code().await, 137);

    world.run_until_ready().await;
    assert_eq!(docker.post(&path("stop?t=5")).await.status, 204);
    assert_eq!(docker.wait(&name(), "").await.code().await, 0);
    assert_eq!(docker.post(&path("stop?t=5")).await.status, 304);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_of_wait() {
    let world = World::new().await;
    let docker = &world.docker;
    world.sidecar().await;
    assert_eq!(docker.wait(&name(), "").await.status(), 404);
    world.create(&["/guest"]).await;
    // Never started: Docker calls that "not running", with 0.
    assert_eq!(docker.wait(&name(), "").await.code().await, 0);
    assert_eq!(docker.wait(&name(), "?condition=x").await.status(), 400);
    let next = docker.wait(&name(), "?condition=next-exit").await;
    docker.post(&format!("/containers/{}/start", name())).await;
    let running = docker.wait(&name(), "?condition=not-running").await;
    let removed = docker.wait(&name(), "?condition=removed").await;
    docker.post(&format!("/containers/{}/kill", name())).await;
    assert_eq!(next.code().await, 137);
    assert_eq!(running.code().await, 137);
    docker.remove(&name()).await;
    assert_eq!(removed.code().await, 137);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_nobody_listens_on_is_refused_with_both_sentences() {
    let world = World::new().await;
    let port = world.sidecar().await;
    let before = connect(port, 8080).await.unwrap_err();
    assert_eq!(before.status, 503, "no container has joined");
    world.run(&["/guest"]).await;
    let refused = connect(port, 33).await.unwrap_err();
    assert_eq!(refused.status, 503);
    let text = String::from_utf8(refused.body).unwrap();
    assert!(text.contains("the container is not listening in the TCP address 127.0.0.1:33"));
    assert!(text.contains("Container is not listening to port 33"));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_holds_real_values() {
    let world = World::new().await;
    world.sidecar().await;
    world.run(&["/guest", "env"]).await;
    assert_eq!(world.docker.wait(&name(), "").await.code().await, 0);
    let path = format!("/containers/{}/logs?stdout=1", name());
    let logs = world.docker.get(&path).await.body;
    let text = String::from_utf8_lossy(&logs);
    for entry in [
        "A=B",
        "CLOUDFLARE_REGION=mine",
        "CLOUDFLARE_APPLICATION_ID=the-application",
        "CLOUDFLARE_DEPLOYMENT_ID=the-deployment",
        "CLOUDFLARE_LOCATION=here",
        "CLOUDFLARE_COUNTRY_A2=DE",
        "CLOUDFLARE_NODE_ID=the-node",
        "CLOUDFLARE_PLACEMENT_ID=",
        &format!("CLOUDFLARE_DURABLE_OBJECT_ID={OBJECT}"),
    ] {
        assert!(text.contains(entry), "{entry} is not in {text}");
    }
    assert!(!text.contains("xxxx") && !text.contains("REGN"), "{text}");
    world.close().await;
}
