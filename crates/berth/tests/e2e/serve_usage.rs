//! Sizes of the server's own, what Workers and containers use and what it costs, and figures for Prometheus.

use std::time::{Duration, Instant};

use berth_test::{Client, Project, ServerSession, World, compile_static};
use http::Method;
use serde_json::{Value, json};

use crate::serve_limits::{SMALL, WORKER};
use crate::world;

/// A size of half a CPU, 128 MiB and 200 MB; `lite` is larger than elsewhere.
const SETTINGS: &str = r#"
[listen]
metrics = "127.0.0.1:0"

[instance_types]
tiny = { vcpu = 0.5, memory_mib = 128, disk_mb = 200 }
lite = { vcpu = 0.25, memory_mib = 200, disk_mb = 300 }

[prices]
currency = "EUR"
vcpu_second = 1
memory_gib_second = 10
disk_gb_second = 100
egress_gb = 0
million_requests = 1000000
"#;

fn project(world: &World, name: &str, instance_type: &str) -> Project {
    let project = Project::empty();
    let config = json!({
        "name": name,
        "main": "index.js",
        "compatibility_date": "2026-11-01",
        "containers": [{
            "class_name": "Small", "image": "./Dockerfile", "instance_type": instance_type,
        }],
        "durable_objects": { "bindings": [{ "name": "SMALL", "class_name": "Small" }] },
        "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Small"] }],
    });
    project.write("wrangler.json", config.to_string());
    project.write("index.js", WORKER);
    project.write(
        "Dockerfile",
        "FROM scratch\nCOPY small /small\nCMD [\"/small\"]\n",
    );
    project.copy(&compile_static(world, SMALL), "small");
    project.install(world, "@cloudflare/containers", "0.3.7");
    project
}

async fn get(server: &ServerSession, path: &str) -> Value {
    let answer = server.api(Method::GET, path, Value::Null).await.ok().json();
    answer["result"].clone()
}

/// What `berth usage` says of one Worker.
async fn usage(server: &ServerSession, project: &Project, app: &str) -> Value {
    let asked = ["usage", "--json", "--since", "1h", "--app", app];
    let said = server.berth_ok(project, asked, "").await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["prices"]["currency"], "EUR");
    match said["apps"].as_array().unwrap().as_slice() {
        [] => Value::Null,
        [app] => app.clone(),
        more => panic!("{more:?}"),
    }
}

/// The value of a figure by the beginning of its line.
fn figure(text: &str, begin: &str) -> f64 {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(begin)?.strip_prefix(' '));
    let value = line.unwrap_or_else(|| panic!("no {begin} in\n{text}"));
    value.parse().unwrap()
}

async fn scrape(server: &ServerSession) -> String {
    let client = Client::new(&format!("http://{}", server.said("metrics")));
    let reply = client.get("/metrics").await.ok();
    let kind = reply.headers["content-type"].to_str().unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = reply.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    text
}

fn near(is: &Value, wanted: f64) {
    let is = is.as_f64().unwrap();
    assert!((is - wanted).abs() < 1e-6, "{is} is not {wanted}");
}

#[tokio::test]
async fn a_server_has_sizes_and_prices_of_its_own() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("berth.toml"), SETTINGS).unwrap();
    let server = world.server(data.path()).await;
    let types = get(&server, "/berth/instance-types").await;
    let tiny = json!({ "name": "tiny", "vcpu": 0.5, "memory_mib": 128, "disk_mb": 200 });
    assert!(types.as_array().unwrap().contains(&tiny), "{types}");

    // Nothing is deployed with a size that is not there; the error says which are.
    let huge = project(&world, "huge", "huge");
    let refused = server.berth(&huge, ["deploy"], "", &[]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("`huge`") && said.contains("tiny"),
        "{said}"
    );
    assert_eq!(get(&server, "/workers/scripts").await, json!([]));

    let tiny = project(&world, "tiny", "tiny");
    server.berth_ok(&tiny, ["deploy"], "").await;
    let lite = project(&world, "lite", "lite");
    server.wrangler_ok(&lite, ["deploy"], "").await;
    assert_eq!(server.text("tiny", "/a").await, "small");
    assert_eq!(server.text("lite", "/a").await, "small");
    let instances = get(&server, "/berth/instances").await;
    let sizes = instances.as_array().unwrap().iter();
    let mut sizes: Vec<_> = sizes.map(|one| one["size"].to_string()).collect();
    sizes.sort();
    let wanted = [
        json!({ "vcpu": 0.25, "memory_mib": 200, "disk_mb": 300 }).to_string(),
        json!({ "vcpu": 0.5, "memory_mib": 128, "disk_mb": 200 }).to_string(),
    ];
    assert_eq!(sizes, wanted, "{instances}");

    metered(&server, &tiny).await;
    figures(&server).await;
    kept(server, &world, &tiny).await;
}

/// Usage is size times time, and costs what the settings say.
async fn metered(server: &ServerSession, project: &Project) {
    let began = Instant::now();
    let used = loop {
        let used = usage(server, project, "tiny").await;
        if used["running_seconds"].as_f64().unwrap_or_default() > 0.5 {
            break used;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{used}");
        // Nothing but time has to pass.
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let running = used["running_seconds"].as_f64().unwrap();
    near(&used["vcpu_seconds"], running * 0.5);
    near(&used["memory_gib_seconds"], running * 0.125);
    near(&used["disk_gb_seconds"], running * 0.2);
    assert_eq!(
        (&used["requests"], &used["container_starts"]),
        (&json!(1), &json!(1))
    );
    assert!(used["egress_bytes"].as_u64().unwrap() > 0, "{used}");
    near(&used["cost"]["vcpu"], running * 0.5);
    near(&used["cost"]["memory"], running * 1.25);
    near(&used["cost"]["disk"], running * 20.0);
    near(&used["cost"]["requests"], 1.0);
    near(&used["cost"]["total"], running * 21.75 + 1.0);
    let instances = used["instances"].as_array().unwrap();
    let [instance] = instances.as_slice() else {
        panic!("{used}");
    };
    assert_eq!(instance["vcpu_seconds"], used["vcpu_seconds"]);
    assert_eq!(instance["requests"], 0, "they are the Worker's");

    // What has ended uses nothing more, and until its end everything was counted.
    assert_eq!(server.text("tiny", "/a/stop").await, "stopped");
    let ended = loop {
        let listed = server.berth_ok(project, ["status", "--json"], "").await;
        let status: Value = serde_json::from_str(&listed).unwrap();
        if status["containers"]["running"] == 1 {
            break usage(server, project, "tiny").await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(ended["running_seconds"].as_f64().unwrap() > running);
    let later = usage(server, project, "tiny").await;
    assert_eq!(later, ended);

    let table = server.berth_ok(project, ["usage", "--instances"], "").await;
    for word in ["tiny", "lite", "Small/", "COST (EUR)", "all"] {
        assert!(table.contains(word), "{word} in {table}");
    }
}

async fn figures(server: &ServerSession) {
    let text = scrape(server).await;
    let is = |begin: &str| figure(&text, begin);
    assert_eq!(is(r#"berth_requests_total{app="tiny",status="200"}"#), 2.0);
    assert_eq!(
        is(r#"berth_request_duration_seconds_count{app="lite"}"#),
        1.0
    );
    assert_eq!(is(r#"berth_container_starts_total{app="tiny"}"#), 1.0);
    assert_eq!(
        is(r#"berth_container_start_seconds_count{app="tiny"}"#),
        1.0
    );
    assert_eq!(
        is(r#"berth_container_listen_seconds_count{app="lite"}"#),
        1.0
    );
    assert_eq!(is(r#"berth_containers{app="lite",state="running"}"#), 1.0);
    assert_eq!(is(r#"berth_worker_up{app="tiny"}"#), 1.0);
    for positive in [
        r#"berth_container_running_seconds_total{app="tiny"}"#,
        r#"berth_container_cpu_seconds_total{app="lite"}"#,
        r#"berth_container_egress_bytes_total{app="tiny"}"#,
        r#"berth_container_ingress_bytes_total{app="tiny"}"#,
        r#"berth_container_memory_bytes{app="lite"}"#,
        r#"berth_worker_memory_bytes{app="lite"}"#,
        "berth_disk_free_bytes",
        "berth_uptime_seconds",
    ] {
        assert!(is(positive) > 0.0, "{positive} in\n{text}");
    }
    // Somebody else's host is nobody's request.
    assert_eq!(server.get_at("nobody.example", "/").await.status, 404);
    let began = Instant::now();
    let counted = "berth_requests_total{app=\"\",status=\"404\"} 1";
    loop {
        // A request is counted after it has been answered.
        let text = scrape(server).await;
        if text.lines().any(|line| line == counted) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What was counted is kept when the server ends, also what its end brings to an end.
async fn kept(server: ServerSession, world: &World, project: &Project) {
    let (tiny, lite) = (
        usage(&server, project, "tiny").await,
        usage(&server, project, "lite").await,
    );
    let data = server.data().to_owned();
    server.stop().await;
    let server = world.server(&data).await;
    assert_eq!(usage(&server, project, "tiny").await, tiny);
    let ended = usage(&server, project, "lite").await;
    let running = |used: &Value| used["running_seconds"].as_f64().unwrap();
    assert!(running(&ended) > running(&lite), "{ended}");
    assert_eq!(usage(&server, project, "nobody").await, Value::Null);
    let wrong = server
        .berth(project, ["usage", "--since", "soon"], "", &[])
        .await;
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && said.contains("soon"), "{said}");
    server.stop().await;
}
