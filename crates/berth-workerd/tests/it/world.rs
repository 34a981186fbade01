//! A project in a temporary directory, and the tools, for the integration tests.

#![allow(clippy::print_stdout, reason = "a test says what it installs")]

use std::path::{Path, PathBuf};

use berth_config::{ContainerApp, DurableObjectBinding, Project, Resources};
use berth_workerd::{
    Bundler, ComposeOptions, ContainerOptions, Listen, LogLevel, Toolchain, TraceOptions, Upstream,
    Workerd, WorkerdError, WorkerdEvent, WorkerdOptions, compose,
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use indexmap::IndexMap;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// The tools, in the cache that all tests of this build share.
pub(crate) async fn toolchain() -> Toolchain {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("berth-cache");
    Toolchain::ensure(&cache, |event| println!("{event:?}"))
        .await
        .unwrap()
}

/// A project on disk.
pub(crate) struct World {
    directory: TempDir,
    pub(crate) project: Project,
    pub(crate) containers: Option<ContainerOptions>,
    pub(crate) trace: Option<TraceOptions>,
}

impl World {
    /// A project with these files whose entry point is `src/index.ts`.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let world = Self {
            project: project(&root),
            containers: None,
            trace: None,
            directory,
        };
        for (path, content) in files {
            world.write(path, content);
        }
        world
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.root().join(".berth/generated/bundle")
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

fn project(root: &Path) -> Project {
    Project {
        config_path: root.join("wrangler.jsonc"),
        main: Some(root.join("src/index.ts")),
        compatibility_date: "2026-11-01".to_owned(),
        ..Project::new("my-app", root)
    }
}

pub(crate) fn object(name: &str, class_name: &str) -> DurableObjectBinding {
    DurableObjectBinding {
        name: name.to_owned(),
        class_name: class_name.to_owned(),
    }
}

pub(crate) fn container(class_name: &str) -> ContainerApp {
    ContainerApp {
        name: "my-app-container".to_owned(),
        class_name: class_name.to_owned(),
        image: None,
        images: IndexMap::new(),
        scheduling_policy: "default".to_owned(),
        instance_type: "lite".to_owned(),
        resources: Resources {
            vcpu: 0.0625,
            memory_mib: 256,
            disk_mb: 2000,
        },
        sleep: None,
        atomic: false,
        max_instances: 1,
        rollout_active_grace_period_s: 0,
        rollout_steps: vec![100],
        rollout_kind: "full_auto".to_owned(),
        regions: Vec::new(),
        jurisdiction: None,
    }
}

impl World {
    pub(crate) fn generated(&self) -> PathBuf {
        self.root().join(".berth/generated")
    }

    fn config(&self) -> PathBuf {
        self.generated().join("workerd.capnp")
    }

    /// Bundles and writes the configuration.
    pub(crate) async fn prepare(&self, listen: &Listen) -> WorkerdOptions {
        let toolchain = toolchain().await;
        let bundle = Bundler::new(&toolchain, &self.out())
            .bundle(&self.project)
            .await;
        let bundle = bundle.map_err(|error| error.to_string()).unwrap();
        let options = ComposeOptions {
            state_dir: self.root().join(".berth/state"),
            listen: listen.clone(),
            containers: self.containers.clone(),
            r2: self.root().join("r2.sock"),
            server: None,
            trace: self.trace.clone(),
        };
        let text = compose(&self.project, &bundle, &options).unwrap();
        std::fs::create_dir_all(self.generated()).unwrap();
        std::fs::write(self.config(), text).unwrap();
        WorkerdOptions {
            executable: toolchain.workerd,
            config: self.config().into(),
            listen: listen.clone(),
            directory: self.root(),
            source_map: bundle.source_map,
        }
    }

    pub(crate) fn socket(&self) -> Listen {
        Listen::Unix(self.root().join("w.sock"))
    }

    pub(crate) async fn try_start(&self) -> Result<Running, WorkerdError> {
        let options = self.prepare(&self.socket()).await;
        let (sender, events) = mpsc::unbounded_channel();
        let workerd = Workerd::start(options, sender).await?;
        Ok(Running { workerd, events })
    }

    pub(crate) async fn start(&self) -> Running {
        match self.try_start().await {
            Ok(running) => running,
            Err(error) => panic!(
                "{error}\n{}",
                std::fs::read_to_string(self.config()).unwrap()
            ),
        }
    }
}

/// A running workerd. Dropping it ends the process.
pub(crate) struct Running {
    pub(crate) workerd: Workerd,
    pub(crate) events: mpsc::UnboundedReceiver<WorkerdEvent>,
}

impl Running {
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.request("GET", path, "").await
    }

    /// The body of a response with status 200.
    pub(crate) async fn text(&self, path: &str) -> String {
        let (status, text) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {text}");
        text
    }

    pub(crate) async fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let upstream = self
            .workerd
            .upstream()
            .borrow()
            .clone()
            .expect("workerd runs");
        let response = send(&upstream, method, path, body).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// The next log line with this in it.
    pub(crate) async fn log(&mut self, needle: &str) -> (LogLevel, String) {
        let wait = async {
            loop {
                match self.events.recv().await.expect("the supervisor runs") {
                    WorkerdEvent::Log { level, text } if text.contains(needle) => {
                        return (level, text);
                    }
                    other => println!("{other:?}"),
                }
            }
        };
        let limit = std::time::Duration::from_secs(20);
        tokio::time::timeout(limit, wait)
            .await
            .expect("the line is printed")
    }
}

pub(crate) async fn send(
    upstream: &Upstream,
    method: &str,
    path: &str,
    body: &str,
) -> Response<hyper::body::Incoming> {
    let Upstream::Unix(socket) = upstream else {
        panic!("{upstream:?}");
    };
    let stream = UnixStream::connect(socket).await.unwrap();
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost:8787")
        .header("berth-cf", r#"{"colo":"DEV"}"#)
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap();
    sender.send_request(request).await.unwrap()
}
