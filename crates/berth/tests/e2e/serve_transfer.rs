//! `transferred_classes`: a Durable Object class of another Worker, with its objects; with the real wrangler.

use berth_test::{Project, ServerSession};
use http::Method;
use serde_json::{Value, json};

use crate::deployed::greeter;
use crate::serve_rollout::application;
use crate::world;

const WORKER: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Counter extends DurableObject {
  async next() {
    const count = ((await this.ctx.storage.get("count")) ?? 0) + 1;
    await this.ctx.storage.put("count", count);
    return count;
  }
}
export default {
  async fetch(request, env) {
    if (!env.COUNTER) return new Response("none");
    const { pathname } = new URL(request.url);
    return new Response(`${await env.COUNTER.getByName(pathname).next()}`);
  },
};
"#;

/// A Worker that binds the class, or only has it.
fn configure(project: &Project, name: &str, binds: bool, migrations: &Value) {
    let bindings = match binds {
        true => json!([{"name": "COUNTER", "class_name": "Counter"}]),
        false => json!([]),
    };
    let config = json!({
        "name": name, "main": "index.js", "compatibility_date": "2026-11-01",
        "durable_objects": {"bindings": bindings}, "migrations": migrations,
    });
    project.write("wrangler.jsonc", config.to_string());
    project.write("index.js", WORKER);
}

fn made() -> Value {
    json!([{"tag": "v1", "new_sqlite_classes": ["Counter"]}])
}

fn transferred(from: &str) -> Value {
    let class = json!({"from": "Counter", "from_script": from, "to": "Counter"});
    json!([{"tag": "t1", "transferred_classes": [class]}])
}

async fn refused(server: &ServerSession, project: &Project) -> String {
    let output = server.wrangler(project, ["deploy"], "").await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    said
}

/// Worker and class of every namespace.
async fn namespaces(server: &ServerSession) -> Vec<(String, String, String)> {
    let path = "/workers/durable_objects/namespaces";
    let listed = server.api(Method::GET, path, Value::Null).await.ok().json();
    let listed = listed["result"].as_array().unwrap().iter();
    let word = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    listed
        .map(|one| (word(one, "script"), word(one, "class"), word(one, "id")))
        .collect()
}

#[tokio::test]
async fn a_class_goes_to_another_worker_with_its_objects() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let (first, second) = (Project::empty(), Project::empty());
    configure(&first, "first", true, &made());
    server.wrangler_ok(&first, ["deploy"], "").await;
    assert_eq!(server.text("first", "/a").await, "1");
    assert_eq!(server.text("first", "/b").await, "1");
    let before = namespaces(&server).await;

    // Who uses it keeps it.
    configure(&second, "second", true, &transferred("first"));
    let said = refused(&server, &second).await;
    assert!(said.contains("its binding `COUNTER`"), "{said}");
    assert!(
        said.contains("deploy `first` without the binding"),
        "{said}"
    );
    assert_eq!(namespaces(&server).await, before);
    assert_eq!(server.text("first", "/a").await, "2");

    configure(&first, "first", false, &made());
    server.wrangler_ok(&first, ["deploy"], "").await;
    server.wrangler_ok(&second, ["deploy"], "").await;
    assert_eq!(server.text("second", "/a").await, "3");
    assert_eq!(server.text("second", "/b").await, "2");
    assert_eq!(server.text("first", "/a").await, "none");
    let id = before[0].2.clone();
    let now = [("second".to_owned(), "Counter".to_owned(), id)];
    assert_eq!(namespaces(&server).await, now);

    // It is gone there, for a version of old, too.
    let third = Project::empty();
    configure(&third, "third", true, &transferred("first"));
    let said = refused(&server, &third).await;
    assert!(
        said.contains("the Worker `first` has no Durable Object class `Counter`"),
        "{said}"
    );
    configure(&first, "first", true, &made());
    let said = refused(&server, &first).await;
    assert!(said.contains("which no migration has made"), "{said}");

    // The former one may go; deploying again changes nothing; all of it is there after a restart.
    server.wrangler_ok(&first, ["delete", "--force"], "").await;
    server.wrangler_ok(&second, ["deploy"], "").await;
    server.stop().await;
    let server = world.server(data.path()).await;
    assert_eq!(server.text("second", "/a").await, "4");
    server.stop().await;
}

/// Its alarm rings only in the Worker that the class goes to: in the one before, it fails and is tried again.
const BOX: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Box extends DurableObject {
  async fetch(request) {
    const { storage, container } = this.ctx;
    const { pathname } = new URL(request.url);
    if (pathname === "/arm") {
      await storage.setAlarm(Date.now() + 1000);
      return new Response("armed");
    }
    if (pathname === "/rang") return new Response((await storage.get("rang")) ?? "not yet");
    if (!container.running) {
      container.start({ enableInternet: false });
      container.monitor().catch(() => {});
    }
    for (let tries = 0; ; tries++) {
      try {
        return new Response(await (await container.getTcpPort(8080).fetch("http://box/x")).text());
      } catch (error) {
        if (tries > 20) throw error;
      }
    }
  }
  async alarm() {
    if (this.env.NAME === "first") throw new Error("not here");
    await this.ctx.storage.put("rang", this.env.NAME);
  }
}
export default {
  fetch: (request, env) => env.BOX ? env.BOX.getByName("one").fetch(request) : new Response("none"),
};
"#;

fn configure_box(project: &Project, name: &str, has: bool, migrations: &Value) {
    let mut config = json!({
        "name": name, "main": "index.js", "compatibility_date": "2026-11-01",
        "vars": {"NAME": name}, "migrations": migrations,
    });
    if has {
        config["durable_objects"] = json!({"bindings": [{"name": "BOX", "class_name": "Box"}]});
        config["containers"] =
            json!([{"class_name": "Box", "image": "./Dockerfile", "max_instances": 2}]);
    }
    project.write("wrangler.jsonc", config.to_string());
    project.write("index.js", BOX);
}

async fn until(server: &ServerSession, worker: &str, path: &str, begin: &str) {
    let mut answer = String::new();
    let asked = async {
        while !answer.starts_with(begin) {
            answer = server.get(worker, path).await.text();
        }
    };
    let limit = tokio::time::timeout(std::time::Duration::from_secs(60), asked).await;
    assert!(limit.is_ok(), "{worker}{path}: {answer}, not {begin}");
}

#[tokio::test]
async fn its_containers_and_alarms_go_with_a_class() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let (first, second) = (greeter(&world), greeter(&world));
    let made = json!([{"tag": "v1", "new_sqlite_classes": ["Box"]}]);
    let class = json!({"from": "Box", "from_script": "first", "to": "Box"});
    let taken = json!([{"tag": "t1", "transferred_classes": [class]}]);
    configure_box(&first, "first", true, &made);
    first.write("greeting", "hello");
    server.wrangler_ok(&first, ["deploy"], "").await;
    assert_eq!(server.text("first", "/ask").await, "hello 1");
    assert_eq!(server.text("first", "/arm").await, "armed");
    let before = application(&server).await;

    configure_box(&first, "first", false, &made);
    server.wrangler_ok(&first, ["deploy"], "").await;
    configure_box(&second, "second", true, &taken);
    second.write("greeting", "bonjour");
    server.wrangler_ok(&second, ["deploy"], "").await;
    until(&server, "second", "/rang", "second").await;
    until(&server, "second", "/ask", "bonjour").await;
    assert_eq!(server.text("first", "/ask").await, "none");
    let after = application(&server).await;
    assert_eq!(after["id"], before["id"]);
    assert_eq!(after["durable_objects"], before["durable_objects"]);
    assert_eq!(after["name"], "second-box");
    // The Worker that it was made for takes nothing with it.
    server.wrangler_ok(&first, ["delete", "--force"], "").await;
    assert!(server.text("second", "/ask").await.starts_with("bonjour"));
    server.stop().await;
}

#[tokio::test]
async fn killed_at_any_step_the_objects_are_one_workers() {
    let world = world();
    let (data, points) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut server = world.server_that_crashes(data.path(), points.path()).await;
    let mut former = ("w0".to_owned(), Project::empty(), made());
    configure(&former.1, "w0", true, &former.2);
    server.wrangler_ok(&former.1, ["deploy"], "").await;
    let mut count = 1;
    assert_eq!(server.text("w0", "/a").await, "1");
    for (step, (point, is_new)) in [
        ("deploy.tried", false),
        ("deploy.recorded", true),
        ("class.moved", true),
        ("deploy.replaced", true),
    ]
    .into_iter()
    .enumerate()
    {
        let (name, project, migrations) = &former;
        configure(project, name, false, migrations);
        server.wrangler_ok(project, ["deploy"], "").await;
        let next = (
            format!("w{}", step + 1),
            Project::empty(),
            transferred(name),
        );
        configure(&next.1, &next.0, true, &next.2);
        std::fs::write(points.path().join(point), "").unwrap();
        server.wrangler(&next.1, ["deploy"], "").await;
        let killed = server.crashed().await;
        killed.footprint.assert_processes_end();
        server = world.server_that_crashes(data.path(), points.path()).await;
        let owner = if is_new { &next.0 } else { name };
        let owners = namespaces(&server).await;
        assert_eq!(owners.len(), 1, "{point}: {owners:?}");
        assert_eq!(&owners[0].0, owner, "{point}");
        // What was left undone is done now.
        server.wrangler_ok(&next.1, ["deploy"], "").await;
        count += 1;
        assert_eq!(
            server.text(&next.0, "/a").await,
            count.to_string(),
            "{point}"
        );
        assert_eq!(server.text(name, "/a").await, "none", "{point}");
        killed.footprint.assert_gone();
        former = next;
    }
    server.stop().await;
}
