//! Secrets stores: a Worker has the value, nothing on disk does.

use std::path::Path;

use berth_test::Project;

use super::{after, stderr};
use crate::world;

const VALUE: &str = "plain-hunter2-text";
const LATER: &str = "plain-later-text";

#[tokio::test]
async fn a_secret_of_a_store_reaches_its_worker_and_no_file() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = Project::empty();
    let create = ["secrets-store", "store", "create", "default", "--remote"];
    let created = server.wrangler_ok(&project, create, "").await;
    let store = after(&created, "ID: ").to_owned();
    let store = store.as_str();
    let list = ["secrets-store", "store", "list", "--remote"];
    assert!(server.wrangler_ok(&project, list, "").await.contains(store));
    project.write(
        "index.js",
        "export default { async fetch(request, env) { return new Response(await env.KEY.get()); } };",
    );
    let config = serde_json::json!({
        "name": "reader", "main": "index.js", "compatibility_date": "2023-01-01",
        "secrets_store_secrets": [{"binding": "KEY", "store_id": store, "secret_name": "key"}],
    });
    project.write("wrangler.json", config.to_string());
    let refused = stderr(&server.wrangler(&project, ["deploy"], "").await);
    assert!(
        refused.contains("`KEY`") && refused.contains("secret `key`"),
        "{refused}"
    );

    let secret = |verb| ["secrets-store", "secret", verb, store, "--remote"];
    let [a, b, c, d, e] = secret("create");
    let create = [
        a, b, c, d, e, "--name", "key", "--scopes", "workers", "--value", VALUE,
    ];
    let created = server.wrangler_ok(&project, create, "").await;
    let id = after(&created, "ID: ").to_owned();
    let id = id.as_str();
    server.wrangler_ok(&project, ["deploy"], "").await;
    assert_eq!(server.text("reader", "/").await, VALUE);
    let listed = server.wrangler_ok(&project, secret("list"), "").await;
    assert!(
        listed.contains("key") && !listed.contains(VALUE),
        "{listed}"
    );
    let [a, b, c, d, e] = secret("get");
    let shown = server
        .wrangler_ok(&project, [a, b, c, d, e, "--secret-id", id], "")
        .await;
    assert!(
        shown.contains("active") && !shown.contains(VALUE),
        "{shown}"
    );
    let [a, b, c, d, e] = secret("update");
    let update = [a, b, c, d, e, "--secret-id", id, "--value", LATER];
    server.wrangler_ok(&project, update, "").await;
    assert_eq!(server.text("reader", "/").await, LATER, "it has it at once");
    let [a, b, c, d, e] = secret("duplicate");
    let twin = [
        a,
        b,
        c,
        d,
        e,
        "--secret-id",
        id,
        "--name",
        "twin",
        "--scopes",
        "workers",
    ];
    server.wrangler_ok(&project, twin, "").await;

    let killed = server.kill().await;
    killed.footprint.assert_processes_end();
    let server = world.server(data.path()).await;
    assert_eq!(server.text("reader", "/").await, LATER);
    assert_in_no_file(data.path());
    assert!(!server.transcript().contains("plain-"));

    let [a, b, c, d, e] = secret("delete");
    let delete = [a, b, c, d, e, "--secret-id", id];
    let refused = stderr(&server.wrangler(&project, delete, "").await);
    assert!(refused.contains("the Worker `reader`"), "{refused}");
    server
        .wrangler_ok(&project, ["delete", "--force"], "")
        .await;
    server.wrangler_ok(&project, delete, "").await;
    let delete = ["secrets-store", "store", "delete", store, "--remote"];
    server.wrangler_ok(&project, delete, "").await;
    server.stop().await;
}

#[tokio::test]
async fn a_value_that_its_worker_cannot_take_over_is_no_success() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = Project::empty();
    let create = ["secrets-store", "store", "create", "default", "--remote"];
    let created = server.wrangler_ok(&project, create, "").await;
    let store = after(&created, "ID: ").to_owned();
    let store = store.as_str();
    let secret = |verb| ["secrets-store", "secret", verb, store, "--remote"];
    let [a, b, c, d, e] = secret("create");
    let create = [
        a, b, c, d, e, "--name", "key", "--scopes", "workers", "--value", VALUE,
    ];
    let created = server.wrangler_ok(&project, create, "").await;
    let id = after(&created, "ID: ").to_owned();
    project.write(
        "index.js",
        "import { DurableObject } from 'cloudflare:workers';
         export class Box extends DurableObject {}
         export default { async fetch(request, env) { return new Response(await env.KEY.get()); } };",
    );
    let config = serde_json::json!({
        "name": "reader", "main": "index.js", "compatibility_date": "2026-01-01",
        "secrets_store_secrets": [{"binding": "KEY", "store_id": store, "secret_name": "key"}],
        "durable_objects": {"bindings": [{"name": "BOX", "class_name": "Box"}]},
        "migrations": [{"tag": "v1", "new_sqlite_classes": ["Box"]}],
    });
    project.write("wrangler.json", config.to_string());
    server.wrangler_ok(&project, ["deploy"], "").await;
    assert_eq!(server.text("reader", "/").await, VALUE);

    // What its objects are kept in is gone: no workerd starts with it.
    let apps = data.path().join("server/apps");
    let app = std::fs::read_dir(apps).unwrap().next().unwrap().unwrap();
    let (state, away) = (app.path().join("state"), app.path().join("away"));
    std::fs::rename(&state, &away).unwrap();
    std::fs::write(&state, "").unwrap();
    let [a, b, c, d, e] = secret("update");
    let update = [a, b, c, d, e, "--secret-id", &id, "--value", LATER];
    let refused = server.wrangler(&project, update, "").await;
    let said = String::from_utf8_lossy(&refused.stdout).into_owned() + &stderr(&refused);
    assert!(
        !refused.status.success() && said.contains("the Worker `reader` does not run with it"),
        "{said}"
    );
    // What is not that Worker's is.
    server
        .wrangler_ok(&project, ["queues", "create", "other"], "")
        .await;

    std::fs::remove_file(&state).unwrap();
    std::fs::rename(&away, &state).unwrap();
    server.wrangler_ok(&project, update, "").await;
    assert_eq!(server.text("reader", "/").await, LATER);
    server.stop().await;
}

fn assert_in_no_file(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            assert_in_no_file(&entry.path());
        } else if kind.is_file() {
            let content = std::fs::read(entry.path()).unwrap_or_default();
            for secret in [VALUE, LATER] {
                let found = content
                    .windows(secret.len())
                    .any(|part| part == secret.as_bytes());
                assert!(!found, "{} has a secret", entry.path().display());
            }
        }
    }
}
