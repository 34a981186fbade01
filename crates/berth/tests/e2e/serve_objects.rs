//! `scheduling_policy: "durable_object"`: objects choose image and size when they start their containers; with
//! the real wrangler.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use berth_test::{Project, ServerSession, compile_static};
use http::Method;
use serde_json::{Value, json};

use crate::deployed::GREETER;
use crate::serve_rollout::application;
use crate::world;

/// `/<object>/<image>/<size as JSON>` starts it; `/<object>` asks it; `/images` tells what there is.
const WORKER: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Box extends DurableObject {
  async run(image, size) {
    const { container } = this.ctx;
    if (container.running) await container.destroy();
    const options = { image: container.images[image], env: { SEEN: "yes" }, enableInternet: false };
    container.start(size ? { ...options, instance: JSON.parse(size) } : options);
    this.ended = container.monitor().catch(() => {});
    return this.ask();
  }
  async ask() {
    for (let tries = 0; ; tries++) {
      try {
        return await (await this.ctx.container.getTcpPort(8080).fetch("http://box/x")).text();
      } catch (error) {
        if (tries > 20) throw error;
      }
    }
  }
  images() {
    return Object.fromEntries(Object.entries(this.ctx.container.images));
  }
}
export default {
  async fetch(request, env) {
    try { return await this.answer(request, env); } catch (error) {
      return new Response(String(error.stack), { status: 500 });
    }
  },
  async answer(request, env) {
    const [object, image, size] = new URL(request.url).pathname.slice(1).split("/");
    const box = env.BOX.getByName(object);
    if (object === "images") return Response.json(await box.images());
    return new Response(image ? await box.run(image, size && decodeURIComponent(size)) : await box.ask());
  },
};
"#;

fn project() -> Project {
    let project = Project::empty();
    let config = json!({
        "name": "boxes", "main": "index.js", "compatibility_date": "2026-11-01",
        "containers": [{"class_name": "Box", "scheduling_policy": "durable_object",
            "images": {"red": {"dockerfile": "./red/Dockerfile"}, "blue": {"dockerfile": "./blue/Dockerfile"}}}],
        "durable_objects": {"bindings": [{"name": "BOX", "class_name": "Box"}]},
        "migrations": [{"tag": "v1", "new_sqlite_classes": ["Box"]}],
    });
    project.write("wrangler.jsonc", config.to_string());
    project.write("index.js", WORKER);
    project
}

/// Memory (MiB) and thousandths of a CPU of every container.
fn sizes(server: &ServerSession) -> Vec<(u64, u64)> {
    let listed = docker(server, "/containers/json");
    let is_sidecar = |one: &&Value| one["Image"] == "berth/egress:latest";
    let ids = listed
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| !is_sidecar(one));
    let mut sizes: Vec<_> = ids
        .map(|container| {
            let id = container["Id"].as_str().unwrap();
            let found = docker(server, &format!("/containers/{id}/json"));
            let number = |name: &str| found["HostConfig"][name].as_u64().unwrap();
            let environ = format!("/proc/{}/environ", found["State"]["Pid"]);
            let env = std::fs::read_to_string(environ).unwrap();
            assert!(
                env.contains("SEEN=yes") && !env.contains("BERTH_INSTANCE"),
                "{env}"
            );
            (number("Memory") >> 20, number("NanoCpus") / 1_000_000)
        })
        .collect();
    sizes.sort_unstable();
    sizes
}

fn docker(server: &ServerSession, path: &str) -> Value {
    let socket = server
        .variable("DOCKER_HOST")
        .strip_prefix("unix://")
        .unwrap();
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let (begin, end) = (
        body.find(['{', '[']).unwrap(),
        body.rfind(['}', ']']).unwrap(),
    );
    serde_json::from_str(&body[begin..=end]).expect(body)
}

#[tokio::test]
async fn objects_choose_image_and_size_when_they_start() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = project();
    let program = compile_static(&world, GREETER);
    for color in ["red", "blue"] {
        let file = |name: &str| format!("{color}/{name}");
        project.copy(&program, &file("greeter"));
        project.write(&file("greeting"), color);
        project.write(
            &file("Dockerfile"),
            "FROM scratch\nCOPY greeter /greeter\nCOPY greeting /greeting\nCMD [\"/greeter\"]\n",
        );
    }
    server.wrangler_ok(&project, ["deploy"], "").await;
    let images = server.get("boxes", "/images").await;
    let images: Value = serde_json::from_str(&images.ok().text()).unwrap();
    let red = images["red"].as_str().unwrap();
    assert!(
        red.contains("@sha256:") && images["blue"] != images["red"],
        "{images}"
    );
    assert_eq!(server.text("boxes", "/a/red").await, "red 1");
    assert_eq!(
        server.text("boxes", "/b/blue/%22standard-1%22").await,
        "blue 1"
    );
    let own = "%7B%22vcpu%22%3A1%2C%22memoryMib%22%3A512%2C%22diskMb%22%3A500%7D";
    assert_eq!(
        server.text("boxes", &format!("/c/red/{own}")).await,
        "red 1"
    );
    assert_eq!(sizes(&server), [(256, 63), (512, 1000), (4096, 500)]);

    let application = application(&server).await;
    let id = application["id"].as_str().unwrap();
    assert_eq!(id, application["durable_objects"]["namespace_id"]);
    let listed = server
        .wrangler_ok(&project, ["containers", "instances", id, "--json"], "")
        .await;
    assert_eq!(listed.matches("running").count(), 3, "{listed}");
    let rollout = json!({"target_configuration": {"image": red}});
    let path = format!("/containers/applications/{id}/rollouts");
    let refused = server.api(Method::POST, &path, rollout).await;
    assert!(refused.text().contains("no rollouts"), "{}", refused.text());

    // Other images: what runs runs on, what starts has the new one.
    project.write("red/greeting", "crimson");
    server.wrangler_ok(&project, ["deploy"], "").await;
    assert_eq!(server.text("boxes", "/a").await, "red 2");
    assert_eq!(server.text("boxes", "/a/red").await, "crimson 1");
    let refused = server.api(
        Method::POST,
        "/containers/image-preparations",
        json!({"image": format!("{}:nothing", red.split('@').next().unwrap())}),
    );
    let refused = refused.await.text();
    assert!(refused.contains("error"), "{refused}");
    server.stop().await;
}
