//! D1 databases.

use berth_test::Project;
use serde_json::Value;

use super::{after, kill_data_plane, stderr, until};
use crate::world;

const WORKER: &str = r#"
export default {
  async fetch(request, env) {
    try {
      const { results } = await env.DB.prepare("SELECT v FROM t WHERE id > ? ORDER BY id").bind(0).all();
      return new Response(results.map(({ v }) => v).join());
    } catch (error) {
      return new Response(error.message, { status: 500 });
    }
  },
};
"#;

fn worker(name: &str, flags: &[&str], database: &str) -> Project {
    let project = Project::empty();
    project.write("index.js", WORKER);
    let config = serde_json::json!({
        "name": name, "main": "index.js", "compatibility_date": "2026-11-01",
        "compatibility_flags": flags,
        "d1_databases": [{"binding": "DB", "database_name": "db", "database_id": database}],
    });
    project.write("wrangler.json", config.to_string());
    project
}

#[tokio::test]
async fn d1_is_shared_by_workers_and_commands_and_survives_kills() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let none = Project::empty();
    let created = server.wrangler_ok(&none, ["d1", "create", "db"], "").await;
    let id = after(&created, "\"database_id\": \"").to_owned();
    let listed = server
        .wrangler_ok(&none, ["d1", "list", "--json"], "")
        .await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (&listed[0]["name"], &listed[0]["uuid"]),
        (&"db".into(), &id.clone().into())
    );

    let sql = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t (v) VALUES ('a;b'); \
               CREATE TRIGGER more AFTER DELETE ON t BEGIN INSERT INTO t (v) VALUES ('again'); END; \
               SELECT v FROM t";
    let execute = [
        "d1",
        "execute",
        "db",
        "--remote",
        "--json",
        "--command",
        sql,
    ];
    let results = server.wrangler_ok(&none, execute, "").await;
    let results: Value = serde_json::from_str(&results).unwrap();
    assert_eq!(results.as_array().unwrap().len(), 4);
    assert_eq!(results[3]["results"][0]["v"], "a;b");
    // All of it or nothing.
    let sql = "INSERT INTO t (v) VALUES ('lost'); SELECT * FROM nowhere";
    let execute = ["d1", "execute", "db", "--remote", "--command", sql];
    let refused = stderr(&server.wrangler(&none, execute, "").await);
    assert!(refused.contains("no such table: nowhere"), "{refused}");
    none.write(
        "more.sql",
        "INSERT INTO t (v) VALUES ('x');\nINSERT INTO t (v) VALUES ('it''s');\n",
    );
    let file = [
        "d1", "execute", "db", "--remote", "--yes", "--file", "more.sql",
    ];
    let ran = server.wrangler_ok(&none, file, "").await;
    assert!(ran.contains("Executed 2 queries"), "{ran}");

    // With and without RPC in D1's binding.
    let (plain, rpc) = (
        worker("plain", &[], &id),
        worker("rpc", &["d1_binding_jsrpc"], &id),
    );
    server.wrangler_ok(&plain, ["deploy"], "").await;
    server.wrangler_ok(&rpc, ["deploy"], "").await;
    for name in ["plain", "rpc"] {
        assert_eq!(server.text(name, "/").await, "a;b,x,it's");
    }
    plain.write(
        "migrations/0001_first.sql",
        "CREATE TABLE m (a); -- one; two\nINSERT INTO m VALUES (1);",
    );
    let apply = ["d1", "migrations", "apply", "db", "--remote"];
    server.wrangler_ok(&plain, apply, "").await;
    let list = ["d1", "migrations", "list", "db", "--remote"];
    let left = server.wrangler_ok(&plain, list, "").await;
    assert!(left.contains("No migrations to apply"), "{left}");
    let info = server
        .wrangler_ok(&none, ["d1", "info", "db", "--json"], "")
        .await;
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["num_tables"], 3, "{info}");
    let export = ["d1", "export", "db", "--remote", "--output", "out.sql"];
    server.wrangler_ok(&none, export, "").await;
    let exported = none.read("out.sql");
    assert!(
        exported.contains("CREATE TRIGGER more") && exported.contains("'it''s'"),
        "{exported}"
    );

    kill_data_plane(data.path());
    until(&server, "rpc", "/", "a;b,x,it's").await;
    let killed = server.kill().await;
    killed.footprint.assert_processes_end();
    let server = world.server(data.path()).await;
    assert_eq!(server.text("plain", "/").await, "a;b,x,it's");

    let delete = ["d1", "delete", "db", "--skip-confirmation"];
    let refused = stderr(&server.wrangler(&none, delete, "").await);
    assert!(refused.contains("the Worker `plain`"), "{refused}");
    server.wrangler_ok(&plain, ["delete", "--force"], "").await;
    server.wrangler_ok(&rpc, ["delete", "--force"], "").await;
    server.wrangler_ok(&none, delete, "").await;
    server.stop().await;
}
