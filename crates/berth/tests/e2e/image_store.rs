//! `berth images` on a store of its own: listing, naming, removing, making room, and what is in use.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use berth_test::{PATIENCE, Project, compile_static};
use serde_json::Value;

use crate::images::SERVER;
use crate::world;

/// A data directory of its own, and root file systems to import.
struct Store {
    directory: tempfile::TempDir,
}

impl Store {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let data = self.data();
        let data = data.to_str().unwrap();
        let all = ["images", "--data-dir", data].into_iter();
        world().run(all.chain(arguments.iter().copied())).await
    }

    /// Standard output of a command that succeeds.
    async fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        serde_json::from_str(&self.ok(&all).await).unwrap()
    }

    /// Standard error of a command that fails.
    async fn refused(&self, arguments: &[&str]) -> String {
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

    async fn import_tree(&self, tree: &Path, name: &str) {
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

    async fn names(&self) -> Vec<String> {
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
    store.ok(&["tag", "one:1", "team/one:latest"]).await;

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
    let world = world();
    let store = Store::new();
    let points = store.directory.path().join("points");
    std::fs::create_dir(&points).unwrap();
    let engine = world.engine_in(&store.data(), &points).await;
    let tree = store.directory.path().join("server");
    std::fs::create_dir_all(tree.join("bin")).unwrap();
    std::fs::copy(compile_static(&world, SERVER), tree.join("bin/server")).unwrap();
    store.import_tree(&tree, "server:1").await;
    store.import("idle:1", 1000).await;
    engine
        .docker_ok(
            [
                "run",
                "-d",
                "--name",
                "one",
                "server:1",
                "/bin/server",
                "8080",
            ],
            "",
        )
        .await;

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
