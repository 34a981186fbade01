//! The API as a client sees it, with a runtime that runs nothing.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use berth_api::{Instance, OtherRegistry, RegistryPassword, Runtime, Size, Stored, Usage};
use berth_control::Control;
use berth_control::rollout::Seen;
use berth_control::token::Scope;
use berth_control::worker::Worker;
use berth_logs::{Entry, Level, Logs, LogsOptions, Source, Tails};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// Says what it was asked, and refuses what it is told to.
#[derive(Default)]
struct Recorder {
    asked: Mutex<Vec<String>>,
    refuse: Mutex<Option<String>>,
    registries: Mutex<Vec<OtherRegistry>>,
    logs: Mutex<Option<Logs>>,
    tails: Tails,
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

struct World {
    _data: tempfile::TempDir,
    control: Control,
    runtime: Arc<Recorder>,
    router: Router,
    token: String,
}

fn world() -> World {
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
    fn account(&self, path: &str) -> String {
        format!("/accounts/{}{path}", self.control.account().id)
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        assert_eq!(response.headers()["content-type"], "application/json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["success"], status.is_success(), "{body}");
        assert!(body["errors"].is_array() && body["messages"].is_array());
        (status, body)
    }

    async fn call(&self, method: &str, path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.token))
            .body(body.into());
        self.send(request.unwrap()).await
    }

    async fn upload(&self, method: &str, path: &str, metadata: &Value) -> (StatusCode, Value) {
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

    async fn deploy(&self) -> Value {
        let metadata = json!({"main_module": "index.js", "compatibility_date": "2026-01-01"});
        let (status, body) = self.upload("PUT", "/workers/scripts/app", &metadata).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body["result"].clone()
    }
}

fn code(body: &Value) -> u64 {
    body["errors"][0]["code"].as_u64().unwrap()
}

#[tokio::test]
async fn nothing_without_a_token_that_allows_it() {
    let world = world();
    let path = world.account("/workers/scripts");
    for header in [
        None,
        Some("Bearer nobody"),
        Some("Basic bWU6eA=="),
        Some("Bearer"),
    ] {
        let mut request = Request::builder().uri(&path);
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let (status, body) = world.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(
            (status, code(&body)),
            (StatusCode::UNAUTHORIZED, 10000),
            "{header:?}"
        );
    }
    let (_, reader) = world.control.make_token("ci", Scope::Read, None).unwrap();
    let reading = World {
        token: reader,
        ..world
    };
    assert_eq!(reading.call("GET", &path, "").await.0, StatusCode::OK);
    let delete = reading.account("/workers/services/app");
    let (status, body) = reading.call("DELETE", &delete, "").await;
    assert_eq!((status, code(&body)), (StatusCode::FORBIDDEN, 9109));
    let (status, body) = reading
        .call("GET", "/accounts/another/workers/scripts", "")
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(body.to_string().contains("`another`"), "{body}");
}

#[tokio::test]
async fn whoami_agrees_on_the_account() {
    let world = world();
    let id = &world.control.account().id;
    let (_, accounts) = world.call("GET", "/accounts?page=1", "").await;
    let (_, members) = world.call("GET", "/memberships?page=1", "").await;
    assert_eq!(&accounts["result"][0]["id"], id);
    assert_eq!(&members["result"][0]["account"]["id"], id);
    let (_, verified) = world.call("GET", "/user/tokens/verify", "").await;
    assert_eq!(verified["result"]["status"], "active");
}

#[tokio::test]
async fn what_is_not_there_has_cloudflares_codes() {
    let world = world();
    for (method, path, expected) in [
        ("GET", "/workers/services/app", 10007),
        ("GET", "/workers/scripts/app/secrets", 10007),
        ("GET", "/workers/scripts/app/deployments", 10007),
        ("GET", "/workers/scripts/app/versions/x", 10007),
        ("GET", "/workers/workers/app", 10007),
        ("GET", "/workers/nothing", 7000),
        ("GET", "/r2/buckets/none", 10006),
        ("PUT", "/workers/scripts/app/subdomain", 0),
        ("PUT", "/workers/scripts/app", 0),
        ("POST", "/workers/scripts/app/deployments?force=perhaps", 0),
    ] {
        let (status, body) = world.call(method, &world.account(path), "{}").await;
        if expected == 0 {
            assert!(!status.is_success(), "{path}");
            continue;
        }
        assert_eq!(
            (status, code(&body)),
            (StatusCode::NOT_FOUND, expected),
            "{path}"
        );
    }
    world.deploy().await;
    let (status, body) = world
        .call("GET", &world.account("/workers/scripts/app/versions/x"), "")
        .await;
    assert_eq!((status, code(&body)), (StatusCode::NOT_FOUND, 100_146));
}

#[tokio::test]
async fn an_upload_is_tried_out_before_it_is_live() {
    let world = world();
    let uploaded = world.deploy().await;
    let id = uploaded["deployment_id"].as_str().unwrap();
    assert_eq!(
        *world.runtime.asked.lock().unwrap(),
        ["check Some(1)", "settled app"]
    );
    *world.runtime.refuse.lock().unwrap() = Some("it throws".to_owned());
    let metadata = json!({"main_module": "index.js"});
    let (status, body) = world.upload("PUT", "/workers/scripts/app", &metadata).await;
    assert_eq!((status, code(&body)), (StatusCode::BAD_REQUEST, 10021));
    assert!(body.to_string().contains("it throws"));
    let worker = world.control.worker("app").unwrap();
    assert_eq!(
        (worker.versions.len(), worker.live().unwrap().id.as_str()),
        (1, id)
    );
    let (_, service) = world
        .call("GET", &world.account("/workers/services/app"), "")
        .await;
    let script = &service["result"]["default_environment"]["script"];
    assert_eq!(script["last_deployed_from"], "wrangler");
    assert!(script.get("migration_tag").is_none(), "absent, not null");
}

#[tokio::test]
async fn versions_are_deployed_whole() {
    let world = world();
    world.deploy().await;
    let metadata = json!({"main_module": "index.js", "annotations": {"workers/message": "two"}});
    let (_, made) = world
        .upload("POST", "/workers/scripts/app/versions", &metadata)
        .await;
    let version = made["result"]["id"].as_str().unwrap();
    assert!(made["result"]["resources"]["script"]["etag"].is_string());
    let deployments = world.account("/workers/scripts/app/deployments");
    for (body, expected) in [
        ("nonsense".to_owned(), "cannot be understood"),
        (json!({"strategy": "percentage", "versions": []}).to_string(), "100 %"),
        (
            json!({"strategy": "percentage", "versions": [{"version_id": version, "percentage": 50}]}).to_string(),
            "100 %",
        ),
    ] {
        let (status, answer) = world.call("POST", &deployments, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(answer.to_string().contains(expected), "{answer}");
    }
    let body = json!({"strategy": "percentage", "versions": [{"version_id": version, "percentage": 100}],
                      "annotations": {"workers/message": null}});
    let (status, _) = world.call("POST", &deployments, body.to_string()).await;
    assert_eq!(status, StatusCode::OK);
    let (_, listed) = world.call("GET", &deployments, "").await;
    let newest = &listed["result"]["deployments"][0];
    assert_eq!(
        newest["versions"],
        json!([{"version_id": version, "percentage": 100}])
    );
}

#[tokio::test]
async fn secrets_go_in_and_never_come_out() {
    let world = world();
    world.deploy().await;
    let secrets = world.account("/workers/scripts/app/secrets");
    let body = json!({"name": "KEY", "text": "hunter2", "type": "secret_text"}).to_string();
    assert_eq!(world.call("PUT", &secrets, body).await.0, StatusCode::OK);
    let bulk = json!({"secrets": {"KEY": null, "OTHER": {"name": "OTHER", "text": "swordfish", "type": "secret_text"}}});
    let path = world.account("/workers/scripts/app/secrets-bulk");
    assert_eq!(
        world.call("PATCH", &path, bulk.to_string()).await.0,
        StatusCode::OK
    );
    let (_, listed) = world.call("GET", &secrets, "").await;
    assert_eq!(
        listed["result"],
        json!([{"name": "OTHER", "type": "secret_text"}])
    );
    for path in ["/settings", "/versions", "/script-settings"] {
        let path = world.account(&format!("/workers/scripts/app{path}"));
        let (_, body) = world.call("GET", &path, "").await;
        let text = body.to_string();
        assert!(
            !text.contains("hunter2") && !text.contains("swordfish"),
            "{text}"
        );
    }
    let gone = world.call("DELETE", &format!("{secrets}/KEY"), "").await;
    assert_eq!((gone.0, code(&gone.1)), (StatusCode::NOT_FOUND, 10056));
}

#[tokio::test]
async fn triggers_and_settings_are_echoed() {
    let world = world();
    world.deploy().await;
    let subdomain = world.account("/workers/scripts/app/subdomain");
    let (_, answer) = world.call("POST", &subdomain, r#"{"enabled": true}"#).await;
    assert_eq!(
        answer["result"],
        json!({"enabled": true, "previews_enabled": false})
    );
    let (_, worker) = world
        .call("GET", &world.account("/workers/workers/app"), "")
        .await;
    assert_eq!(
        worker["result"]["subdomain"]["url"],
        "http://app.example.test"
    );
    let schedules = world.account("/workers/scripts/app/schedules");
    let (_, answer) = world
        .call("PUT", &schedules, r#"[{"cron": "* * * * *"}]"#)
        .await;
    assert_eq!(answer["result"]["schedules"][0]["cron"], "* * * * *");
    let settings = world.account("/workers/scripts/app/script-settings");
    world
        .call("PATCH", &settings, r#"{"tags": ["a"], "logpush": true}"#)
        .await;
    let (_, answer) = world.call("PATCH", &settings, r#"{"logpush": null}"#).await;
    assert_eq!(answer["result"], json!({"tags": ["a"]}));
}

#[tokio::test]
async fn an_application_comes_back_as_it_was_sent() {
    let world = world();
    let metadata = json!({"main_module": "index.js", "containers": [{"class_name": "A"}],
        "migrations": {"new_tag": "v1", "steps": [{"new_sqlite_classes": ["A"]}]}});
    let (status, _) = world.upload("PUT", "/workers/scripts/app", &metadata).await;
    assert_eq!(status, StatusCode::OK);
    let (_, namespaces) = world
        .call(
            "GET",
            &world.account("/workers/durable_objects/namespaces?per_page=1000&page=1"),
            "",
        )
        .await;
    let namespace = namespaces["result"][0]["id"].as_str().unwrap();
    let (_, second) = world
        .call(
            "GET",
            &world.account("/workers/durable_objects/namespaces?page=2"),
            "",
        )
        .await;
    assert_eq!(second["result"], json!([]));
    let sent = json!({"name": "app-a", "scheduling_policy": "default", "max_instances": 3,
        "configuration": {"image": "image:1", "instance_type": "lite"},
        "constraints": {"tiers": [1, 2]}, "durable_objects": {"namespace_id": namespace},
        "rollout_active_grace_period": 0});
    let path = world.account("/containers/applications");
    let (status, made) = world.call("POST", &path, sent.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let id = made["result"]["id"].as_str().unwrap();
    let (_, listed) = world.call("GET", &path, "").await;
    for (name, value) in sent.as_object().unwrap() {
        assert_eq!(&listed["result"][0][name], value, "{name}");
    }
    let rollout = json!({"description": "d", "strategy": "rolling", "kind": "full_auto", "step_percentage": 100,
        "target_configuration": {"image": "image:2", "instance_type": "lite"}});
    let rollouts = format!("{path}/{id}/rollouts");
    *world.runtime.refuse.lock().unwrap() = Some("no such image".to_owned());
    let (status, refused) = world.call("POST", &rollouts, rollout.to_string()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(refused.to_string().contains("no such image"));
    let (_, unchanged) = world.call("GET", &format!("{path}/{id}"), "").await;
    assert_eq!(unchanged["result"]["configuration"]["image"], "image:1");
    *world.runtime.refuse.lock().unwrap() = None;
    let (status, rolled) = world.call("POST", &rollouts, rollout.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{rolled}");
    let (_, dash) = world
        .call("GET", &world.account("/containers/dash/applications"), "")
        .await;
    assert_eq!(dash["result"][0]["image"], "image:1", "it is under way");
    let (_, shown) = world.call("GET", &format!("{path}/{id}"), "").await;
    assert_eq!(shown["result"]["configuration"]["image"], "image:2");
    let one = format!(
        "{rollouts}/{}",
        shown["result"]["active_rollout_id"].as_str().unwrap()
    );
    let (_, shown) = world.call("GET", &one, "").await;
    let shown = &shown["result"];
    assert_eq!(
        (&shown["status"], &shown["kind"]),
        (&json!("pending"), &json!("full_auto"))
    );
    assert_eq!(shown["current_configuration"]["image"], "image:1");
    let step =
        json!({"id": 1, "step_size": {"percentage": 100}, "description": "", "status": "pending"});
    assert_eq!(shown["steps"], json!([step]));
    let progress =
        json!({"total_steps": 1, "current_step": 0, "updated_instances": 0, "total_instances": 1});
    assert_eq!(shown["progress"], progress);
    let (status, acted) = world.call("POST", &one, r#"{"action": "next"}"#).await;
    assert_eq!(status, StatusCode::OK, "{acted}");
    assert_eq!(acted["result"]["rollout"]["status"], "progressing");
    let (_, acted) = world.call("POST", &one, r#"{"action": "revert"}"#).await;
    assert_eq!(acted["result"]["rollout"]["steps"][0]["status"], "reverted");
    let (status, refused) = world.call("POST", &one, r#"{"action": "next"}"#).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(refused.to_string().contains("is over"), "{refused}");
    let (status, _) = world.call("GET", &format!("{rollouts}/nope"), "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(dash["result"][0]["health"]["instances"]["active"], 1);
    let instances = world.account(&format!("/containers/dash/applications/{id}/instances"));
    let (_, shown) = world.call("GET", &instances, "").await;
    assert_eq!(
        shown["result"]["durable_objects"][0]["deployment_id"],
        "i-1"
    );
    let (status, gone) = world.call("DELETE", &format!("{path}/{id}"), "").await;
    assert_eq!(
        (status, &gone["result"]),
        (StatusCode::OK, &json!({})),
        "never 204"
    );
    let (status, _) = world.call("GET", &format!("{path}/{id}"), "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, bad) = world.call("POST", &path, "{}").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(bad.to_string().contains("`name` is missing"), "{bad}");
}

#[tokio::test]
async fn passwords_are_for_the_own_registry() {
    let world = world();
    let path = world.account("/containers/registries/registry.test:5000/credentials");
    let (_, answer) = world
        .call(
            "POST",
            &path,
            r#"{"expiration_minutes": 15, "permissions": ["push", "pull"]}"#,
        )
        .await;
    assert_eq!(answer["result"]["username"], "v1");
    assert_eq!(answer["result"]["password"], "true 900");
    let path = world.account("/containers/registries/docker.io/credentials");
    let (status, _) = world.call("POST", &path, "{}").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn registries_have_credentials_once() {
    let world = world();
    let path = world.account("/containers/registries");
    let new = |domain: &str| {
        json!({
            "domain": domain, "is_public": false, "kind": "DockerHub",
            "auth": {"public_credential": "me", "private_credential": "hunter2"},
        })
        .to_string()
    };
    let (status, body) = world.call("POST", &path, new("docker.io")).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert!(!body.to_string().contains("hunter2"));
    assert_eq!(world.runtime.asked.lock().unwrap()[0], "secret hunter2");
    let (status, _) = world.call("POST", &path, new("docker.io")).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let (status, _) = world.call("POST", &path, new("a/b")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let public = r#"{"domain": "x.io", "is_public": true}"#;
    let (status, _) = world.call("POST", &path, public).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (_, body) = world.call("GET", &path, "").await;
    assert_eq!(body["result"][0]["domain"], "docker.io");
    let one = format!("{path}/docker.io");
    let (_, body) = world.call("DELETE", &one, "").await;
    assert_eq!(body["result"]["domain"], "docker.io");
    let (status, _) = world.call("DELETE", &one, "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn schedules_that_would_not_start_change_nothing() {
    let world = world();
    world.deploy().await;
    let path = world.account("/workers/scripts/app/schedules");
    let set = |cron: &str| json!([{ "cron": cron }]).to_string();
    let (status, _) = world.call("PUT", &path, set("0 2 * * *")).await;
    assert_eq!(status, StatusCode::OK);
    for bad in ["", "daily", "61 * * * *"] {
        let (status, body) = world.call("PUT", &path, set(bad)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(body.to_string().contains("not a cron expression"), "{body}");
    }
    // What only workerd refuses.
    *world.runtime.refuse.lock().unwrap() = Some("no".to_owned());
    let (status, _) = world.call("PUT", &path, set("1 2 * * *")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (_, body) = world.call("GET", &path, "").await;
    assert_eq!(body["result"]["schedules"], json!([{"cron": "0 2 * * *"}]));
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked_by_an_administrator_only() {
    let world = world();
    let body = json!({"name": "ci", "scope": "read"}).to_string();
    let (status, refused) = world.call("POST", "/user/tokens", body.clone()).await;
    assert_eq!((status, code(&refused)), (StatusCode::FORBIDDEN, 9109));
    let (own, admin) = world
        .control
        .make_token("root", Scope::Admin, None)
        .unwrap();
    let world = World {
        token: admin,
        ..world
    };
    for (body, said) in [
        (json!({"scope": "read"}), "name"),
        (json!({"name": " ", "scope": "read"}), "name"),
        (json!({"name": "x"}), "scope"),
        (json!({"name": "x", "scope": "root"}), "`root`"),
        (
            json!({"name": "x", "scope": "read", "expires_on": "yesterday"}),
            "`yesterday`",
        ),
        (
            json!({"name": "x", "scope": "read", "expires_on": "2001-01-01T00:00:00Z"}),
            "2001",
        ),
    ] {
        let (status, refused) = world.call("POST", "/user/tokens", body.to_string()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{refused}");
        assert!(refused.to_string().contains(said), "{refused}");
    }
    let (_, made) = world.call("POST", "/user/tokens", body).await;
    let id = made["result"]["id"].as_str().unwrap().to_owned();
    let text = made["result"]["value"].as_str().unwrap().to_owned();
    // In Cloudflare's words.
    let group = json!([{"id": "deploy"}]);
    let policies = json!({"name": "bot", "policies": [{"permission_groups": group}]});
    let (_, bot) = world
        .call("POST", "/user/tokens", policies.to_string())
        .await;
    assert_eq!(bot["result"]["scope"], "deploy");

    let path = format!("/user/tokens/{id}");
    let (_, one) = world.call("GET", &path, "").await;
    assert_eq!(
        one["result"]["policies"][0]["permission_groups"][0]["id"],
        "read"
    );
    assert!(one["result"].get("last_used_on").is_none());
    let reading = World {
        token: text.clone(),
        ..world
    };
    let verify = "/user/tokens/verify";
    assert_eq!(reading.call("GET", verify, "").await.0, StatusCode::OK);
    let (status, _) = reading.call("GET", "/user/tokens", "").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let exec = reading.account("/berth/containers/x/exec");
    let (status, refused) = reading.call("GET", &exec, "").await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{refused}");
    let backup = reading.account("/berth/backup");
    assert_eq!(
        reading.call("GET", &backup, "").await.0,
        StatusCode::FORBIDDEN
    );

    let (_, admin) = reading.control.make_token("r", Scope::Admin, None).unwrap();
    let world = World {
        token: admin,
        ..reading
    };
    let (_, listed) = world.call("GET", "/user/tokens", "").await;
    assert!(!listed.to_string().contains(&text));
    let tokens = listed["result"].as_array().unwrap();
    let used = |id: &str| {
        let mut tokens = tokens.iter();
        let found = tokens.find(|token| token["id"] == id).unwrap();
        found["last_used_on"].is_string()
    };
    assert!(used(&id) && used(&own.id));
    assert_eq!(world.call("DELETE", &path, "").await.0, StatusCode::OK);
    let (status, gone) = world.call("DELETE", &path, "").await;
    assert_eq!((status, code(&gone)), (StatusCode::NOT_FOUND, 1003));
    let revoked = World {
        token: text,
        ..world
    };
    let (status, _) = revoked.call("GET", verify, "").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn tails_are_made_for_workers_that_are_there() {
    let world = world();
    let path = world.account("/workers/scripts/w/tails");
    let (status, none) = world.call("POST", &path, "{}").await;
    assert_eq!(
        (status, &none["errors"][0]["code"]),
        (StatusCode::NOT_FOUND, &json!(10007))
    );
    let metadata = json!({"main_module": "index.js", "compatibility_date": "2026-11-01"});
    let (status, _) = world.upload("PUT", "/workers/scripts/w", &metadata).await;
    assert_eq!(status, StatusCode::OK);
    let (status, bad) = world
        .call("POST", &path, r#"{"filters": [{"shape": "round"}]}"#)
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(bad.to_string().contains("is not a filter"), "{bad}");
    assert!(!world.runtime.tails.wants("w"));
    for body in ["", "{}", r#"{"filters": [{"outcome": ["ok"]}]}"#] {
        let (status, made) = world.call("POST", &path, body).await;
        assert_eq!(status, StatusCode::OK, "{made}");
        let id = made["result"]["id"].as_str().unwrap();
        let url = made["result"]["url"].as_str().unwrap();
        assert!(
            url.starts_with("ws://") && url.ends_with(&format!("/tails/{id}")),
            "{url}"
        );
        assert!(world.runtime.tails.wants("w"));
        let other = world.account(&format!("/workers/scripts/other/tails/{id}"));
        world.call("DELETE", &other, "").await;
        assert!(world.runtime.tails.wants("w"), "it is not of that Worker");
        world.call("DELETE", &format!("{path}/{id}"), "").await;
        assert!(!world.runtime.tails.wants("w"));
    }
    assert!(
        world
            .runtime
            .asked
            .lock()
            .unwrap()
            .contains(&"traced w".to_owned())
    );
}

#[tokio::test]
async fn logs_are_asked_for_with_conditions() {
    let world = world();
    let logs = world.runtime.logs();
    for (app, level, text) in [
        ("a", Level::Log, "one"),
        ("a", Level::Error, "two"),
        ("b", Level::Warn, "three"),
    ] {
        logs.write(Entry::new(app, Source::Worker, level, text));
    }
    let texts = |answer: &Value| -> Vec<String> {
        let entries = answer["result"].as_array().unwrap().iter();
        entries
            .map(|entry| entry["text"].as_str().unwrap().to_owned())
            .collect()
    };
    let path = world.account("/berth/logs");
    let (_, all) = world.call("GET", &path, "").await;
    assert_eq!(texts(&all), ["one", "two", "three"]);
    let asked = format!("{path}?app=a&level=warn&source=worker,event&since=1h&text=TW");
    let (_, some) = world.call("GET", &asked, "").await;
    assert_eq!(texts(&some), ["two"]);
    for (query, said) in [
        ("level=loud", "`level` is `loud`"),
        ("source=worker,moon", "`source` is `moon`"),
        ("since=soon", "`since` is `soon`"),
        ("limit=many", "limit"),
    ] {
        let (status, bad) = world.call("GET", &format!("{path}?{query}"), "").await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(bad.to_string().contains(said), "{bad}");
    }
}
