//! What all containers of a server may have together, what each uses, and what happened to it.

use berth_test::{Program, Project, ServerSession};
use http::{Method, StatusCode};
use serde_json::Value;

use crate::deployed::{add_program, answering};
use crate::world;

/// Answers everything; leaves on SIGTERM.
pub(crate) const SMALL: Program = Program {
    name: "small",
    source: answering!(
        "",
        r#"
            reply(peer, "small");
"#
    ),
};

const CONFIG: &str = r#"{
  "name": "small",
  "main": "index.js",
  "compatibility_date": "2026-11-01",
  "containers": [{ "class_name": "Small", "image": "./Dockerfile", "max_instances": 9 }],
  "durable_objects": { "bindings": [{ "name": "SMALL", "class_name": "Small" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Small"] }]
}"#;

pub(crate) const WORKER: &str = r#"
import { Container, getContainer } from "@cloudflare/containers";
export class Small extends Container {
  defaultPort = 8080;
}
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    const container = getContainer(env.SMALL, pathname.split("/")[1]);
    if (pathname.endsWith("/stop")) {
      await container.stop();
      return new Response("stopped");
    }
    return container.fetch(request);
  },
};
"#;

async fn list(server: &ServerSession, path: &str) -> Vec<Value> {
    let answer = server.api(Method::GET, path, Value::Null).await.ok().json();
    answer["result"].as_array().unwrap().clone()
}

#[tokio::test]
async fn all_containers_together_have_what_the_server_allows() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("berth.toml"), "[limits]\nvcpu = 0.1\n").unwrap();
    let server = world.server(data.path()).await;
    let project = Project::empty();
    project.write("wrangler.jsonc", CONFIG);
    project.write("index.js", WORKER);
    add_program(&world, &project, SMALL);
    project.install(&world, "@cloudflare/containers", "0.3.7");
    server.wrangler_ok(&project, ["deploy"], "").await;
    assert_eq!(server.text("small", "/a").await, "small");

    // One of them has 0.0625 vCPU: there is no room for two.
    let refused = server.get("small", "/b").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        refused.text().contains("no Container instance available"),
        "{}",
        refused.text()
    );
    let told = list(&server, "/berth/logs?app=small&source=event&level=warn").await;
    assert_eq!(told.len(), 1, "said once, not per try: {told:#?}");
    let text = told[0]["text"].as_str().unwrap();
    assert!(
        text.contains("may have 0.100 vCPU, of which 0.063 are taken"),
        "{text}"
    );

    let instances = list(&server, "/berth/instances?app=small").await;
    let running: Vec<_> = instances
        .iter()
        .filter(|one| one["state"] == "running")
        .collect();
    assert_eq!(running.len(), 1, "{instances:#?}");
    let instance = running[0];
    assert_eq!(instance["location"], "local");
    assert_eq!(instance["class_name"], "Small");
    assert!(instance["since"].as_str().unwrap().starts_with("20"));
    let usage = &instance["usage"];
    for name in [
        "cpu_ns",
        "memory_bytes",
        "disk_bytes",
        "ingress_bytes",
        "egress_bytes",
    ] {
        assert!(usage[name].as_u64().unwrap() > 0, "{name}: {usage}");
    }
    assert_eq!(instance["size"]["vcpu"], 0.063);
    let path = format!(
        "/containers/placements/{}",
        instance["id"].as_str().unwrap()
    );
    let placement = server
        .api(Method::GET, &path, Value::Null)
        .await
        .ok()
        .json();
    let events = placement["result"]["events"].as_array().unwrap();
    let names: Vec<_> = events
        .iter()
        .map(|event| event["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["SchedulerPlaced", "ContainerStarted"]);

    // What ends makes room.
    assert_eq!(server.text("small", "/a/stop").await, "stopped");
    assert_eq!(server.text("small", "/b").await, "small");

    // The same on the command line.
    let arguments = [
        "logs", "--app", "small", "--source", "event", "--grep", "STARTED",
    ];
    let shown = server.berth_ok(&project, arguments, "").await;
    assert_eq!(shown.lines().count(), 3, "two started, one not: {shown}");
    assert!(shown.contains("small Small/"), "{shown}");
    let wrong = server
        .berth(&project, ["logs", "--level", "loud"], "", &[])
        .await;
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(
        !wrong.status.success() && said.contains("`level` is `loud`"),
        "{said}"
    );
    server.stop().await;
}
