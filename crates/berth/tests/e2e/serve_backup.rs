//! `berth backup` of a server that runs, and `berth restore` of it elsewhere.

use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};

use berth_test::{Project, ServerSession};

use crate::world;

const CONFIG: &str = r#"{
  "name": "counter",
  "main": "index.js",
  "compatibility_date": "2026-11-01",
  "durable_objects": { "bindings": [{ "name": "COUNTER", "class_name": "Counter" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Counter"] }]
}"#;

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
    const { pathname } = new URL(request.url);
    if (pathname === "/key") return new Response(env.KEY);
    return new Response(String(await env.COUNTER.getByName(pathname).next()));
  },
};
"#;

fn counter() -> Project {
    let project = Project::empty();
    project.write("wrangler.jsonc", CONFIG);
    project.write("index.js", WORKER);
    project
}

async fn count(server: &ServerSession, path: &str) -> u64 {
    server.text("counter", path).await.parse().unwrap()
}

fn restored(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[tokio::test]
async fn a_backup_of_a_busy_server_is_restored_elsewhere() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = counter();
    server.berth_ok(&project, ["deploy"], "").await;
    server
        .berth_ok(&project, ["secret", "put", "KEY"], "hunter2")
        .await;
    for _ in 0..5 {
        count(&server, "/still").await;
    }

    // Requests go on while it is taken; none fails.
    let stop = AtomicBool::new(false);
    let taking = async {
        let taken = server
            .berth_ok(&project, ["backup", "whole.tar", "--keys", "--json"], "")
            .await;
        stop.store(true, Ordering::Relaxed);
        taken
    };
    let counting = async {
        let mut last = 0;
        while !stop.load(Ordering::Relaxed) {
            last = count(&server, "/busy").await;
        }
        last
    };
    let (taken, last) = tokio::join!(taking, counting);
    assert!(taken.contains("\"keys\": true"), "{taken}");
    assert!(last > 0);
    let without = server
        .berth(&project, ["backup", "bare.tar"], "", &[])
        .await;
    let said = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(
        without.status.success() && said.contains("control.key"),
        "{said}"
    );
    let left = std::fs::read_dir(data.path().join(".backup")).unwrap();
    assert_eq!(left.count(), 1, "only the lock");
    let refused = server
        .berth(&project, ["restore", "whole.tar"], "", &[])
        .await;
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("is not empty"), "{said}");
    server.stop().await;

    // The server does not run: its directory is read.
    let offline = project.path().join("offline.tar");
    let mut command = world.command();
    command
        .arg("backup")
        .arg(&offline)
        .env("BERTH_DATA_DIR", data.path());
    restored(&command.output().unwrap());

    let other = tempfile::tempdir().unwrap();
    let whole = project.path().join("whole.tar");
    let mut command = world.command();
    command
        .arg("restore")
        .arg(&whole)
        .env("BERTH_DATA_DIR", other.path());
    restored(&command.output().unwrap());
    let server = world.server(other.path()).await;
    assert_eq!(server.text("counter", "/key").await, "hunter2");
    assert_eq!(count(&server, "/still").await, 6);
    let busy = count(&server, "/busy").await;
    assert!((1..=last + 1).contains(&busy), "{busy} of {last}");
    // It is the same server: the same account and token.
    server.berth_ok(&project, ["deploy"], "").await;
    server.stop().await;
    let listed = std::process::Command::new("tar")
        .arg("-tf")
        .arg(&offline)
        .output()
        .unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(
        listed.contains("server/records.db") && !listed.contains("control.key"),
        "{listed}"
    );
}
