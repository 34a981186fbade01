//! Snapshots that an object takes with `ctx.container`, restored in other objects, also in the next
//! session.

use berth_test::{DevSession, Project};
use serde_json::Value;

use crate::world;

const WORKER: &str = r#"
import { DurableObject } from "cloudflare:workers";

export class MyContainer extends DurableObject {
  async up(options) {
    this.ctx.container.start({ enableInternet: false, ...options });
    this.ctx.container.monitor().catch(() => {});
    for (;;) {
      try {
        return await this.file("GET", "/");
      } catch (error) {
        if (!this.ctx.container.running) throw error;
      }
    }
  }
  async file(method, path, body) {
    const port = this.ctx.container.getTcpPort(8080);
    return (await port.fetch("http://container" + path, { method, body })).text();
  }
  async snap() {
    await this.up({});
    await this.file("PUT", "/data/f", "of the directory");
    await this.file("PUT", "/app/g", "of the container");
    const directory = await this.ctx.container.snapshotDirectory({ dir: "/data" });
    const container = await this.ctx.container.snapshotContainer({});
    await this.ctx.storage.put("snapshots", { directory, container });
    return { directory, container };
  }
  snapshots() {
    return this.ctx.storage.get("snapshots");
  }
  async restore({ directory, container }) {
    await this.up({
      containerSnapshot: container,
      directorySnapshots: [{ snapshot: directory, mountPoint: "/elsewhere" }],
    });
    const texts = [];
    for (const path of ["/elsewhere/f", "/app/g", "/data/f"]) {
      texts.push(await this.file("GET", path));
    }
    return texts;
  }
}

export default {
  async fetch(request, env) {
    const [, what, id, from] = new URL(request.url).pathname.split("/");
    try {
      return Response.json(await answer(env, what, id, from));
    } catch (error) {
      return new Response(error.stack, { status: 500 });
    }
  },
};

async function answer(env, what, id, from) {
    const object = (name) => env.MY_CONTAINER.get(env.MY_CONTAINER.idFromName(name));
    if (what === "snap") return object(id).snap();
    return object(id).restore(await object(from).snapshots());
}
"#;

const SERVER: &str = r#"
const { mkdirSync, readFileSync, writeFileSync } = require("node:fs");
const { dirname } = require("node:path");

require("node:http")
  .createServer((request, response) => {
    if (request.url === "/") return response.end("ready");
    if (request.method === "GET") {
      try {
        return response.end(readFileSync(request.url));
      } catch (error) {
        return response.end(error.code);
      }
    }
    let body = "";
    request.on("data", (piece) => (body += piece));
    request.on("end", () => {
      mkdirSync(dirname(request.url), { recursive: true });
      writeFileSync(request.url, body);
      response.end();
    });
  })
  .listen(8080);
"#;

/// What a snapshot leaves on the machine, gone at the end whatever happens.
struct Leftovers {
    volume: std::path::PathBuf,
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.volume);
    }
}

async fn restored(session: &DevSession, id: &str) -> Value {
    session
        .get(&format!("/restore/{id}/alice"))
        .await
        .ok()
        .json()
}

#[tokio::test]
async fn snapshots_are_restored_in_other_objects_and_sessions() {
    let project = Project::example("hello");
    let date = r#""compatibility_date": "2026-11-01","#;
    let flagged = format!(r#"{date} "compatibility_flags": ["experimental"],"#);
    project.replace("wrangler.jsonc", date, &flagged);
    project.write("src/index.ts", WORKER);
    project.write("container/server.js", SERVER);
    let session = world().dev(&project).start().await;
    let taken = session.get("/snap/alice").await.ok().json();
    let id = |kind: &str| taken[kind]["id"].as_str().unwrap().to_owned();
    assert!(taken["directory"]["size"].as_u64().unwrap() > 0, "{taken}");
    assert!(taken["container"]["size"].as_u64().unwrap() > 0, "{taken}");
    let volumes = world().data_dir().join("volumes");
    let _leftovers = Leftovers {
        volume: volumes.join(format!("workerd-snap-{}", id("directory"))),
    };
    let all = serde_json::json!(["of the directory", "of the container", "of the directory"]);
    assert_eq!(restored(&session, "bob").await, all);
    session.stop().await;

    let session = world().dev(&project).start().await;
    assert_eq!(restored(&session, "carol").await, all);
    session.stop().await;
    let image = format!("workerd-container-snap-{}", id("container"));
    // The image is all there is of the snapshot.
    let refused = world().run(["images", "rm", &image]).await;
    assert!(!refused.status.success(), "{refused:?}");
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(why.contains("needed by snapshot"), "{why}");
    let removed = world().run(["images", "rm", "--force", &image]).await;
    assert!(removed.status.success(), "{removed:?}");
}
