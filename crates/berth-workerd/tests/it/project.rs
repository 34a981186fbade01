//! From a `wrangler.jsonc` on disk to answers, through the configuration loader.

use berth_config::LoadOptions;
use berth_workerd::max_compatibility_date;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::world::World;

const CONFIG: &str = r#"{
    // Everything that runs without containers.
    "name": "my-app",
    "main": "src/index.ts",
    "compatibility_date": "2026-11-01",
    "compatibility_flags": ["nodejs_compat"],
    "vars": { "GREETING": "hello" },
    "durable_objects": { "bindings": [{ "name": "ROOM", "class_name": "Room" }] },
    "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Room"] }],
    "kv_namespaces": [{ "binding": "KV" }],
    "d1_databases": [{ "binding": "DB", "database_name": "db" }],
    "queues": { "producers": [{ "binding": "Q", "queue": "q" }], "consumers": [{ "queue": "q" }] },
    "workflows": [{ "binding": "FLOW", "name": "flow", "class_name": "Flow" }],
    "triggers": { "crons": ["0 3 * * *"] },
    "assets": { "directory": "public", "binding": "ASSETS" },
    "services": [{ "binding": "SELF", "service": "my-app" }],
}"#;

const SOURCE: &str = r#"
import { DurableObject, WorkflowEntrypoint } from "cloudflare:workers";
export class Room extends DurableObject {}
export class Flow extends WorkflowEntrypoint { async run() {} }
export default {
    async fetch(request: Request, env: Record<string, unknown>): Promise<Response> {
        const target = new URL(request.url).searchParams.get("fetch");
        if (target) return fetch(target);
        return Response.json(Object.keys(env).sort());
    },
    async queue() {},
    async scheduled() {},
};
"#;

fn world() -> World {
    let mut world = World::new(&[
        ("wrangler.jsonc", CONFIG),
        ("src/index.ts", SOURCE),
        ("public/page.txt", "a page"),
        (".dev.vars", "TOKEN=secret\n"),
    ]);
    let options = LoadOptions {
        directory: world.root(),
        max_compatibility_date: Some(max_compatibility_date()),
        ..LoadOptions::default()
    };
    world.project = match berth_config::load(&options) {
        Ok(loaded) => loaded.project,
        Err(errors) => panic!("{}", errors.render_plain()),
    };
    world
}

#[tokio::test]
async fn every_binding_of_the_file_is_in_env() {
    let world = world();
    let running = world.start().await;
    assert_eq!(
        running.text("/").await,
        r#"["ASSETS","DB","FLOW","GREETING","KV","Q","ROOM","SELF","TOKEN"]"#
    );
    assert_eq!(running.text("/page.txt").await, "a page");
}

#[tokio::test]
async fn fetch_reaches_addresses_of_this_machine() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await.unwrap();
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlocal";
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let world = world();
    let running = world.start().await;
    assert_eq!(
        running.text(&format!("/?fetch=http://{address}/")).await,
        "local"
    );
}

#[tokio::test]
async fn the_newest_compatibility_date_is_accepted() {
    let mut world = world();
    world.project.compatibility_date = max_compatibility_date();
    world.start().await;
}
