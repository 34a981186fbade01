//! R2 on a server: wrangler's commands, every method of a Worker's binding, and S3 clients of Debian.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use berth_test::{Project, ServerSession};
use serde_json::{Value, json};

use crate::world;

mod bucket;
mod clients;
mod mount;
mod rules;

const CONFIG: &str = r#"{
  "name": "files",
  "main": "index.js",
  "compatibility_date": "2026-11-01",
  "r2_buckets": [{ "binding": "FILES", "bucket_name": "files" }]
}"#;

const WORKER: &str = include_str!("serve_r2/worker.js");

/// A server with an S3 endpoint, and where that is.
async fn server(data: &Path, more: &str) -> (ServerSession, String) {
    let settings = format!("[listen]\ns3 = \"127.0.0.1:0\"\n{more}");
    std::fs::write(data.join("berth.toml"), settings).unwrap();
    let server = world().server(data).await;
    let client = std::fs::read(data.join("keys/client.json")).unwrap();
    let client: Value = serde_json::from_slice(&client).unwrap();
    let endpoint = client["s3"].as_str().expect("the endpoint").to_owned();
    (server, endpoint)
}

/// An access key, from the command line.
fn key(data: &Path, arguments: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    command.env("BERTH_DATA_DIR", data);
    command
        .args(["r2", "keys", "create", "--json"])
        .args(arguments);
    let made: Value = serde_json::from_slice(&ok(&mut command).stdout).unwrap();
    let word = |name: &str| made[name].as_str().unwrap().to_owned();
    (word("accessKeyId"), word("secretAccessKey"))
}

#[track_caller]
fn ok(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Installs Debian packages whose programs are not there.
pub(crate) fn install(programs: &[(&str, &str)]) {
    let here = |name: &str| Path::new("/usr/bin").join(name).exists();
    let missing: Vec<&str> = programs
        .iter()
        .filter(|(program, _)| !here(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return;
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command.args(["-qq", "-o", "DPkg::Lock::Timeout=300"]);
        ok(command.args(arguments));
    };
    apt(&["update"]);
    let install = ["install", "-y", "--no-install-recommends"];
    apt(&[&install[..], &missing].concat());
}

/// The files of a data directory's blobs.
fn blobs(data: &Path) -> usize {
    fn count(directory: &Path) -> usize {
        let entries = std::fs::read_dir(directory).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .map(|path: PathBuf| if path.is_dir() { count(&path) } else { 1 })
            .sum()
    }
    count(&data.join("server/r2/blobs"))
}

#[tokio::test]
async fn wrangler_and_a_worker_share_a_bucket() {
    let data = tempfile::tempdir().unwrap();
    let (server, _) = server(data.path(), "").await;
    let project = Project::empty();
    project.write("wrangler.jsonc", CONFIG);
    project.write("index.js", WORKER);

    let create = ["r2", "bucket", "create", "files"];
    server.wrangler_ok(&project, create, "").await;
    let again = server.wrangler(&project, create, "").await;
    assert!(!again.status.success());
    let listed = server
        .wrangler_ok(&project, ["r2", "bucket", "list"], "")
        .await;
    assert!(listed.contains("files"), "{listed}");

    server.wrangler_ok(&project, ["deploy"], "").await;
    // Every method, with what it must give; the Worker says what was not as it should be.
    let told = server.get("files", "/all").await;
    let text = told.text();
    let told: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
    assert_eq!(told["wrong"], json!([]), "{told:#}");
    assert!(told["checked"].as_u64().unwrap() > 60, "{told:#}");

    // What wrangler writes the Worker reads, and the other way round.
    let put = [
        "r2",
        "object",
        "put",
        "files/by/wrangler.txt",
        "--pipe",
        "--remote",
        "--content-type",
        "text/x-own",
    ];
    server.wrangler_ok(&project, put, "from wrangler").await;
    let read = server.text("files", "/read?key=by/wrangler.txt").await;
    assert_eq!(read, "text/x-own: from wrangler");
    server
        .text("files", "/write?key=by/worker.txt&text=from+a+worker")
        .await;
    let get = [
        "r2",
        "object",
        "get",
        "files/by/worker.txt",
        "--pipe",
        "--remote",
    ];
    assert_eq!(server.wrangler_ok(&project, get, "").await, "from a worker");
    let info = server
        .wrangler_ok(&project, ["r2", "bucket", "info", "files", "--json"], "")
        .await;
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(
        (&info["object_count"], &info["bucket_size"]),
        (&"2".into(), &"26 B".into()),
        "{info}"
    );

    let update = [
        "r2",
        "bucket",
        "update",
        "storage-class",
        "files",
        "-s",
        "InfrequentAccess",
    ];
    server.wrangler_ok(&project, update, "").await;
    let listed = server
        .api(http::Method::GET, "/r2/buckets", Value::Null)
        .await
        .json();
    let class = &listed["result"]["buckets"][0]["storage_class"];
    assert_eq!(class, "InfrequentAccess", "{listed}");

    let bucket = ["r2", "bucket", "delete", "files"];
    let refused = server.wrangler(&project, bucket, "").await;
    assert!(!refused.status.success());
    for key in ["files/by/worker.txt", "files/by/wrangler.txt"] {
        server
            .wrangler_ok(&project, ["r2", "object", "delete", key, "--remote"], "")
            .await;
    }
    assert_eq!(
        server.get("files", "/read?key=by/worker.txt").await.status,
        404
    );
    server.wrangler_ok(&project, bucket, "").await;
    server.stop().await;
    assert_eq!(blobs(data.path()), 0);
}

#[tokio::test]
async fn a_dev_session_has_buckets_that_stay() {
    let project = Project::empty();
    project.write("wrangler.jsonc", CONFIG);
    project.write("index.js", WORKER);
    let session = world().dev(&project).start().await;
    let told = session.get("/all").await.ok().json();
    assert_eq!(told["wrong"], json!([]), "{told:#}");
    assert!(told["checked"].as_u64().unwrap() > 60, "{told:#}");
    session.client().text("/write?key=a/key&text=kept").await;
    session.stop().await;
    assert!(project.path().join(".berth/state/r2/index.db").exists());
    let session = world().dev(&project).start().await;
    let read = session.client().text("/read?key=a/key").await;
    assert!(read.ends_with(": kept"), "{read}");
    session.stop().await;
}
