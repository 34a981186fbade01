//! Pushes and pulls.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use berth_test::{DockerRegistry, Project};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use super::{Machine, lines_of};
use crate::world;

#[tokio::test]
async fn images_are_pushed_and_pulled() {
    let registry = DockerRegistry::start();
    let (one, two) = (Machine::new(), Machine::new());
    let name = format!("{}/team/app:1", registry.host());
    one.import(&name).await;
    let printed = one.ok(&["images", "push", &name]).await;
    assert!(printed.starts_with("1: digest: sha256:"), "{printed}");
    let events = lines_of(&two.ok(&["images", "pull", &name, "--json"]).await);
    assert_eq!(events[0]["event"], "resolved", "{events:?}");
    let last = events.last().unwrap();
    assert_eq!(
        (&last["event"], &last["fetched"]),
        (&"pulled".into(), &1.into())
    );
    let list = two.ok(&["images", "list", "--json"]).await;
    assert!(list.contains(&name), "{list}");
    // Again: nothing is sent, nothing is fetched.
    let events = lines_of(&one.ok(&["images", "push", &name, "--json"]).await);
    assert_eq!(events.last().unwrap()["sent"], 0);
    let events = lines_of(&two.ok(&["images", "pull", &name, "--json"]).await);
    assert_eq!(events.last().unwrap()["fetched"], 0);
    assert_eq!(
        two.ok(&["images", "pull", "--quiet", &name]).await,
        format!("{name}\n")
    );

    let refused = two
        .refused(&["images", "pull", &format!("{name}-none")])
        .await;
    assert!(refused.contains("there is no image"), "{refused}");
    let refused = two.refused(&["images", "push", "nothing:1"]).await;
    assert!(
        refused.contains("there is no image `nothing:1` on this machine"),
        "{refused}"
    );
    let refused = two
        .refused(&["images", "pull", &name, "--platform", "linux/s390x"])
        .await;
    assert!(
        refused.contains("is not for linux/s390x, but for linux/"),
        "{refused}"
    );
    let refused = two
        .refused(&["images", "pull", &name, "--platform", "x"])
        .await;
    assert!(refused.contains("`x` is not a platform"), "{refused}");
}

/// `[::1]:5000/x` is a name, with everything that a name does: login, tokens, push, pull by digest.
#[tokio::test]
async fn a_registry_may_have_an_address_of_ipv6() {
    let machine = Machine::new();
    let (_server, host) = machine.registry("[::1]:0").await;
    assert!(host.starts_with("[::1]:"), "{host}");
    let name = format!("{host}/team/app:1");
    machine.import(&name).await;
    let grant = ["registry", "credentials", "--grant", "*=pull,push"];
    let password = machine.ok(&grant).await;
    let login = [
        "docker",
        "login",
        "--password-stdin",
        "--username",
        "v1",
        &host,
    ];
    let output = machine.input(&login, password.trim()).await;
    assert!(output.status.success(), "{output:?}");
    assert!(machine.docker_config()["auths"][&host].is_object());
    machine.ok(&["images", "push", &name]).await;
    let inspected = machine.ok(&["images", "inspect", &name]).await;
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    let digest = inspected[0]["digest"].as_str().unwrap();
    machine.ok(&["images", "delete", &name]).await;
    let by_digest = format!("{host}/team/app@{digest}");
    machine.ok(&["images", "pull", &by_digest]).await;
    let list = machine.ok(&["images", "list", "--json"]).await;
    assert!(list.contains(&by_digest), "{list}");
    let refused = machine.refused(&["images", "pull", "[::1:5000/x"]).await;
    assert!(refused.contains("IPv6"), "{refused}");
}

#[tokio::test]
async fn our_own_registry_is_pushed_to_and_pulled_from() {
    let (one, two) = (Machine::new(), Machine::new());
    let (mut server, host) = one.registry("127.0.0.1:0").await;
    let name = format!("{host}/team/app:1");
    one.import(&name).await;
    let refused = one.refused(&["images", "push", &name]).await;
    assert!(refused.contains("wants to know who you are"), "{refused}");

    let credentials = [
        "containers",
        "registries",
        "credentials",
        "--push",
        "--pull",
        "--json",
    ];
    let pair: Value = serde_json::from_str(&one.ok(&credentials).await).unwrap();
    let (user, password) = (
        pair["username"].as_str().unwrap(),
        pair["password"].as_str().unwrap(),
    );
    for machine in [&one, &two] {
        let login = [
            "docker",
            "login",
            "--password-stdin",
            "--username",
            user,
            &host,
        ];
        let output = machine.input(&login, password).await;
        assert!(output.status.success(), "{output:?}");
    }
    one.ok(&["images", "push", &name]).await;
    let events = lines_of(&two.ok(&["images", "pull", &name, "--json"]).await);
    assert_eq!(events.last().unwrap()["fetched"], 1);
    // What allows to pull does not allow to push.
    let only_pull = one
        .ok(&["containers", "registries", "credentials", "--pull"])
        .await;
    let login = [
        "docker",
        "login",
        "--password-stdin",
        "--username",
        user,
        &host,
    ];
    assert!(two.input(&login, &only_pull).await.status.success());
    two.ok(&["images", "pull", &name]).await;
    let other = format!("{host}/team/other:1");
    two.import(&other).await;
    let refused = two.refused(&["images", "push", &other]).await;
    assert_eq!(refused.matches("error:").count(), 1, "{refused}");

    // A password of the operator's, and a collection beside the server, which takes nothing that is needed.
    let grant = ["registry", "credentials", "--grant", "team/*=pull"];
    let only_pull = one.ok(&grant).await;
    assert!(two.input(&login, only_pull.trim()).await.status.success());
    let collect = ["registry", "gc", "--grace", "0s", "--json"];
    let collected: Value = serde_json::from_str(&one.ok(&collect).await).unwrap();
    assert_eq!(collected["manifests"], 0, "{collected}");
    two.ok(&["images", "delete", "--force", &name]).await;
    two.ok(&["images", "pull", &name]).await;
    server.kill().await.unwrap();
}

/// A way to a registry on which answers stop after so many bytes in all; how many have passed.
async fn throttled(registry: &str) -> (String, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    use tokio::io::AsyncReadExt as _;
    let (limit, passed) = (
        Arc::new(AtomicUsize::new(usize::MAX)),
        Arc::new(AtomicUsize::new(0)),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let (registry, limits, count) = (registry.to_owned(), limit.clone(), passed.clone());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = tokio::net::TcpStream::connect(&registry).await.unwrap();
            let (limit, passed) = (limits.clone(), count.clone());
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::spawn(async move {
                    tokio::io::copy(&mut from_client, &mut to_server).await.ok()
                });
                let mut buffer = vec![0; 16 * 1024];
                while let Ok(read) = from_server.read(&mut buffer).await {
                    if passed.fetch_add(read, Ordering::Relaxed) >= limit.load(Ordering::Relaxed) {
                        std::future::pending::<()>().await;
                    }
                    if read == 0 || to_client.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (host, limit, passed)
}

/// The length of the largest file below a directory.
fn largest_file(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let lengths = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => largest_file(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    lengths.max().unwrap_or_default()
}

#[tokio::test]
async fn a_pull_that_was_killed_is_gone_on_with() {
    const SIZE: usize = 40_000_000;
    let registry = DockerRegistry::start();
    let (one, two) = (Machine::new(), Machine::new());
    let name = format!("{}/large:1", registry.host());
    let tree = Project::empty();
    // It does not compress.
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(SIZE / 8)
    .flatten()
    .collect();
    tree.write(
        "Dockerfile",
        format!("FROM scratch\nCOPY noise /noise\nLABEL name={name}\n"),
    );
    tree.write("noise", noise);
    let context = tree.path().to_str().unwrap();
    one.ok(&["containers", "build", context, "-t", &name, "--push"])
        .await;

    let (host, limit, passed) = throttled(registry.host()).await;
    let name = format!("{host}/large:1");
    let whole = {
        let third = Machine::new();
        third.ok(&["images", "pull", &name]).await;
        passed.swap(0, Ordering::Relaxed)
    };
    limit.store(whole / 2, Ordering::Relaxed);
    let mut command = two.world.command();
    command
        .args(["images", "pull", &name])
        .env("BERTH_DATA_DIR", two.path("data"))
        .env("HOME", two.path("home"));
    let mut child = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // What has passed is not yet what is kept: some of it is on its way.
    let stuck = async {
        while passed.load(Ordering::Relaxed) < whole / 2
            || largest_file(&two.path("data")) < (whole * 3 / 8) as u64
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(berth_test::PATIENCE, stuck)
        .await
        .unwrap();
    child.kill().await.unwrap();
    assert_eq!(two.ok(&["images", "list", "--json"]).await.trim(), "[]");
    passed.store(0, Ordering::Relaxed);
    limit.store(usize::MAX, Ordering::Relaxed);
    two.ok(&["images", "pull", &name]).await;
    let rest = passed.load(Ordering::Relaxed);
    assert!(
        rest < whole * 3 / 4,
        "{rest} of {whole} bytes were fetched again"
    );
}

#[tokio::test]
async fn wranglers_push_finds_the_digest() {
    let registry = DockerRegistry::with_password();
    let world = world();
    let engine = world.engine().await;
    let home = tempfile::tempdir().unwrap();
    let config = home.path().to_str().unwrap();
    let host = registry.host();
    let login = [
        "--config",
        config,
        "login",
        "--password-stdin",
        "--username",
        "me",
        host,
    ];
    engine.docker_ok(login, "s3cret").await;
    let (local, remote) = (
        "wrangler-push:abc",
        format!("{host}/account/wrangler-push:abc"),
    );
    engine
        .docker_ok(
            ["build", "--load", "-t", local, "-f", "-", "/etc/apt"],
            &format!("FROM scratch\nCOPY . /x\nLABEL at={host}\n"),
        )
        .await;
    engine.docker_ok(["tag", local, &remote], "").await;
    // Docker's configuration is that of the flag.
    let refused = engine.docker(["push", &remote], "").await;
    assert!(!refused.status.success(), "{refused:?}");
    let pushed = engine
        .docker_ok(["--config", config, "push", &remote], "")
        .await;
    let digest = pushed.split_whitespace().nth(2).unwrap().to_owned();
    let format = [
        "image",
        "inspect",
        &remote,
        "--format",
        "{{ json .RepoDigests }}",
    ];
    let digests: Vec<String> = serde_json::from_str(&engine.docker_ok(format, "").await).unwrap();
    assert_eq!(digests, [format!("{host}/account/wrangler-push@{digest}")]);
    let by_digest = format!("{host}/account/wrangler-push@{digest}");
    let described = engine
        .docker_ok(
            ["--config", config, "manifest", "inspect", "-v", &by_digest],
            "",
        )
        .await;
    let described: Value = serde_json::from_str(&described).unwrap();
    assert_eq!(described["Descriptor"]["digest"], digest);
    engine.docker_ok(["rmi", local, &remote], "").await;
    engine
        .docker_ok(
            [
                "--config",
                config,
                "pull",
                &remote,
                "--platform",
                "linux/amd64",
            ],
            "",
        )
        .await;
    engine.docker_ok(["rmi", &remote], "").await;
    engine.stop().await;
}
