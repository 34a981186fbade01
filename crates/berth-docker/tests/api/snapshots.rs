//! Files in and out of containers, volumes, directory and whole-container snapshots, in the order
//! of calls that workerd makes.

use std::io::Read as _;

use berth_engine::{ExecIo, ExecSpec};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::world::{IMAGE, PATIENCE, World, app_body, name};

const CA: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
const CA_ENTRY: &str = "cloudflare/certs/cloudflare-containers-ca.crt";

/// A tar of files: name, owner, mode, content.
fn tar(files: &[(&str, u64, u32, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, owner, mode, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        header.set_uid(*owner);
        header.set_gid(*owner);
        tar.append_data(&mut header, name, content.as_bytes())
            .unwrap();
    }
    tar.into_inner().unwrap()
}

/// Names and contents in a tar.
fn entries(tar: &[u8]) -> Vec<(String, String)> {
    let mut archive = tar::Archive::new(tar);
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (name, String::from_utf8_lossy(&content).into_owned())
        })
        .collect()
}

/// What a program says that runs in a container.
async fn inside(world: &World, container: &str, argv: &[&str]) -> String {
    let spec = ExecSpec {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: Vec::new(),
        working_dir: None,
        user: None,
        terminal: None,
        stdin: false,
    };
    let exec = world.engine.exec(container, spec).await.unwrap();
    let ExecIo::Pipes { mut stdout, .. } = exec.io else {
        panic!("no pipes")
    };
    let mut said = String::new();
    stdout.read_to_string(&mut said).await.unwrap();
    said
}

async fn show(world: &World, container: &str, path: &str) -> String {
    inside(world, container, &["/guest", "show", path]).await
}

/// Creates a container of its own network.
async fn create(world: &World, container: &str, host: Value) -> crate::world::Reply {
    let mut body = json!({"Image": IMAGE, "Cmd": ["/guest"], "HostConfig": host});
    body["HostConfig"]["NetworkMode"] = json!("none");
    let path = format!("/containers/create?name={container}");
    world.docker.send("POST", &path, &body).await
}

async fn start(world: &World, container: &str) {
    let path = format!("/containers/{container}/start");
    assert_eq!(world.docker.post(&path).await.status, 204);
}

async fn run(world: &World, container: &str, host: Value) {
    let created = create(world, container, host).await;
    assert_eq!(created.status, 201, "{created:?}");
    start(world, container).await;
}

/// A helper container as workerd makes it; its id.
async fn helper(world: &World, body: Value) -> String {
    let mut body = body;
    body["Image"] = json!(berth_docker::EGRESS_IMAGE);
    let created = world.docker.send("POST", "/containers/create", &body).await;
    assert_eq!(created.status, 201, "{created:?}");
    created.json()["Id"].as_str().unwrap().to_owned()
}

async fn new_volume(world: &World, name: &str) {
    let body = json!({"Name": name, "Labels": {"dev.workerd.snapshot-created-at": "1"}});
    let made = world.docker.send("POST", "/volumes/create", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
}

/// `snapshotDirectory`.
async fn snapshot(world: &World, container: &str, path: &str, volume: &str) {
    let taken = world.docker.download(container, path).await;
    assert_eq!(taken.status, 200, "{taken:?}");
    new_volume(world, volume).await;
    let body = json!({"HostConfig": {"Binds": [format!("{volume}:/mnt")]}});
    let id = helper(world, body).await;
    let stored = world.docker.upload(&id, "/mnt", &taken.body).await;
    assert_eq!(stored.status, 200, "{stored:?}");
    assert_eq!(world.docker.remove(&id).await.status, 204);
}

/// What `start` does with a snapshot: a clone to mount.
async fn clone(world: &World, volume: &str, clone: &str) {
    let there = world.docker.get(&format!("/volumes/{volume}")).await;
    assert_eq!(there.status, 200);
    new_volume(world, clone).await;
    let body = json!({
        "Entrypoint": ["/bin/cp"], "Cmd": ["-a", "/src/.", "/dst/"],
        "HostConfig": {"Binds": [format!("{volume}:/src:ro"), format!("{clone}:/dst")]},
    });
    let id = helper(world, body).await;
    start(world, &id).await;
    let waiting = world.docker.wait(&id, "?condition=not-running").await;
    assert_eq!(waiting.code().await, 0);
    assert_eq!(world.docker.remove(&id).await.status, 204);
}

fn mount(volume: &str, target: &str) -> Value {
    json!({"Type": "volume", "Source": volume, "Target": target, "ReadOnly": false,
           "VolumeOptions": {"NoCopy": true}})
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_in_and_out_whatever_the_container_does() {
    let world = World::new().await;
    let docker = &world.docker;
    assert_eq!(create(&world, "box", json!({})).await.status, 201);
    let files = tar(&[(CA_ENTRY, 0, 0o644, CA), ("mine", 1000, 0o4755, "1")]);
    assert_eq!(docker.upload("box", "%2Fetc", &files).await.status, 200);
    start(&world, "box").await;
    let found = show(&world, "box", "/etc/mine").await;
    assert_eq!(found, "1000:1000 4755 1", "owners are those inside");
    assert!(
        show(&world, "box", &format!("/etc/{CA_ENTRY}"))
            .await
            .starts_with("0:0 644 ")
    );

    // While it runs.
    let more = tar(&[("a/b", 7, 0o600, "2")]);
    assert_eq!(docker.upload("box", "/tmp", &more).await.status, 200);
    assert_eq!(show(&world, "box", "/tmp/a/b").await, "7:7 600 2");
    inside(&world, "box", &["/guest", "put", "/tmp/c", "3"]).await;
    let expected = [("./", ""), ("./a/", ""), ("./a/b", "2"), ("./c", "3")];
    let expected = expected.map(|(name, content)| (name.to_owned(), content.to_owned()));
    let running = docker.download("box", "%2Ftmp%2F.").await;
    assert_eq!(entries(&running.body), expected);
    let everything = entries(&docker.download("box", "/.").await.body);
    assert!(everything.iter().any(|(name, _)| name == "./proc/"));
    assert!(
        !everything
            .iter()
            .any(|(name, _)| name.starts_with("./proc/1"))
    );

    // When it has ended.
    docker.post("/containers/box/kill").await;
    docker.wait("box", "").await.code().await;
    let ended = docker.download("box", "%2Ftmp%2F.").await;
    assert_eq!(ended.body, running.body, "the same, ids included");
    let late = tar(&[("d", 0, 0o644, "4")]);
    assert_eq!(docker.upload("box", "/tmp", &late).await.status, 200);
    start(&world, "box").await;
    assert_eq!(show(&world, "box", "/tmp/d").await, "0:0 644 4");

    for (path, status) in [("/nope/.", 404), ("/nope", 404), ("/tmp/c/.", 500)] {
        assert_eq!(docker.download("box", path).await.status, status, "{path}");
    }
    assert_eq!(docker.upload("box", "/nope", &late).await.status, 404);
    assert_eq!(docker.upload("box", "/tmp/c", &late).await.status, 400);
    assert_eq!(docker.upload("gone", "/tmp", &late).await.status, 404);
    assert_eq!(docker.get("/containers/box/archive").await.status, 400);
    assert_eq!(
        docker.upload("box", "/tmp", b"no tar at all").await.status,
        500
    );
    let stranger = tar(&[("e", 70_000, 0o644, "")]);
    assert_eq!(docker.upload("box", "/tmp", &stranger).await.status, 500);
    let head = running.head.to_lowercase();
    assert!(head.contains("x-docker-container-path-stat: "), "{head}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_snapshot_is_restored_in_another_container() {
    let world = World::new().await;
    let docker = &world.docker;
    run(&world, "one", json!({})).await;
    let data = tar(&[("data/x", 1000, 0o640, "x"), ("data/deep/y", 0, 0o644, "y")]);
    assert_eq!(docker.upload("one", "/tmp", &data).await.status, 200);
    snapshot(&world, "one", "/tmp/data/.", "workerd-snap-1").await;
    // What happens to the directory later is not in the snapshot.
    inside(&world, "one", &["/guest", "put", "/tmp/data/x", "changed"]).await;
    assert_eq!(docker.remove("one").await.status, 204);

    clone(&world, "workerd-snap-1", "workerd-snap-clone-1").await;
    let mounts = json!({"Mounts": [mount("workerd-snap-clone-1", "/elsewhere")]});
    run(&world, "two", mounts).await;
    assert_eq!(show(&world, "two", "/elsewhere/x").await, "1000:1000 640 x");
    assert_eq!(show(&world, "two", "/elsewhere/deep/y").await, "0:0 644 y");
    assert_eq!(show(&world, "two", "/tmp/data/x").await, "error 2\n");
    inside(&world, "two", &["/guest", "put", "/elsewhere/x", "two's"]).await;
    // Files in a volume are reached like others, running or not.
    let volume = docker.download("two", "/elsewhere/x").await;
    assert_eq!(entries(&volume.body)[0].1, "two's");
    assert_eq!(
        docker.delete("/volumes/workerd-snap-clone-1").await.status,
        409
    );
    assert_eq!(docker.remove("two").await.status, 204);
    assert_eq!(
        docker.delete("/volumes/workerd-snap-clone-1").await.status,
        204
    );

    // The snapshot itself has not changed.
    clone(&world, "workerd-snap-1", "workerd-snap-clone-2").await;
    let mounts = json!({"Mounts": [mount("workerd-snap-clone-2", "/tmp/data")]});
    assert_eq!(create(&world, "three", mounts).await.status, 201);
    let stored = docker.download("three", "/tmp/data/x").await;
    assert_eq!(entries(&stored.body)[0].1, "x");
    let filters = "%7B%22name%22%3A%5B%22workerd-snap-%22%5D%7D";
    let listed = docker
        .get(&format!("/volumes?filters={filters}"))
        .await
        .json();
    let volumes = listed["Volumes"].as_array().unwrap().clone();
    assert_eq!(volumes.len(), 2, "{listed}");
    assert_eq!(volumes[0]["Labels"]["dev.workerd.snapshot-created-at"], "1");
    assert_eq!(docker.get("/volumes/workerd-snap-9").await.status, 404);
    assert_eq!(docker.delete("/volumes/workerd-snap-9").await.status, 404);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_cover_the_image_and_each_other_in_any_order() {
    let world = World::new().await;
    let docker = &world.docker;
    for (volume, file) in [("outer", "o"), ("inner", "i")] {
        new_volume(&world, volume).await;
        let body = json!({"HostConfig": {"Binds": [format!("{volume}:/mnt")]}});
        let id = helper(&world, body).await;
        let files = tar(&[(file, 0, 0o644, volume)]);
        assert_eq!(docker.upload(&id, "/mnt", &files).await.status, 200);
        let outside = docker.upload(&id, "/elsewhere", &files).await;
        assert_eq!(outside.status, 404);
        docker.remove(&id).await;
    }
    let (outer, inner) = (mount("outer", "/etc"), mount("inner", "/etc/sub"));
    for (container, order) in [("one", [&outer, &inner]), ("two", [&inner, &outer])] {
        run(&world, container, json!({"Mounts": order})).await;
        assert!(show(&world, container, "/etc/o").await.ends_with(" outer"));
        assert!(
            show(&world, container, "/etc/sub/i")
                .await
                .ends_with(" inner")
        );
    }
    let twice = create(
        &world,
        "three",
        json!({"Mounts": [&outer, mount("inner", "/etc/")]}),
    )
    .await;
    assert_eq!(twice.status, 400);
    assert!(
        twice.message().contains("duplicate mount point"),
        "{twice:?}"
    );
    let host = create(&world, "three", json!({"Binds": ["/etc:/mnt"]})).await;
    assert_eq!(host.status, 400);

    // An empty volume begins with what the image has, unless told otherwise.
    let binds = json!({"Binds": ["filled:/tmp:ro", "empty:/etc:nocopy"]});
    let seed = tar(&[("seed", 0, 0o644, "s")]);
    run(&world, "four", json!({})).await;
    assert_eq!(docker.upload("four", "/tmp", &seed).await.status, 200);
    let commit = "/commit?container=four&repo=seeded&pause=true";
    assert_eq!(docker.post(commit).await.status, 201);
    let mut body = json!({"Image": "seeded", "HostConfig": binds});
    body["HostConfig"]["NetworkMode"] = json!("none");
    let created = docker
        .send("POST", "/containers/create?name=five", &body)
        .await;
    assert_eq!(created.status, 201, "{created:?}");
    let refused = docker.upload("five", "/tmp", &seed).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    start(&world, "five").await;
    assert!(show(&world, "five", "/tmp/seed").await.ends_with(" s"));
    inside(&world, "five", &["/guest", "put", "/tmp/seed", "no"]).await;
    assert!(
        show(&world, "five", "/tmp/seed").await.ends_with(" s"),
        "read-only"
    );
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_container_starts_again_elsewhere() {
    let world = World::new().await;
    let docker = &world.docker;
    world.sidecar().await;
    new_volume(&world, "v").await;
    let mut body = app_body(&["/guest", "lines", "1"]);
    body["HostConfig"]["Mounts"] = json!([mount("v", "/tmp/volume")]);
    let path = format!("/containers/create?name={}", name());
    assert_eq!(docker.send("POST", &path, &body).await.status, 201);
    let bundle = tar(&[("ssl/certs/ca-certificates.crt", 0, 0o644, "bundle\n")]);
    assert_eq!(docker.upload(&name(), "/etc", &bundle).await.status, 200);
    let ca = tar(&[(CA_ENTRY, 0, 0o644, CA)]);
    assert_eq!(docker.upload(&name(), "%2Fetc", &ca).await.status, 200);
    start(&world, &name()).await;
    let trusted = show(&world, &name(), "/etc/ssl/certs/ca-certificates.crt").await;
    assert!(
        trusted.contains("bundle\n") && trusted.contains("AAAA"),
        "{trusted}"
    );
    let env = inside(&world, &name(), &["/guest", "env"]).await;
    assert!(
        env.contains(&format!("NODE_EXTRA_CA_CERTS=/etc/{CA_ENTRY}")),
        "{env}"
    );
    for (path, text) in [("/tmp/kept", "k"), ("/tmp/volume/not", "n")] {
        inside(&world, &name(), &["/guest", "put", path, text]).await;
    }
    let commit = format!(
        "/commit?container={}&pause=true&repo=workerd-container-snap-1",
        name()
    );
    let committed = docker.post(&commit).await;
    assert_eq!(committed.status, 201, "{committed:?}");
    let image = docker
        .get("/images/workerd-container-snap-1/json")
        .await
        .json();
    assert_eq!(image["Id"], committed.json()["Id"]);
    assert!(image["Size"].as_u64().unwrap() > 0);
    let base = docker.get(&format!("/images/{IMAGE}/json")).await.json();
    assert_eq!(image["Parent"], base["Id"]);
    assert_eq!(image["Config"]["Cmd"], json!(["/guest", "lines", "1"]));
    let env = image["Config"]["Env"].to_string();
    assert!(env.contains("A=B") && !env.contains("HOSTNAME"), "{env}");
    // It still runs.
    assert!(show(&world, &name(), "/tmp/kept").await.ends_with(" k"));
    assert_eq!(docker.remove(&name()).await.status, 204);

    // Removed in the next layer, it stays removed.
    let body = |image: &str| json!({"Image": image, "HostConfig": {"NetworkMode": "none"}});
    let first = body("workerd-container-snap-1");
    docker
        .send("POST", "/containers/create?name=second", &first)
        .await;
    start(&world, "second").await;
    assert!(show(&world, "second", "/tmp/kept").await.ends_with(" k"));
    assert_eq!(show(&world, "second", "/tmp/volume/not").await, "error 2\n");
    let restored = show(&world, "second", "/etc/ssl/certs/ca-certificates.crt").await;
    assert!(restored.ends_with(" bundle\n"), "{restored}");
    assert_eq!(
        show(&world, "second", &format!("/etc/{CA_ENTRY}")).await,
        "error 2\n"
    );
    inside(&world, "second", &["/guest", "rm", "/tmp/kept"]).await;
    let again = "/commit?container=second&repo=workerd-container-snap-2";
    assert_eq!(docker.post(again).await.status, 201);
    let second = body("workerd-container-snap-2");
    docker
        .send("POST", "/containers/create?name=third", &second)
        .await;
    start(&world, "third").await;
    assert_eq!(show(&world, "third", "/tmp/kept").await, "error 2\n");

    assert_eq!(
        docker
            .get("/images/workerd-container-snap-9/json")
            .await
            .status,
        404
    );
    let missing = body("workerd-container-snap-9");
    let missing = docker
        .send("POST", "/containers/create?name=fourth", &missing)
        .await;
    assert_eq!(missing.status, 404);
    assert_eq!(
        docker.post("/commit?container=nope&repo=x").await.status,
        404
    );
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_archives_pass_through_and_stalled_ones_end_with_the_container() {
    let world = World::new().await;
    let docker = &world.docker;
    run(&world, "box", json!({})).await;
    let large = "0123456789abcdef".repeat(2 << 20);
    let sent = tar(&[("large", 0, 0o644, &large)]);
    assert_eq!(docker.upload("box", "/tmp", &sent).await.status, 200);
    let back = docker.download("box", "/tmp/large").await;
    assert!(entries(&back.body)[0].1 == large, "32 MiB are the same");

    // Nobody reads this answer, and nobody finishes this request.
    let open = |request: String| async move {
        let mut stream = UnixStream::connect(&docker.socket).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    };
    let path = "/containers/box/archive?path=/tmp";
    let mut reading = open(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    assert_eq!(reading.read_u8().await.unwrap(), b'H');
    let put = format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\nabc");
    let writing = open(put).await;
    let removed = tokio::time::timeout(PATIENCE, docker.remove("box")).await;
    assert_eq!(removed.unwrap().status, 204);
    drop((reading, writing));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_ends_some_time_after_its_last_use() {
    let world = World::new().await;
    let docker = &world.docker;
    run(&world, "one", json!({})).await;
    for volume in ["workerd-snap-1", "workerd-snap-2"] {
        snapshot(&world, "one", "/tmp/.", volume).await;
    }
    new_volume(&world, "mine").await;
    for image in ["workerd-container-snap-1", "workerd-container-snap-2"] {
        let commit = format!("/commit?container=one&pause=true&repo={image}");
        assert_eq!(docker.post(&commit).await.status, 201);
    }
    let (store, volumes) = (world.engine.images(), world.engine.volumes());
    let month = std::time::Duration::from_secs(30 * 24 * 3600);
    let expire = || berth_docker::expire_snapshots(&world.engine, month).unwrap();
    assert!(expire().is_empty(), "they are new");

    // A month later, one of each has been restored a moment ago.
    let past = std::time::SystemTime::now() - month;
    let age = |path: std::path::PathBuf| {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(past).unwrap();
    };
    for volume in ["workerd-snap-1", "workerd-snap-2", "mine"] {
        age(store
            .root()
            .join("volumes")
            .join(volume)
            .join("volume.json"));
        assert!(volumes.last_used(volume).unwrap() <= past);
    }
    for image in ["workerd-container-snap-1", "workerd-container-snap-2"] {
        let id = store.resolve(image).unwrap().unwrap().id;
        age(store.root().join("used").join(id.hex()));
    }
    clone(&world, "workerd-snap-1", "workerd-snap-clone-1").await;
    let body = json!({"Image": "workerd-container-snap-1", "HostConfig": {"NetworkMode": "none"}});
    let created = docker
        .send("POST", "/containers/create?name=two", &body)
        .await;
    assert_eq!(created.status, 201, "{created:?}");
    let mut gone = expire();
    gone.sort();
    assert!(gone[0].contains("workerd-container-snap-2"), "{gone:?}");
    assert_eq!(gone[1..], ["workerd-snap-2"]);
    assert!(store.resolve("workerd-container-snap-1").unwrap().is_some());
    assert!(volumes.get("workerd-snap-1").is_some() && volumes.get("mine").is_some());
    world.close().await;
}
