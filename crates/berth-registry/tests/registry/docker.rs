//! Docker's own client and daemon, from Debian, in a directory of their own: login, push, pull,
//! by digest and after a deletion, with Docker's token protocol over plain HTTP.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use berth_distribution::{Client, ClientOptions, Credential, Keyring, PushOptions, Registries};
use berth_image::{ImageStore, Reference};
use serde_json::json;

use crate::clients::{apt_install, layer, password};
use crate::support::Server;

const PATIENCE: Duration = Duration::from_secs(60);
/// Debian's; another one may come first in `PATH`.
const CLIENT: &str = "/usr/bin/docker";
const DAEMON: &str = "/usr/sbin/dockerd";

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if !(Path::new(CLIENT).exists() && Path::new(DAEMON).exists()) {
            apt_install(&["docker.io"]);
        }
    });
}

/// A daemon with everything of it in one directory, without network rules. It ends with this.
struct Docker {
    directory: tempfile::TempDir,
    daemon: Child,
}

impl Docker {
    fn start() -> Self {
        install();
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let log = std::fs::File::create(path("log")).unwrap();
        let daemon = Command::new(DAEMON)
            .arg("--host")
            .arg(format!("unix://{}", path("docker.sock").display()))
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .args(["--storage-driver=vfs", "--log-level=warn"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut docker = Self { directory, daemon };
        let began = Instant::now();
        while !docker.run(&["version"]).status.success() {
            let ended = docker.daemon.try_wait().unwrap();
            if ended.is_some() || began.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(docker.path("log")).unwrap_or_default();
                panic!("dockerd does not answer ({ended:?}): {log}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        docker
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(CLIENT);
        let socket = self.path("docker.sock");
        command
            .env_remove("DOCKER_CONTEXT")
            .env("DOCKER_HOST", format!("unix://{}", socket.display()))
            .env("DOCKER_CONFIG", self.path("config"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// Standard output of a command that succeeds.
    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error of a command that fails.
    #[track_caller]
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "docker {arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Logs in as people do who know that arguments are seen by others.
    fn login(&self, host: &str, password: &str) -> Output {
        use std::io::Write as _;
        let mut child = self
            .command()
            .args(["login", "--username", "v1", "--password-stdin", host])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(password.as_bytes()).unwrap();
        drop(input);
        child.wait_with_output().unwrap()
    }

    /// What is in a file of an image.
    fn file(&self, image: &str, path: &str) -> String {
        let container = self.ok(&["create", image, "/none"]);
        let container = container.trim();
        let to = self.path("copied");
        let from = format!("{container}:{path}");
        self.ok(&["cp", &from, to.to_str().unwrap()]);
        self.ok(&["rm", container]);
        std::fs::read_to_string(to).unwrap()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let pid = i32::try_from(self.daemon.id()).unwrap_or_default();
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        // It ends its containerd and what it has mounted.
        let began = Instant::now();
        while matches!(self.daemon.try_wait(), Ok(None)) && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_logs_in_pushes_pulls_and_finds_by_digest() {
    let docker = Docker::start();
    let server = Server::start(json!({"anonymous": "nothing"}));
    let host = &server.address;
    let tar = docker.path("layer.tar");
    std::fs::write(&tar, layer()).unwrap();
    docker.ok(&["import", tar.to_str().unwrap(), "made:1"]);
    let name = format!("{host}/team/app:1");
    docker.ok(&["tag", "made:1", &name]);

    // Nobody pushes without a login, and a wrong password is none.
    let error = docker.refused(&["push", &name]);
    assert!(
        error.contains("no basic auth credentials") || error.contains("unauthorized"),
        "{error}"
    );
    assert!(!docker.login(host, "wrong").status.success());
    let login = docker.login(host, &password());
    assert!(login.status.success(), "{login:?}");
    let pushed = docker.ok(&["push", &name]);
    let digest = pushed
        .split_whitespace()
        .find(|word| word.starts_with("sha256:"));
    let digest = digest
        .unwrap_or_else(|| panic!("no digest: {pushed}"))
        .to_owned();
    // Everything is there already.
    let again = docker.ok(&["push", &name]);
    assert!(
        again.contains("Layer already exists") && again.contains(&digest),
        "{again}"
    );
    // To another repository: the blobs are mounted from the first one.
    let other = format!("{host}/other/app:2");
    docker.ok(&["tag", "made:1", &other]);
    let mounted = docker.ok(&["push", &other]);
    assert!(mounted.contains("Mounted from team/app"), "{mounted}");

    let by_digest = format!("{host}/team/app@{digest}");
    docker.ok(&["rmi", "--force", "made:1", &name, &other]);
    let pulled = docker.ok(&["pull", &name]);
    assert!(pulled.contains(&format!("Digest: {digest}")), "{pulled}");
    assert_eq!(docker.file(&name, "/hello"), "hello\n");
    docker.ok(&["rmi", "--force", &name]);
    docker.ok(&["pull", &by_digest]);
    assert_eq!(docker.file(&by_digest, "/hello"), "hello\n");
    let manifest = docker.ok(&["manifest", "inspect", "--insecure", &name]);
    assert!(manifest.contains("manifest.v2+json"), "{manifest}");

    // Deleted, it is gone for Docker, too.
    let path = format!("/v2/team/app/manifests/{digest}");
    let deletion = server.request("DELETE", &path);
    let answer = deletion
        .basic_auth("v1", Some(password()))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 202);
    docker.ok(&["rmi", "--force", &by_digest]);
    let error = docker.refused(&["pull", &name]);
    assert!(
        error.contains("not found") || error.contains("unknown"),
        "{error}"
    );
    // The daemon may still remember a manifest by its digest; its client asks.
    docker.refused(&["manifest", "inspect", "--insecure", &by_digest]);
    docker.ok(&["pull", &other]);
    docker.ok(&["logout", host]);
    docker.ok(&["rmi", "--force", &other]);
    docker.refused(&["pull", &other]);
}

/// What our client pushes without being told how is read by Debian's Docker, which is older than
/// zstd in Docker.
#[tokio::test(flavor = "multi_thread")]
async fn docker_pulls_what_our_client_pushes() {
    let docker = Docker::start();
    let server = Server::start(json!({"anonymous": "nothing"}));
    let host = &server.address;
    let store = ImageStore::open(&docker.path("store")).unwrap();
    let base = store.import_rootfs(layer().as_slice(), "base").unwrap();
    let tree = tempfile::tempdir_in(store.scratch_dir()).unwrap();
    std::fs::write(tree.path().join("built"), "built here\n").unwrap();
    let built = store.add_layer(tree.path()).unwrap().unwrap();
    let layers = vec![base.layers[0].clone(), built];
    let image = store.put_image_json(json!({}), layers).unwrap();
    let credential = Credential::password("v1", password(), "the test");
    let keyring = Keyring::only(host, credential);
    let client = Client::new(Registries::default(), keyring, ClientOptions::default());
    let name: Reference = format!("{host}/team/built:1").parse().unwrap();
    let options = PushOptions::default();
    let pushed = client
        .push(&store, &image, &name, &options, &|_| {})
        .await
        .unwrap();
    assert!(docker.login(host, &password()).status.success());
    let name = name.to_string();
    let pulled = docker.ok(&["pull", &name]);
    assert!(pulled.contains(&pushed.digest.to_string()), "{pulled}");
    assert_eq!(docker.file(&name, "/hello"), "hello\n");
    assert_eq!(docker.file(&name, "/built"), "built here\n");
}
