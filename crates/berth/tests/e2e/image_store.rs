//! `berth images` on a store of its own: listing, naming, removing, making room, and what is in use.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use berth_test::{DockerRegistry, EngineSession, PATIENCE, Program, Project, compile_static};
use serde_json::Value;

use crate::images::SERVER;
use crate::world;

/// A program that checks the image it is in.
const WHOLE: Program = Program {
    name: "whole",
    source: include_str!("../fixtures/whole.c"),
};

/// A data directory of its own, and root file systems to import.
pub(crate) struct Store {
    pub(crate) directory: tempfile::TempDir,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let data = self.data();
        let data = data.to_str().unwrap();
        let all = ["images", "--data-dir", data].into_iter();
        world().run(all.chain(arguments.iter().copied())).await
    }

    /// Standard output of a command that succeeds.
    pub(crate) async fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        serde_json::from_str(&self.ok(&all).await).unwrap()
    }

    /// Standard error of a command that fails.
    pub(crate) async fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// An image of one file.
    async fn import(&self, name: &str, bytes: usize) {
        let tree = self.directory.path().join("tree");
        std::fs::create_dir_all(&tree).unwrap();
        std::fs::write(tree.join("file"), name.repeat(bytes / name.len())).unwrap();
        self.import_tree(&tree, name).await;
    }

    pub(crate) async fn import_tree(&self, tree: &Path, name: &str) {
        let tar = self.directory.path().join("tree.tar");
        let status = std::process::Command::new("tar")
            .arg("--create")
            .arg("--file")
            .arg(&tar)
            .arg("--directory")
            .arg(tree)
            .arg(".")
            .status()
            .unwrap();
        assert!(status.success());
        self.ok(&["import", tar.to_str().unwrap(), name]).await;
    }

    /// An engine over this store.
    pub(crate) async fn engine(&self) -> EngineSession {
        let points = self.directory.path().join("points");
        std::fs::create_dir(&points).unwrap();
        world().engine_in(&self.data(), &points).await
    }

    /// An engine whose container `one` runs the image `server:1`.
    pub(crate) async fn running_server(&self) -> EngineSession {
        let engine = self.engine().await;
        let tree = self.directory.path().join("server");
        std::fs::create_dir_all(tree.join("bin")).unwrap();
        std::fs::copy(compile_static(&world(), SERVER), tree.join("bin/server")).unwrap();
        self.import_tree(&tree, "server:1").await;
        let run = [
            "run",
            "-d",
            "--name",
            "one",
            "server:1",
            "/bin/server",
            "8080",
        ];
        engine.docker_ok(run, "").await;
        engine
    }

    pub(crate) async fn names(&self) -> Vec<String> {
        let list = self.json(&["list"]).await;
        let rows = list.as_array().unwrap().iter();
        rows.map(|row| row["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[tokio::test]
async fn images_are_named_found_and_deleted() {
    let store = Store::new();
    store.import("one:1", 1000).await;
    store.import("two:1", 1000).await;
    let tagged = store.json(&["tag", "one:1", "team/one"]).await;
    assert_eq!(tagged["name"], "team/one:latest");
    let message = store
        .refused(&["tag", "one:1", &format!("x@sha256:{}", "0".repeat(64))])
        .await;
    assert!(message.contains("digest"), "{message}");
    let tar = store.directory.path().join("tree.tar");
    let imported = store
        .json(&["import", tar.to_str().unwrap(), "two:1"])
        .await;
    assert_eq!(imported[0]["names"], serde_json::json!(["two:1"]));

    let list = store.json(&["list", "--filter", "^team/"]).await;
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list[0]["name"], "team/one:latest");
    let message = store.refused(&["list", "--filter", "("]).await;
    assert!(
        message.contains("--filter") && message.contains("unclosed"),
        "{message}"
    );

    let inspected = store.json(&["inspect", "one:1"]).await;
    let id = inspected[0]["id"].as_str().unwrap();
    assert_eq!(tagged["id"], id);
    assert_eq!(inspected[0]["names"].as_array().unwrap().len(), 2);
    assert_eq!(inspected[0]["layers"].as_array().unwrap().len(), 1);
    assert_eq!(inspected[0]["os"], "linux");
    assert_eq!(inspected[0]["neededBy"], Value::Array(Vec::new()));
    let message = store.refused(&["inspect", "three"]).await;
    assert!(message.contains("no image `three`"), "{message}");

    // One name of two: the image stays.
    let removed = store.json(&["delete", "one:1"]).await;
    assert_eq!(removed[0]["image"], false);
    assert_eq!(store.names().await, ["team/one:latest", "two:1"]);
    store.ok(&["inspect", id]).await;
    // Nothing is deleted if one of them is not there.
    store.refused(&["rm", "two:1", "three"]).await;
    assert_eq!(store.names().await.len(), 2);
    let removed = store.json(&["remove", id, "two:1"]).await;
    assert_eq!(removed[0]["names"][0], "team/one:latest");
    assert!(store.names().await.is_empty());
    let usage = store.json(&["df"]).await;
    assert_eq!((&usage["bytes"], &usage["garbage"]), (&0.into(), &0.into()));
}

#[tokio::test]
async fn room_is_made_from_what_is_longest_unused() {
    let store = Store::new();
    for name in ["old:1", "new:1"] {
        store.import(name, 100_000).await;
    }
    store.ok(&["tag", "old:1", "alias:1"]).await;
    let usage = store.json(&["df"]).await;
    assert_eq!(usage["images"]["count"], 2);
    assert_eq!(usage["images"]["reclaimable"], usage["images"]["bytes"]);
    let text = store.ok(&["df"]).await;
    assert!(
        text.contains("Build cache") && text.contains("RECLAIMABLE"),
        "{text}"
    );

    let nothing = store.json(&["prune"]).await;
    assert_eq!(nothing["bytes"], 0);
    let nothing = store
        .json(&["prune", "--all", "--filter", "until=1h"])
        .await;
    assert_eq!(nothing["bytes"], 0);
    let would = store
        .json(&["prune", "--max-size", "150kB", "--dry-run"])
        .await;
    assert_eq!(store.names().await.len(), 3);
    let mut pruned = store.json(&["prune", "--max-size", "150kB"]).await;
    pruned["dryRun"] = true.into();
    assert_eq!(pruned, would);
    assert_eq!(pruned["images"][0]["names"][0], "alias:1");
    assert_eq!(store.names().await, ["new:1"]);
    let text = store.ok(&["prune", "--all"]).await;
    assert!(
        text.contains("removed new:1") && text.contains("freed"),
        "{text}"
    );
    assert_eq!(store.json(&["df"]).await["bytes"], 0);
    for bad in [
        ["prune", "--filter", "label=x"],
        ["prune", "--filter", "until=soon"],
        ["prune", "--max-size", "much"],
    ] {
        let message = store.refused(&bad).await;
        assert!(message.contains(bad[1]), "{message}");
    }
}

/// A container runs: its image is neither pruned nor, unless somebody insists, deleted. A second
/// process does all that while the engine has the store open.
#[tokio::test]
async fn an_image_in_use_stays() {
    let store = Store::new();
    let engine = store.running_server().await;
    store.import("idle:1", 1000).await;

    let inspected = store.json(&["inspect", "server:1"]).await;
    assert_eq!(inspected[0]["neededBy"][0], "container `one`");
    let message = store.refused(&["delete", "server:1"]).await;
    assert!(
        message.contains("is needed by container `one`") && message.contains("--force"),
        "{message}"
    );
    let pruned = store.json(&["prune", "--all"]).await;
    assert_eq!(pruned["images"][0]["names"][0], "idle:1");
    assert_eq!(store.names().await, ["server:1"]);
    store.ok(&["delete", "--force", "server:1"]).await;
    store.ok(&["prune", "--all"]).await;
    assert!(store.names().await.is_empty());
    // It goes on: all of its files are still there.
    let listing = engine.docker_ok(["ps", "--quiet"], "").await;
    assert_eq!(listing.lines().count(), 1, "{listing}");
    let usage = store.json(&["df"]).await;
    assert!(usage["bytes"].as_u64().unwrap() > 10_000, "{usage}");

    // A snapshot is needed although nothing uses it now, until it is removed.
    let snapshot = "workerd-container-snap-1";
    let commit = format!("/commit?container=one&repo={snapshot}");
    let (status, body) = engine.request("POST", &commit, b"").await.unwrap();
    assert_eq!(status, 201, "{body}");
    engine.docker_ok(["rm", "--force", "one"], "").await;
    let pruned = store.json(&["prune", "--all"]).await;
    assert_eq!(pruned["images"], Value::Array(Vec::new()));
    let message = store.refused(&["delete", snapshot]).await;
    assert!(message.contains("is needed by snapshot"), "{message}");
    let remove = format!("/images/{snapshot}?noprune=true");
    let (status, body) = engine.request("DELETE", &remove, b"").await.unwrap();
    assert_eq!(status, 200, "{body}");
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        store.ok(&["prune", "--all"]).await;
        let usage = store.json(&["df"]).await;
        if usage["bytes"] == 0 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{usage}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    engine.stop().await;
}

/// Container starts that went as they should, and those whose image was gone before.
#[derive(Debug, Default)]
struct Starts {
    whole: usize,
    refused: usize,
}

/// Creates a container that reads all of its image, and waits for its end.
async fn start_one(engine: &EngineSession, image: &str, variant: &str, starts: &mut Starts) {
    let body = serde_json::json!({ "Image": image, "Cmd": ["/bin/whole", variant] });
    let body = body.to_string();
    let create = engine.request("POST", "/containers/create", body.as_bytes());
    let (status, answer) = create.await.unwrap();
    if status == 404 {
        assert!(answer.contains("no such image"), "{answer}");
        starts.refused += 1;
        return;
    }
    assert_eq!(status, 201, "{answer}");
    let created = &answer[answer.find('{').unwrap()..=answer.rfind('}').unwrap()];
    let created: Value = serde_json::from_str(created).unwrap();
    let id = created["Id"].as_str().unwrap();
    // Whoever has its container has its image, whatever happens to the names meanwhile.
    tokio::time::sleep(Duration::from_millis(30)).await;
    let path = format!("/containers/{id}/start");
    let (status, answer) = engine.request("POST", &path, b"").await.unwrap();
    assert_eq!(status, 204, "{image}: {answer}");
    let path = format!("/containers/{id}/wait");
    let (_, answer) = engine.request("POST", &path, b"").await.unwrap();
    assert!(answer.contains("\"StatusCode\":0"), "{image}: {answer}");
    let path = format!("/containers/{id}?force=true");
    let (status, answer) = engine.request("DELETE", &path, b"").await.unwrap();
    assert_eq!(status, 204, "{answer}");
    starts.whole += 1;
}

/// Containers start by name and by digest while the images are imported, pushed (which gives them
/// another manifest), pulled and deleted, and collectors work and are killed: a container that could
/// be created has all of its image.
#[tokio::test(flavor = "multi_thread")]
async fn containers_start_while_others_collect() {
    const VARIANTS: [&str; 2] = ["red", "blue"];
    const ENOUGH: usize = 15;
    let store = Store::new();
    let registry = DockerRegistry::start();
    let engine = store.engine().await;
    let program = compile_static(&world(), WHOLE);
    let name = |variant: &str| format!("{}/{variant}:1", registry.host());
    let archive = |variant: &str| store.directory.path().join(format!("{variant}.tar"));
    let mut digests = Vec::new();
    for variant in VARIANTS {
        let tree = store.directory.path().join(variant);
        std::fs::create_dir_all(tree.join("d")).unwrap();
        std::fs::create_dir_all(tree.join("bin")).unwrap();
        std::fs::copy(&program, tree.join("bin/whole")).unwrap();
        for file in 0..200 {
            std::fs::write(
                tree.join(format!("d/{file}")),
                format!("{variant} {file}\n"),
            )
            .unwrap();
        }
        store.import_tree(&tree, &name(variant)).await;
        std::fs::rename(store.directory.path().join("tree.tar"), archive(variant)).unwrap();
        store.ok(&["push", &name(variant)]).await;
        let digest = store.json(&["inspect", &name(variant)]).await[0]["digest"].clone();
        digests.push(format!(
            "{}/{variant}@{}",
            registry.host(),
            digest.as_str().unwrap()
        ));
    }
    let enough = std::sync::atomic::AtomicUsize::new(0);
    let is_over = || enough.load(std::sync::atomic::Ordering::Relaxed) == VARIANTS.len();
    let starters = VARIANTS.iter().zip(&digests).map(|(variant, digest)| {
        let (engine, enough, named) = (&engine, &enough, name(variant));
        async move {
            let (mut tagged, mut by_digest) = (Starts::default(), Starts::default());
            let deadline = std::time::Instant::now() + PATIENCE;
            while tagged.whole < ENOUGH || by_digest.whole < ENOUGH {
                assert!(
                    std::time::Instant::now() < deadline,
                    "{tagged:?} {by_digest:?}"
                );
                start_one(engine, &named, variant, &mut tagged).await;
                start_one(engine, digest, variant, &mut by_digest).await;
            }
            enough.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            (tagged, by_digest)
        }
    });
    // One way or another the images come back, under both names.
    let importer = async {
        let mut turn = 0_usize;
        while !is_over() {
            let variant = VARIANTS[turn % 2];
            let digest = &digests[turn % 2];
            let tar = archive(variant);
            match turn % 6 {
                0 | 1 => drop(store.run(&["pull", digest]).await),
                2 | 3 => {
                    let tar = tar.to_str().unwrap();
                    store.ok(&["import", tar, &name(variant)]).await;
                    // It may have been pruned since.
                    drop(
                        store
                            .run(&["push", "--compression", "zstd", &name(variant)])
                            .await,
                    );
                    drop(store.run(&["push", &name(variant)]).await);
                }
                _ => drop(store.run(&["delete", "--force", &name(variant)]).await),
            }
            turn += 1;
        }
    };
    let collector = async {
        let mut turn = 0_u64;
        while !is_over() {
            let prune = store.run(&["prune", "--all"]);
            // Every other one is killed at some moment.
            let limit = Duration::from_millis(if turn.is_multiple_of(2) {
                20 + turn * 7 % 90
            } else {
                20_000
            });
            if let Ok(output) = tokio::time::timeout(limit, prune).await {
                let error = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{error}");
            }
            turn += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        turn
    };
    let starters = futures_util::future::join_all(starters);
    let (starts, (), collections) = tokio::join!(starters, importer, collector);
    assert!(collections > 10, "{collections}");
    let refused: usize = starts.iter().map(|(a, b)| a.refused + b.refused).sum();
    assert!(refused > 0, "nothing was ever collected: {starts:?}");
    store.ok(&["prune", "--all"]).await;
    let usage = store.json(&["df"]).await;
    assert_eq!(usage["bytes"], 0, "{usage}");
    engine.stop().await;
}

/// A limit of a long-running command: what is not used goes by itself.
#[tokio::test]
async fn a_session_keeps_the_store_small() {
    let world = world();
    let store = Store::new();
    store.import("idle:1", 1000).await;
    let project = Project::example("hello");
    let mut command = world.command();
    command
        .args(["engine", "--data-dir"])
        .arg(store.data())
        .args(["--images-max-size", "1B"])
        .current_dir(project.path());
    let mut command = tokio::process::Command::from(command);
    let mut engine = command.kill_on_drop(true).spawn().unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    while !store.names().await.is_empty() {
        assert!(std::time::Instant::now() < deadline, "it is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let pid = i32::try_from(engine.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(engine.wait().await.unwrap().success());
}
