//! The API over a control plane, and a runtime that records what it is asked for.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use berth_api::{Instance, OtherRegistry, RegistryPassword, Runtime, Size, Stored, Usage};
use berth_control::Control;
use berth_control::rollout::Seen;
use berth_control::token::Scope;
use berth_control::worker::Worker;
use berth_logs::{Logs, LogsOptions, Tails};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// Says what it was asked, and refuses what it is told to.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) refuse: Mutex<Option<String>>,
    pub(crate) registries: Mutex<Vec<OtherRegistry>>,
    pub(crate) logs: Mutex<Option<Logs>>,
    pub(crate) tails: Tails,
}

#[async_trait::async_trait]
impl Runtime for Recorder {
    async fn check(&self, worker: &Worker) -> Result<(), String> {
        let version = worker.live().map(|version| version.number);
        self.asked
            .lock()
            .unwrap()
            .push(format!("check {version:?}"));
        self.refuse.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    async fn settled(&self, worker: &str) -> Result<(), String> {
        self.asked.lock().unwrap().push(format!("settled {worker}"));
        Ok(())
    }

    fn url(&self, worker: &str) -> String {
        format!("http://{worker}.example.test")
    }

    fn base_domain(&self) -> String {
        "example.test".to_owned()
    }

    async fn provide_image(&self, reference: &str) -> Result<(), String> {
        self.asked
            .lock()
            .unwrap()
            .push(format!("provide {reference}"));
        self.refuse.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    fn registry_password(
        &self,
        host: Option<&str>,
        push: bool,
        seconds: u64,
    ) -> Option<RegistryPassword> {
        host.is_none_or(|host| host == "registry.test:5000")
            .then(|| RegistryPassword {
                user: "v1".to_owned(),
                password: format!("{push} {seconds}"),
            })
    }

    fn registries(&self) -> Result<Vec<OtherRegistry>, String> {
        Ok(self.registries.lock().unwrap().clone())
    }

    fn add_registry(&self, registry: &OtherRegistry, secret: &str) -> Result<bool, String> {
        if registry.domain.contains('/') {
            return Err(format!("`{}` is no host", registry.domain));
        }
        self.asked.lock().unwrap().push(format!("secret {secret}"));
        let mut known = self.registries.lock().unwrap();
        let new = known.iter().all(|one| one.domain != registry.domain);
        if new {
            known.push(registry.clone());
        }
        Ok(new)
    }

    fn remove_registry(&self, domain: &str) -> Result<Option<OtherRegistry>, String> {
        let mut known = self.registries.lock().unwrap();
        let place = known.iter().position(|one| one.domain == domain);
        Ok(place.map(|place| known.remove(place)))
    }

    fn instances(&self, _namespace_id: &str) -> Vec<Instance> {
        vec![Instance {
            id: "i-1".to_owned(),
            object: "o-1".to_owned(),
            name: "one".to_owned(),
            image: "image:1".to_owned(),
            version: Some(1),
            created: "2026-01-01T00:00:00Z".to_owned(),
            state: "running",
            since: "2026-01-01T00:00:01Z".to_owned(),
            reason: None,
            usage: Usage::default(),
            size: Size::default(),
        }]
    }

    async fn shared_changed(&self, _since: std::time::Instant) -> Result<(), String> {
        Ok(())
    }

    async fn data(
        &self,
        resource: &str,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, String> {
        let asked = format!("data {} {resource} {}", request.method(), request.uri());
        self.asked.lock().unwrap().push(asked);
        Ok(Response::new(Bytes::from_static(b"{}")))
    }

    fn data_directory(&self) -> PathBuf {
        PathBuf::from("/nonexistent")
    }

    async fn call(&self, worker: &str, path: &str, _: Bytes) -> Result<Response<Bytes>, String> {
        let asked = format!("call {worker} {path}");
        self.asked.lock().unwrap().push(asked);
        Ok(Response::new(Bytes::from_static(b"{}")))
    }

    fn workflow_objects(&self, worker: &Worker, workflow: &str) -> Result<Vec<Stored>, String> {
        let asked = format!("objects {} {workflow}", worker.name);
        self.asked.lock().unwrap().push(asked);
        Ok(Vec::new())
    }

    fn seen(&self, _namespace_id: &str) -> Vec<Seen> {
        vec![Seen {
            object: "o-1".to_owned(),
            version: 1,
            since_ms: Some(0),
            listened: true,
            refused: false,
        }]
    }

    fn location(&self) -> String {
        "here".to_owned()
    }

    fn logs(&self) -> Logs {
        self.logs.lock().unwrap().clone().unwrap()
    }

    fn tails(&self) -> Tails {
        self.tails.clone()
    }

    async fn traced(&self, worker: &str) {
        self.asked.lock().unwrap().push(format!("traced {worker}"));
    }
}

pub(crate) struct World {
    pub(crate) _data: tempfile::TempDir,
    pub(crate) control: Control,
    pub(crate) runtime: Arc<Recorder>,
    pub(crate) router: Router,
    pub(crate) token: String,
}

pub(crate) fn world() -> World {
    let data = tempfile::tempdir().unwrap();
    let control = Control::open(&data.path().join("c"), &data.path().join("k")).unwrap();
    let (_, token) = control.make_token("me", Scope::Deploy, None).unwrap();
    let runtime = Arc::new(Recorder::default());
    let logs = Logs::open(&data.path().join("logs"), LogsOptions::default()).unwrap();
    *runtime.logs.lock().unwrap() = Some(logs);
    let router = berth_api::router(control.clone(), Arc::clone(&runtime) as Arc<dyn Runtime>);
    World {
        _data: data,
        control,
        runtime,
        router,
        token,
    }
}

impl World {
    pub(crate) fn account(&self, path: &str) -> String {
        format!("/accounts/{}{path}", self.control.account().id)
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        assert_eq!(response.headers()["content-type"], "application/json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["success"], status.is_success(), "{body}");
        assert!(body["errors"].is_array() && body["messages"].is_array());
        (status, body)
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        body: impl Into<Body>,
    ) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.token))
            .body(body.into());
        self.send(request.unwrap()).await
    }

    pub(crate) async fn upload(
        &self,
        method: &str,
        path: &str,
        metadata: &Value,
    ) -> (StatusCode, Value) {
        let body = format!(
            "--b\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n{metadata}\r\n\
             --b\r\nContent-Disposition: form-data; name=\"index.js\"; filename=\"index.js\"\r\n\
             Content-Type: application/javascript+module\r\n\r\nexport default {{}}\r\n--b--\r\n"
        );
        let request = Request::builder()
            .method(method)
            .uri(self.account(path))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "multipart/form-data; boundary=b")
            .body(body.into());
        self.send(request.unwrap()).await
    }

    pub(crate) async fn deploy(&self) -> Value {
        let metadata = json!({"main_module": "index.js", "compatibility_date": "2026-01-01"});
        let (status, body) = self.upload("PUT", "/workers/scripts/app", &metadata).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body["result"].clone()
    }
}

pub(crate) fn code(body: &Value) -> u64 {
    body["errors"][0]["code"].as_u64().unwrap()
}
