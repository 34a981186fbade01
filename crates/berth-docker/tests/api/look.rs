//! What `berth ps`, `berth logs` and the docker command ask.

use berth_docker::client::{Client, LogOptions};
use berth_docker::frame::StreamKind;
use futures_util::TryStreamExt as _;

use crate::world::{IMAGE, OBJECT, World, app_body, name, proxy};

#[tokio::test(flavor = "multi_thread")]
async fn listings_and_filters() {
    let world = World::new().await;
    let docker = &world.docker;
    world.sidecar().await;
    world.run(&["/guest"]).await;
    docker
        .send(
            "POST",
            "/containers/create?name=labelled",
            &serde_json::json!({"Image": IMAGE, "Cmd": ["/guest"], "Labels": {"dev.workerd.session": "one"}}),
        )
        .await;
    let names = |filters: &str, all: u8| {
        let path = format!("/containers/json?all={all}&filters={filters}");
        async move {
            let list = docker.get(&path).await.json();
            let list = list.as_array().unwrap().clone();
            let mut names: Vec<String> = list
                .iter()
                .map(|entry| entry["Names"][0].as_str().unwrap()[1..].to_owned())
                .collect();
            names.sort();
            names
        }
    };
    assert_eq!(names("", 0).await, [name(), proxy()]);
    assert_eq!(names("", 1).await.len(), 3);
    let label = "%7B%22label%22%3A%5B%22dev.workerd.session%3Done%22%5D%7D";
    assert_eq!(names(label, 1).await, ["labelled"]);
    let ancestor = format!("%7B%22ancestor%22%3A%7B%22{IMAGE}%22%3Atrue%7D%7D");
    assert_eq!(names(&ancestor, 0).await, [name()]);

    let listed = Client::new(&docker.socket).list(false).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].name, name());
    assert_eq!(listed[0].display_name, format!("Box/{}", &OBJECT[..8]));
    assert!(listed[0].status.starts_with("Up "), "{}", listed[0].status);

    let inspected = docker.inspect(&name()).await.json();
    assert_eq!(inspected["HostConfig"]["Memory"], 64 << 20);
    let by_id = docker.inspect(&listed[0].id[..12]).await;
    assert_eq!(by_id.json()["Name"], format!("/{}", name()));
    world.close().await;
}

async fn collected(world: &World, options: LogOptions) -> (String, String) {
    let client = Client::new(&world.docker.socket);
    let mut frames = client.logs(&name(), options).await.unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(frame) = frames.try_next().await.unwrap() {
        match frame.stream {
            StreamKind::Stdout => out.extend_from_slice(&frame.payload),
            StreamKind::Stderr => err.extend_from_slice(&frame.payload),
        }
    }
    (
        String::from_utf8(out).unwrap(),
        String::from_utf8(err).unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_an_ended_container() {
    let world = World::new().await;
    world.sidecar().await;
    world.run(&["/guest", "lines", "3", "and-leave"]).await;
    world.docker.wait(&name(), "").await.code().await;
    let (out, err) = collected(&world, LogOptions::default()).await;
    assert_eq!(out, "out 1\nout 2\nout 3\n");
    assert_eq!(err, "err 1\nerr 2\nerr 3\n");
    let tail = LogOptions {
        tail: Some(2),
        ..LogOptions::default()
    };
    let (out, err) = collected(&world, tail).await;
    assert_eq!(out.lines().count() + err.lines().count(), 2, "{out}{err}");
    let dated = LogOptions {
        timestamps: true,
        ..LogOptions::default()
    };
    let (out, _) = collected(&world, dated).await;
    assert!(out.starts_with("20") && out.contains("Z out 1\n"), "{out}");
    let path = format!("/containers/{}/logs", name());
    assert_eq!(world.docker.get(&path).await.status, 400);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn followed_logs_end_with_the_container() {
    let world = World::new().await;
    world.sidecar().await;
    world.run(&["/guest", "lines", "2"]).await;
    let client = Client::new(&world.docker.socket);
    let options = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    let mut frames = client.logs(&name(), options).await.unwrap();
    for _ in 0..4 {
        assert!(frames.try_next().await.unwrap().is_some());
    }
    assert_eq!(world.docker.remove(&name()).await.status, 204);
    assert_eq!(frames.try_next().await.unwrap(), None);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_and_the_engine_itself() {
    let world = World::new().await;
    let docker = &world.docker;
    let images = docker.get("/images/json").await.json();
    assert!(images[0]["RepoTags"][0].as_str().unwrap().contains("guest"));
    let image = docker.get(&format!("/images/{IMAGE}/json")).await;
    assert_eq!(image.status, 200);
    let image = image.json();
    assert!(image["Id"].as_str().unwrap().starts_with("sha256:"));
    assert!(image["Size"].as_u64().unwrap() > 0);
    assert_eq!(docker.get("/images/no%2Fwhere/json").await.status, 404);
    assert_eq!(docker.get("/images/no/where/json").await.status, 404);
    let sidecar = "cloudflare/proxy-everything:3cb1195@sha256:0ef6716c";
    assert_eq!(
        docker.get(&format!("/images/{sidecar}/json")).await.status,
        200
    );
    // It needs no registry.
    let pull = format!("/images/create?fromImage={sidecar}");
    assert_eq!(docker.post(&pull).await.status, 200);

    let info = docker.get("/info").await.json();
    assert_eq!(info["OSType"], "linux");
    assert!(!info["SecurityOptions"].to_string().contains("rootless"));
    assert!(std::path::Path::new(info["DockerRootDir"].as_str().unwrap()).is_dir());
    assert_eq!(docker.get("/version").await.json()["Os"], "linux");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_get_and_lose_names() {
    let world = World::new().await;
    let docker = &world.docker;
    let id = docker.get(&format!("/images/{IMAGE}/json")).await.json()["Id"].clone();
    let tag = |name: &str, query: &str| format!("/images/{name}/tag?{query}");
    let second = "repo=registry.test%2Fa%2Fb&tag=two";
    assert_eq!(docker.post(&tag(IMAGE, second)).await.status, 201);
    assert_eq!(docker.post(&tag("no/where", second)).await.status, 404);
    assert_eq!(
        docker.post(&tag(IMAGE, "repo=UPPER%20case")).await.status,
        400
    );
    assert_eq!(docker.post(&tag(IMAGE, "tag=x")).await.status, 400);

    let images = docker.get("/images/json").await.json();
    let [image] = images.as_array().unwrap().as_slice() else {
        panic!("one image with two names: {images}");
    };
    assert_eq!(image["RepoTags"].as_array().unwrap().len(), 2);
    let filtered =
        "/images/json?filters=%7B%22reference%22%3A%7B%22registry.test%2Fa%2Fb%22%3Atrue%7D%7D";
    let images = docker.get(filtered).await.json();
    assert_eq!(
        images[0]["RepoTags"],
        serde_json::json!(["registry.test/a/b:two"])
    );
    assert_eq!(
        docker
            .get("/images/registry.test%2Fa%2Fb:two/json")
            .await
            .json()["Id"],
        id
    );

    let removed = docker.delete("/images/registry.test/a/b:two").await;
    assert_eq!(removed.status, 200);
    assert_eq!(
        removed.json(),
        serde_json::json!([{"Untagged": "registry.test/a/b:two"}])
    );
    let removed = docker.delete(&format!("/images/{IMAGE}?force=1")).await;
    assert_eq!(removed.json()[1]["Deleted"], id);
    assert_eq!(docker.delete(&format!("/images/{IMAGE}")).await.status, 404);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_streamed() {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    let world = World::new().await;
    let mut stream = tokio::net::UnixStream::connect(&world.docker.socket)
        .await
        .unwrap();
    stream
        .write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut lines = BufReader::new(stream).lines();
    // The headers say that the subscription is there.
    while !lines.next_line().await.unwrap().unwrap().is_empty() {}
    world.sidecar().await;
    world.run(&["/guest", "exit", "3"]).await;
    let mut actions = Vec::new();
    while actions.len() < 3 {
        let line = lines.next_line().await.unwrap().unwrap();
        if let Ok(event) = serde_json::from_str::<serde_json::Value>(&line)
            && event.is_object()
        {
            if event["Action"] == "die" {
                assert_eq!(event["Actor"]["Attributes"]["exitCode"], "3");
            }
            actions.push(event["Action"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(actions, ["create", "start", "die"]);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn privileges_that_are_not_given_are_warned_of() {
    let world = World::new().await;
    world.sidecar().await;
    let path = format!("/containers/create?name={}", name());
    let mut body = app_body(&["/guest"]);
    body["HostConfig"]["CapAdd"] = serde_json::json!(["SYS_MODULE"]);
    let reply = world.docker.send("POST", &path, &body).await;
    assert_eq!(reply.status, 201);
    assert!(
        reply.json()["Warnings"][0]
            .as_str()
            .unwrap()
            .contains("CapAdd")
    );
    world.close().await;
}
