//! `berth backup` of a server that runs, and `berth restore` of it elsewhere.

use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};

use berth_test::{Project, ServerSession};
use http::Method;
use serde_json::{Value, json};

use crate::deployed::counter;
use crate::serve::about;
use crate::world;

/// Keeps `/<word>` in KV, D1 and R2; `/` tells what each has.
const KEEPER: &str = r#"
const schema = "CREATE TABLE IF NOT EXISTS words (word TEXT)";
export default {
  async fetch(request, env) {
    const word = new URL(request.url).pathname.slice(1);
    await env.DB.prepare(schema).run();
    if (word) {
      await env.KV.put("word", word);
      await env.DB.prepare("INSERT INTO words VALUES (?)").bind(word).run();
      await env.FILES.put("word", word);
    }
    const { results } = await env.DB.prepare("SELECT word FROM words").all();
    const file = await env.FILES.get("word");
    return new Response([await env.KV.get("word"), results[0]?.word, await file?.text()].join(" "));
  },
};
"#;

/// A Worker with a namespace, a database and a bucket.
async fn keeper(server: &ServerSession) -> Project {
    let make = async |path, body, id: &str| -> String {
        let made = server.api(Method::POST, path, body).await.ok().json();
        made["result"][id].as_str().unwrap().to_owned()
    };
    let namespace = make("/storage/kv/namespaces", json!({"title": "words"}), "id").await;
    let database = make("/d1/database", json!({"name": "words"}), "uuid").await;
    let bucket = make("/r2/buckets", json!({"name": "words"}), "name").await;
    let project = Project::empty();
    project.write("index.js", KEEPER);
    let config: Value = json!({
        "name": "keeper", "main": "index.js", "compatibility_date": "2026-11-01",
        "kv_namespaces": [{"binding": "KV", "id": namespace}],
        "d1_databases": [{"binding": "DB", "database_name": "words", "database_id": database}],
        "r2_buckets": [{"binding": "FILES", "bucket_name": bucket}],
    });
    project.write("wrangler.jsonc", config.to_string());
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
        count(&server, "/count/still").await;
    }

    let keeper = keeper(&server).await;
    server.berth_ok(&keeper, ["deploy"], "").await;
    assert_eq!(server.text("keeper", "/kept").await, "kept kept kept");

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
            last = count(&server, "/count/busy").await;
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
    assert_eq!(about(&server).await["key"], "hunter2");
    assert_eq!(count(&server, "/count/still").await, 6);
    assert_eq!(server.text("keeper", "/").await, "kept kept kept");
    let busy = count(&server, "/count/busy").await;
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
