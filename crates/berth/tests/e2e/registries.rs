//! Images from and to registries, by every command that does it: against Debian's `docker-registry`
//! and our own, with credentials from wherever they are kept.

mod credentials;
mod projects;
mod transfers;

use std::process::{Output, Stdio};

use berth_test::{Project, World};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::world;

/// A machine of its own: data directory, home, and programs in its `PATH`.
struct Machine {
    world: World,
    directory: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["home/.docker", "data", "bin"] {
            std::fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        Self {
            world: world(),
            directory,
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    async fn input(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.world.command();
        let path = format!(
            "{}:{}",
            self.path("bin").display(),
            std::env::var("PATH").unwrap()
        );
        command
            .args(arguments)
            .env("BERTH_DATA_DIR", self.path("data"))
            .env("HOME", self.path("home"))
            .env("PATH", path)
            .env_remove("DOCKER_CONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        child.wait_with_output().await.unwrap()
    }

    /// Its own registry, and where that listens.
    async fn registry(&self, listen: &str) -> (tokio::process::Child, String) {
        use tokio::io::AsyncBufReadExt as _;
        let mut command = self.world.command();
        command
            .args(["registry", "serve", "--listen", listen, "--json"])
            .env("BERTH_DATA_DIR", self.path("data"))
            .stdout(Stdio::piped());
        let mut server = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let out = server.stdout.take().unwrap();
        let mut lines = tokio::io::BufReader::new(out).lines();
        let line = lines.next_line().await.unwrap().unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        (server, ready["address"].as_str().unwrap().to_owned())
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        self.input(arguments, "").await
    }

    /// What it prints, if it succeeds.
    async fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it complains about.
    async fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// An image of one file.
    async fn import(&self, name: &str) {
        let tree = Project::empty();
        tree.write("etc/motd", format!("this is {name}\n"));
        let tar = self.path("rootfs.tar");
        let status = std::process::Command::new("tar")
            .args(["--create", "--file"])
            .arg(&tar)
            .arg("--directory")
            .arg(tree.path())
            .arg(".")
            .status()
            .unwrap();
        assert!(status.success());
        self.ok(&["images", "import", tar.to_str().unwrap(), name])
            .await;
    }

    fn docker_config(&self) -> Value {
        let text = std::fs::read(self.path("home/.docker/config.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}

fn lines_of(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
