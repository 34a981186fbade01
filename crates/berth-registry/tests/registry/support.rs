//! A server process, a client, and images to push.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use berth_registry::digest::{Algorithm, Digest};
use reqwest::{Body, Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

pub(crate) fn sha256(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, content)
}

/// A server, killed when it goes.
pub(crate) struct Server {
    child: Child,
    config: Value,
    pub(crate) address: String,
    pub(crate) client: Client,
    directory: Option<tempfile::TempDir>,
    pub(crate) crash: PathBuf,
}

fn command(config: &Value) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth-registry-test-server"));
    command.arg(config.to_string()).stdin(Stdio::null());
    // Of the bucket, which takes any.
    command
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test");
    command.env("AWS_REGION", "us-east-1").env("NO_PROXY", "*");
    command
}

fn spawn(config: &Value, crash: &Path) -> (Child, String) {
    let mut child = command(config)
        .env(berth_crash::VARIABLE, crash)
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the server");
    let mut line = String::new();
    let out = child.stdout.take().expect("a pipe");
    BufReader::new(out)
        .read_line(&mut line)
        .expect("read its address");
    (child, line.trim().to_owned())
}

impl Server {
    /// A server with a directory of its own that behaves like this.
    pub(crate) fn start(config: Value) -> Self {
        let directory = tempfile::tempdir().expect("make a directory");
        let mut server = Self::start_in(&directory.path().join("data"), config);
        server.directory = Some(directory);
        server
    }

    pub(crate) fn start_in(data: &Path, mut config: Value) -> Self {
        config["data"] = json!(data);
        let crash = tempfile::tempdir().expect("make a directory").keep();
        let (child, address) = spawn(&config, &crash);
        assert!(address.contains(':'), "the server did not start");
        provide_cryptography();
        let client = Client::builder()
            .no_proxy()
            // A connection that the server is about to close is not used again.
            .pool_max_idle_per_host(0)
            .timeout(Duration::from_secs(60))
            .build()
            .expect("make a client");
        Self {
            child,
            config,
            address,
            client,
            directory: None,
            crash,
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        PathBuf::from(self.config["data"].as_str().expect("a path"))
    }

    /// Kills it without a word.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it has killed itself.
    pub(crate) fn died(&mut self) {
        let status = self.child.wait().expect("wait for the server");
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(9), "{status}");
    }

    /// Another process over the same data.
    pub(crate) fn restart(&mut self) {
        self.kill();
        (self.child, self.address) = spawn(&self.config, &self.crash);
    }

    /// Collects garbage in a process beside the server.
    pub(crate) fn collect_beside(&self, grace_ms: u64) -> Value {
        let mut config = self.config.clone();
        config["gc"] = json!(true);
        config["grace_ms"] = json!(grace_ms);
        let output = command(&config).output().expect("run the collector");
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("what it collected")
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        self.client.request(method, self.url(path))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        Answer::of(
            self.request(method, path)
                .body(body)
                .send()
                .await
                .expect("an answer"),
        )
        .await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request("GET", path).send().await.expect("an answer")).await
    }

    /// Begins an upload; the path of its location.
    pub(crate) async fn begin(&self, repository: &str) -> String {
        let answer = self
            .send("POST", &format!("/v2/{repository}/blobs/uploads/"), "")
            .await;
        answer.expect(202).header("location")
    }

    pub(crate) async fn push_blob(&self, repository: &str, content: &[u8]) -> Digest {
        let digest = sha256(content);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        self.send("POST", &path, content.to_vec()).await.expect(201);
        digest
    }

    pub(crate) async fn push_manifest(
        &self,
        repository: &str,
        reference: &str,
        manifest: &Value,
    ) -> Answer {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let kind = manifest["mediaType"].as_str().unwrap_or(IMAGE);
        let request = self.request("PUT", &path).header("content-type", kind);
        Answer::of(
            request
                .body(manifest.to_string())
                .send()
                .await
                .expect("an answer"),
        )
        .await
    }

    /// Pushes an image of one layer; its manifest.
    pub(crate) async fn push_image(&self, repository: &str, tag: &str, layer: &[u8]) -> Value {
        let image = Image::new(layer);
        image.push_blobs(self, repository).await;
        self.push_manifest(repository, tag, &image.manifest)
            .await
            .expect(201);
        image.manifest
    }

    /// Everything of an image is there, byte for byte.
    pub(crate) async fn check_image(&self, repository: &str, reference: &str) {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let manifest = self.get(&path).await.expect(200);
        let digest = manifest.header("docker-content-digest");
        assert_eq!(sha256(&manifest.body).to_string(), digest);
        let manifest = manifest.json();
        let layers = manifest["layers"].as_array().expect("layers").iter();
        for blob in layers.chain([&manifest["config"]]) {
            let digest = blob["digest"].as_str().expect("a digest");
            let answer = self
                .get(&format!("/v2/{repository}/blobs/{digest}"))
                .await
                .expect(200);
            assert_eq!(sha256(&answer.body).to_string(), digest);
        }
    }
}

/// The client is built for TLS too, which needs to know whose cryptography it is.
pub(crate) fn provide_cryptography() {
    // Another test of this process may have been first.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.crash);
    }
}

/// An answer that has been read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        Self {
            status: response.status(),
            headers: response.headers().clone(),
            body: response.bytes().await.expect("a whole answer").to_vec(),
        }
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{text}");
        self
    }

    /// An error with this status and code.
    #[track_caller]
    pub(crate) fn error(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.json()["errors"][0]["code"], code);
        answer
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> String {
        let value = self
            .headers
            .get(name)
            .unwrap_or_else(|| panic!("no `{name}`: {self:?}"));
        value.to_str().expect("text").to_owned()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.contains_key(name)
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

/// An image of one layer.
pub(crate) struct Image {
    config: Vec<u8>,
    layer: Vec<u8>,
    pub(crate) manifest: Value,
}

pub(crate) fn descriptor(kind: &str, content: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": sha256(content).to_string(), "size": content.len()})
}

impl Image {
    pub(crate) fn new(layer: &[u8]) -> Self {
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [sha256(layer).to_string()]},
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
        });
        Self {
            config,
            layer: layer.to_vec(),
            manifest,
        }
    }

    pub(crate) fn digest(&self) -> Digest {
        sha256(self.manifest.to_string().as_bytes())
    }

    pub(crate) async fn push_blobs(&self, server: &Server, repository: &str) {
        server.push_blob(repository, &self.config).await;
        server.push_blob(repository, &self.layer).await;
    }
}
