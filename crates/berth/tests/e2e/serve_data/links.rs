//! What Workers are to each other: service bindings over processes, and Workflows.

use berth_test::{Project, ServerSession};
use http::Method;
use serde_json::{Value, json};

use super::stderr;
use crate::world;

const CALLEE: &str = r#"
import { WorkerEntrypoint } from "cloudflare:workers";
export class Greeter extends WorkerEntrypoint {
  greet(name) {
    return `hello ${name} ${JSON.stringify(this.ctx.props)}`;
  }
  counter() {
    let count = 0;
    return () => ++count;
  }
}
export default {
  fetch: (request) => new Response(`callee ${new URL(request.url).pathname}`),
};
"#;

const CALLER: &str = r#"
import { WorkflowEntrypoint } from "cloudflare:workers";
export class Flow extends WorkflowEntrypoint {
  async run(event, step) {
    if (event.payload.waits) await step.waitForEvent("go", { type: "go", timeout: "1 hour" });
    return step.do("one", async () => event.payload.n + 1);
  }
}
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/rpc") {
      const next = await env.GREETER.counter();
      await next();
      return new Response(`${await env.GREETER.greet("you")} ${await next()}`);
    }
    if (pathname === "/flow") {
      const instance = await env.FLOW.create({ id: "mine", params: { n: 1 } });
      return new Response(instance.id);
    }
    return env.CALLEE.fetch(request);
  },
};
"#;

fn project(source: &str, more: &Value) -> Project {
    let project = Project::empty();
    project.write("index.js", source);
    let mut config = json!({"main": "index.js", "compatibility_date": "2026-11-01"});
    for (name, value) in more.as_object().unwrap() {
        config[name] = value.clone();
    }
    project.write("wrangler.json", config.to_string());
    project
}

#[tokio::test]
async fn workers_call_each_other_and_run_workflows() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let callee = project(CALLEE, &json!({"name": "callee"}));
    let caller = |class: &str| {
        let more = json!({
            "name": "caller",
            "services": [
                {"binding": "CALLEE", "service": "callee"},
                {"binding": "GREETER", "service": "callee", "entrypoint": class, "props": {"p": 1}},
            ],
            "workflows": [{"binding": "FLOW", "name": "flow", "class_name": "Flow"}],
        });
        project(CALLER, &more)
    };
    let refused = stderr(&server.wrangler(&caller("Greeter"), ["deploy"], "").await);
    assert!(
        refused.contains("`CALLEE`") && refused.contains("no Worker `callee`"),
        "{refused}"
    );
    server.wrangler_ok(&callee, ["deploy"], "").await;
    let refused = stderr(&server.wrangler(&caller("Nobody"), ["deploy"], "").await);
    assert!(
        refused.contains("`GREETER`") && refused.contains("entrypoint `Nobody`"),
        "{refused}"
    );
    let caller = caller("Greeter");
    server.wrangler_ok(&caller, ["deploy"], "").await;
    assert_eq!(server.text("caller", "/path").await, "callee /path");
    assert_eq!(
        server.text("caller", "/rpc").await,
        r#"hello you {"p":1} 2"#
    );

    // A new callee; both come back with the server.
    callee.write("index.js", CALLEE.replace("callee ", "new callee "));
    server.wrangler_ok(&callee, ["deploy"], "").await;
    assert_eq!(server.text("caller", "/path").await, "new callee /path");
    // One without what is called is refused.
    callee.write(
        "index.js",
        CALLEE.replace("export class Greeter", "class Greeter"),
    );
    let refused = stderr(&server.wrangler(&callee, ["deploy"], "").await);
    assert!(refused.contains("Greeter"), "{refused}");
    assert_eq!(server.text("caller", "/flow").await, "mine");
    let killed = server.kill().await;
    killed.footprint.assert_processes_end();
    let server = world.server(data.path()).await;
    assert_eq!(
        server.text("caller", "/rpc").await,
        r#"hello you {"p":1} 2"#
    );

    let listed = server.wrangler_ok(&caller, ["workflows", "list"], "").await;
    assert!(
        listed.contains("flow") && listed.contains("Flow"),
        "{listed}"
    );
    let shown = server
        .wrangler_ok(&caller, ["workflows", "describe", "flow"], "")
        .await;
    assert!(shown.contains("caller"), "{shown}");
    let trigger = [
        "workflows",
        "trigger",
        "flow",
        r#"{"n": 5}"#,
        "--id",
        "theirs",
    ];
    server.wrangler_ok(&caller, trigger, "").await;
    for (id, output) in [("theirs", 6), ("mine", 2)] {
        let describe = ["workflows", "instances", "describe", "flow", id, "--json"];
        let mut shown = Value::Null;
        while shown["status"] != "complete" {
            let text = server.wrangler_ok(&caller, describe, "").await;
            shown = serde_json::from_str(&text).unwrap();
        }
        assert_eq!(shown["output"], output);
    }
    instances(&server, &caller).await;
    server.wrangler_ok(&caller, ["delete", "--force"], "").await;
    server.stop().await;
}

/// Instances as wrangler lists and changes them.
async fn instances(server: &ServerSession, caller: &Project) {
    let flows = async |line: &str| {
        let line = format!("workflows {line}");
        server.wrangler_line(caller, &line, "").await
    };
    let waiting = r#"trigger flow {"n":5,"waits":true} --id waits"#;
    flows(waiting).await;
    let status = async || {
        let path = "/workflows/flow/instances/waits";
        let found = server.api(Method::GET, path, Value::Null).await.ok().json();
        found["result"]["status"].as_str().unwrap().to_owned()
    };
    let until = async |wanted: &str| {
        while status().await != wanted {
            assert_ne!(status().await, "errored");
        }
    };
    flows("instances pause flow waits").await;
    until("paused").await;
    let listed = flows("instances list flow --json").await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let ids: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["waits", "theirs", "mine"], "{listed}");
    assert_eq!(listed[0]["status"], "paused", "{listed}");
    let done = flows("instances list flow --status complete --json").await;
    let done: Value = serde_json::from_str(&done).unwrap();
    assert_eq!(done.as_array().unwrap().len(), 2, "{done}");
    flows("instances resume flow latest").await;
    until("waiting").await;
    flows("instances terminate flow waits").await;
    until("terminated").await;
    flows("instances restart flow waits").await;
    until("waiting").await;
    flows("instances send-event flow waits --type go").await;
    until("complete").await;

    // It goes when nobody has it any more.
    let delete = ["workflows", "delete", "flow"];
    let refused = stderr(&server.wrangler(caller, delete, "").await);
    assert!(
        refused.contains("`caller`") && refused.contains("`FLOW`"),
        "{refused}"
    );
    let mut config: Value = serde_json::from_str(&caller.read("wrangler.json")).unwrap();
    config.as_object_mut().unwrap().remove("workflows");
    caller.write("wrangler.json", config.to_string());
    server.wrangler_ok(caller, ["deploy"], "").await;
    server.wrangler_ok(caller, delete, "").await;
    let listed = server
        .api(Method::GET, "/workflows", Value::Null)
        .await
        .ok()
        .json();
    assert_eq!(listed["result"], json!([]));
}
