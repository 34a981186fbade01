//! Bytes in a bucket: against moto, a stand-in for S3 that pip installs.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use futures_util::StreamExt as _;
use object_store::path::Path as Key;
use object_store::{ObjectStore as _, ObjectStoreExt as _, PutPayload};
use rustix::fs::FlockOperation;

use crate::support::{Server, bytes, client, provider};

struct S3 {
    child: Child,
    endpoint: String,
}

/// Installs it once for all runs.
fn moto() -> std::path::PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let environment = root.join("moto-5.2.5");
    let lock = File::create(root.join("moto.lock")).unwrap();
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
    if !environment.join("complete").exists() {
        let _ = std::fs::remove_dir_all(&environment);
        let mut python = Command::new("python3");
        python.args(["-m", "venv"]).arg(&environment);
        assert!(
            python.status().unwrap().success(),
            "python3 makes no environment"
        );
        let mut pip = Command::new(environment.join("bin/pip"));
        pip.args([
            "install",
            "-q",
            "--disable-pip-version-check",
            "moto[server]==5.2.5",
        ]);
        assert!(pip.status().unwrap().success(), "pip installs no moto");
        File::create(environment.join("complete")).unwrap();
    }
    environment.join("bin/moto_server")
}

impl S3 {
    /// With one bucket, `bytes`.
    async fn start() -> Self {
        let mut command = Command::new(moto());
        command.args(["-H", "127.0.0.1", "-p", "0"]);
        let mut child = command
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let endpoint = lines
            .by_ref()
            .find_map(|line| Some(line.unwrap().split_once("Running on ")?.1.trim().to_owned()))
            .expect("moto says where it listens");
        // It writes a line for each request; nobody wants them.
        std::thread::spawn(move || lines.for_each(drop));
        let s3 = Self { child, endpoint };
        let web = reqwest::Client::builder().no_proxy().build().unwrap();
        let made = web
            .put(format!("{}/bytes", s3.endpoint))
            .send()
            .await
            .unwrap();
        assert!(made.status().is_success());
        s3
    }

    async fn count(&self) -> usize {
        client(&self.endpoint, "x", "bytes")
            .list(None)
            .count()
            .await
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn bytes_are_in_the_bucket_and_whole_wherever_the_server_dies() {
    provider();
    let s3 = S3::start().await;
    let (directory, crash) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    {
        let store = berth_r2::R2::open(directory.path()).unwrap();
        store
            .create_bucket("bucket", Default::default())
            .await
            .unwrap();
    }
    let start = || Server::start(directory.path(), Some(crash.path()), Some(&s3.endpoint));
    let key = Key::from("key");
    let mut expected = Vec::new();
    // The larger one goes there in parts.
    for (point, size) in [
        ("", 1000),
        ("r2.bucket.written", 20 << 20),
        ("r2.bucket.finished", 9 << 20),
    ] {
        let server = start();
        let client = server.client("writer", "bucket");
        let content = bytes(size as u64, size);
        if !point.is_empty() {
            std::fs::write(crash.path().join(point), "").unwrap();
        }
        let payload = PutPayload::from(content.clone());
        let done = client.put(&key, payload.clone()).await.is_ok();
        if point.is_empty() {
            assert!(done);
            expected = content;
        } else {
            assert!(!done, "{point}");
            server.dead();
            let server = start();
            let client = server.client("writer", "bucket");
            let found = client.get(&key).await.unwrap().bytes().await.unwrap();
            assert!(found == expected, "{point}");
            assert_eq!(s3.count().await, 1, "{point}: swept");
            client.put(&key, payload).await.unwrap();
            expected = content;
            let range = client.get_range(&key, 5_000_000..8_500_000).await.unwrap();
            assert!(range == expected[5_000_000..8_500_000]);
        }
    }
    let server = start();
    server
        .client("writer", "bucket")
        .delete(&key)
        .await
        .unwrap();
    for _ in 0..500 {
        if s3.count().await == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the bytes are still there");
}
