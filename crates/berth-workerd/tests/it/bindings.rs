//! Every kind of binding, in a real workerd, driven by HTTP.

use berth_config::{
    Assets, D1Database, DurableObjectClass, KvNamespace, QueueConsumer, QueueProducer,
    RunWorkerFirst, ServiceBinding, Workflow,
};
use serde_json::json;

use crate::world::World;

fn worker(source: &str) -> World {
    World::new(&[("src/index.ts", source)])
}

#[tokio::test]
async fn variables_secrets_and_request_cf() {
    let mut world = worker(
        "export default { fetch: (r, env) => Response.json({ env, cf: r.cf, url: r.url }) };",
    );
    let vars = &mut world.project.vars;
    vars.insert("TEXT".to_owned(), json!("quo\"te\n\u{1}ü"));
    vars.insert("JSON".to_owned(), json!({ "a": [1, null] }));
    vars.insert("SECRET".to_owned(), json!("from vars"));
    world
        .project
        .secrets
        .insert("SECRET".to_owned(), "from secrets".to_owned());
    let running = world.start().await;
    let answer: serde_json::Value = serde_json::from_str(&running.text("/p?q=1").await).unwrap();
    let env =
        json!({ "TEXT": "quo\"te\n\u{1}ü", "JSON": { "a": [1, null] }, "SECRET": "from secrets" });
    let expected =
        json!({ "env": env, "cf": { "colo": "DEV" }, "url": "http://localhost:8787/p?q=1" });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn durable_objects_and_kv_persist_over_a_replacement() {
    let mut world = worker(
        r#"
        import { DurableObject } from "cloudflare:workers";
        export class Counter extends DurableObject {
            async fetch() {
                const sql = this.ctx.storage.sql;
                sql.exec("create table if not exists t (n)");
                sql.exec("insert into t values (1)");
                return new Response(sql.exec("select count(*) as n from t").one().n);
            }
        }
        export default { async fetch(r, env) {
            const { pathname } = new URL(r.url);
            if (pathname === "/count") return env.COUNTER.getByName("a").fetch(r);
            if (r.method === "PUT") { await env.KV.put(pathname, r.body); return new Response("ok"); }
            return new Response(await env.KV.get(pathname));
        } };
        "#,
    );
    world.project.durable_objects = vec![crate::world::object("COUNTER", "Counter")];
    world.project.classes = vec![DurableObjectClass {
        class_name: "Counter".to_owned(),
        sqlite: true,
        key: None,
    }];
    world.project.kv_namespaces = vec![KvNamespace {
        binding: "KV".to_owned(),
        id: "store".to_owned(),
    }];
    let running = world.start().await;
    assert_eq!(running.text("/count").await, "1");
    let large = "x".repeat(100_000);
    for (key, value) in [("/small", "value"), ("/large", large.as_str())] {
        assert_eq!(
            running.request("PUT", key, value).await,
            (200, "ok".to_owned())
        );
    }
    let pid = running.workerd.pid();
    running
        .workerd
        .replace(&world.prepare(&world.socket()).await.config, world.socket())
        .await
        .unwrap();
    assert_ne!(running.workerd.pid(), pid);
    assert_eq!(running.text("/count").await, "2");
    assert_eq!(running.text("/small").await, "value");
    assert_eq!(running.text("/large").await, large);
    assert!(world.root().join(".berth/state/do/my-app-Counter").is_dir());
    running
        .workerd
        .stop(std::time::Duration::from_secs(10))
        .await;
    assert_eq!(running.workerd.pid(), None);
}

#[tokio::test]
async fn d1_runs_sql() {
    let mut world = worker(
        r#"export default { async fetch(r, env) {
            await env.DB.exec("create table if not exists t (a text)");
            await env.DB.prepare("insert into t values (?)").bind("x").run();
            const { results } = await env.DB.prepare("select a from t").all();
            return Response.json(results);
        } };"#,
    );
    world.project.d1_databases = vec![D1Database {
        binding: "DB".to_owned(),
        database_name: "db".to_owned(),
        database_id: "id".to_owned(),
    }];
    let running = world.start().await;
    assert_eq!(running.text("/").await, r#"[{"a":"x"}]"#);
}

#[tokio::test]
async fn a_queue_delivers_and_a_failed_message_reaches_the_dead_letter_queue() {
    let mut world = worker(
        r#"export default {
            async fetch(r, env) { await env.Q.send({ n: 7 }); return new Response("sent"); },
            async queue(batch) {
                for (const m of batch.messages) {
                    console.log(`${batch.queue} got ${JSON.stringify(m.body)}`);
                    if (batch.queue === "jobs") m.retry();
                }
            },
        };"#,
    );
    let queue = |name: &str, dead: Option<&str>| QueueConsumer {
        queue: name.to_owned(),
        max_batch_size: Some(1),
        max_batch_timeout_s: Some(1),
        max_retries: Some(0),
        dead_letter_queue: dead.map(str::to_owned),
        max_concurrency: None,
        retry_delay_s: None,
    };
    world.project.queue_producers = vec![QueueProducer {
        binding: "Q".to_owned(),
        queue: "jobs".to_owned(),
        delivery_delay_s: None,
    }];
    world.project.queue_consumers = vec![queue("jobs", Some("dead")), queue("dead", None)];
    let mut running = world.start().await;
    assert_eq!(running.text("/").await, "sent");
    running.log(r#"jobs got {"n":7}"#).await;
    running.log(r#"dead got {"n":7}"#).await;
}

#[tokio::test]
async fn a_workflow_runs_its_steps() {
    let mut world = worker(
        r#"
        import { WorkflowEntrypoint } from "cloudflare:workers";
        export class Flow extends WorkflowEntrypoint {
            async run(event, step) {
                const a = await step.do("first", async () => event.payload.n + 1);
                return await step.do("second", async () => a * 10);
            }
        }
        export default { async fetch(r, env) {
            const id = new URL(r.url).searchParams.get("id");
            if (id) return Response.json(await (await env.FLOW.get(id)).status());
            return new Response((await env.FLOW.create({ params: { n: 4 } })).id);
        } };
        "#,
    );
    world.project.workflows = vec![Workflow {
        binding: "FLOW".to_owned(),
        name: "flow".to_owned(),
        class_name: "Flow".to_owned(),
    }];
    let running = world.start().await;
    let id = running.text("/").await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let status = running.text(&format!("/?id={id}")).await;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        if status["status"] == "complete" {
            assert_eq!(status["output"], 50);
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{status}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_cron_trigger_can_be_run_by_hand() {
    let mut world = worker(
        r#"export default {
            fetch: () => new Response("fetched"),
            async scheduled(event) {
                console.log(`cron ${event.cron} at ${event.scheduledTime}`);
                if (event.cron === "fail") throw new Error("no");
            },
        };"#,
    );
    world.project.crons = vec!["*/5 * * * *".to_owned()];
    let mut running = world.start().await;
    assert_eq!(running.text("/").await, "fetched");
    let triggers = running.workerd.triggers().unwrap();
    let path = "/cdn-cgi/handler/scheduled?cron=*/5+*+*+*+*&time=86400000";
    assert_eq!(
        crate::world::send(&triggers, "GET", path, "")
            .await
            .status(),
        200
    );
    running.log("cron */5 * * * * at 86400000").await;
    let path = "/cdn-cgi/handler/scheduled?cron=fail";
    assert_eq!(
        crate::world::send(&triggers, "GET", path, "")
            .await
            .status(),
        500
    );
    assert_eq!(
        crate::world::send(&triggers, "GET", "/cdn-cgi/other", "")
            .await
            .status(),
        404
    );
}

fn site(world: &mut World) -> &mut Assets {
    for (path, text) in [
        ("public/index.html", "home"),
        ("public/about.html", "about"),
        ("public/404.html", "nothing here"),
        ("public/_headers", "/about\n  X-From: headers\n"),
        ("public/_redirects", "/old /about 302\n"),
    ] {
        world.write(path, text);
    }
    world.project.assets.insert(Assets {
        directory: world.root().join("public"),
        binding: Some("ASSETS".to_owned()),
        html_handling: "auto-trailing-slash".to_owned(),
        not_found_handling: "none".to_owned(),
        run_worker_first: RunWorkerFirst::Always(false),
    })
}

const SITE_WORKER: &str = r#"export default { async fetch(r, env) {
    const { pathname } = new URL(r.url);
    if (pathname === "/api/about") return env.ASSETS.fetch("http://x/about");
    return new Response("worker " + pathname);
} };"#;

#[tokio::test]
async fn assets_are_served_before_the_worker() {
    let mut world = worker(SITE_WORKER);
    site(&mut world);
    let running = world.start().await;
    assert_eq!(running.text("/").await, "home");
    assert_eq!(running.text("/about").await, "about");
    assert_eq!(running.text("/other").await, "worker /other");
    assert_eq!(running.text("/api/about").await, "about");
    assert_eq!(running.get("/old").await.0, 302);
    let upstream = running.workerd.upstream().borrow().clone().unwrap();
    let response = crate::world::send(&upstream, "GET", "/about", "").await;
    assert_eq!(response.headers()["x-from"], "headers");
}

#[tokio::test]
async fn the_worker_can_come_first_and_unknown_paths_have_a_page() {
    let mut world = worker(SITE_WORKER);
    let assets = site(&mut world);
    assets.run_worker_first = RunWorkerFirst::Routes(vec!["/about".to_owned()]);
    assets.not_found_handling = "404-page".to_owned();
    let running = world.start().await;
    assert_eq!(running.text("/about").await, "worker /about");
    assert_eq!(
        running.get("/unknown").await,
        (404, "nothing here".to_owned())
    );
}

#[tokio::test]
async fn assets_need_no_worker() {
    let mut world = World::new(&[]);
    site(&mut world).not_found_handling = "single-page-application".to_owned();
    world.project.main = None;
    let running = world.start().await;
    assert_eq!(running.text("/about").await, "about");
    assert_eq!(running.text("/deep/link").await, "home");
}

#[tokio::test]
async fn services_lead_to_the_worker_itself_and_its_entrypoints() {
    let mut world = worker(
        r#"
        import { WorkerEntrypoint } from "cloudflare:workers";
        export class Admin extends WorkerEntrypoint { add(a, b) { return a + b; } }
        export default { async fetch(r, env) {
            const { pathname } = new URL(r.url);
            if (pathname === "/self") return env.SELF.fetch("http://x/inner");
            if (pathname === "/add") return new Response(await env.ADMIN.add(2, 3));
            return new Response(pathname);
        } };
        "#,
    );
    let service = |binding: &str, entrypoint: Option<&str>| ServiceBinding {
        binding: binding.to_owned(),
        service: "my-app".to_owned(),
        entrypoint: entrypoint.map(str::to_owned),
    };
    world.project.services = vec![service("SELF", None), service("ADMIN", Some("Admin"))];
    let running = world.start().await;
    assert_eq!(running.text("/self").await, "/inner");
    assert_eq!(running.text("/add").await, "5");
}

#[tokio::test]
async fn modules_of_every_kind_arrive_as_what_they_are() {
    // (module (func (export "f") (result i32) i32.const 42))
    let wasm = [
        0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 5, 1, 0x60, 0, 1, 0x7f, 3, 2, 1, 0, 7, 5, 1, 1, 0x66,
        0, 0, 10, 6, 1, 4, 0, 0x41, 42, 0x0b,
    ];
    let world = worker(
        r#"
        import text from "./a.txt";
        import html from "./b.html";
        import sql from "./c.sql";
        import data from "./d.bin";
        import wasm from "./e.wasm";
        import { Buffer } from "node:buffer";
        export default { async fetch() {
            const { f } = (await WebAssembly.instantiate(wasm)).exports;
            return Response.json([text, html, sql, data instanceof ArrayBuffer,
                Buffer.from(data).toString("hex"), wasm instanceof WebAssembly.Module, f()]);
        } };
        "#,
    );
    world.write("src/a.txt", "tüxt");
    world.write("src/b.html", "");
    world.write("src/c.sql", "select 1");
    world.write("src/d.bin", [0, 255, 10]);
    world.write("src/e.wasm", wasm);
    let running = world.start().await;
    let answer: serde_json::Value = serde_json::from_str(&running.text("/").await).unwrap();
    assert_eq!(
        answer,
        json!(["tüxt", "", "select 1", true, "00ff0a", true, 42])
    );
}
