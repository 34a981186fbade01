//! The same data through `berth`'s own commands.

use berth_test::{Project, ServerSession};
use serde_json::{Value, json};

use crate::world;

const WORKER: &str = r#"
import { WorkflowEntrypoint } from "cloudflare:workers";
export class Flow extends WorkflowEntrypoint {
  async run(event, step) {
    const { payload } = await step.waitForEvent("answer", { type: "answer", timeout: "1 hour" });
    return { asked: event.payload, payload };
  }
}
export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    return new Response(await env.NS.get(url.pathname.slice(1)));
  },
  async queue() {},
};
"#;

/// `berth` with the words of a line, in a project.
struct Commands<'a> {
    server: &'a ServerSession,
    project: &'a Project,
}

impl Commands<'_> {
    async fn output(&self, line: &str, input: &str) -> std::process::Output {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.server
            .berth_with(self.project, &words, input, &[])
            .await
    }

    async fn with(&self, line: &str, input: &str) -> String {
        let output = self.output(line, input).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "berth {line}: {stdout}{stderr}");
        stdout
    }

    async fn run(&self, line: &str) -> String {
        self.with(line, "").await
    }

    async fn json(&self, line: &str) -> Value {
        let output = self.run(&format!("{line} --json")).await;
        serde_json::from_str(&output).expect(&output)
    }

    async fn refused(&self, line: &str) -> String {
        super::stderr(&self.output(line, "").await)
    }
}

#[tokio::test]
async fn what_workers_keep_is_in_berths_hands_too() {
    let world = world();
    let data = tempfile::tempdir().unwrap();
    let server = world.server(data.path()).await;
    let project = Project::empty();
    let berth = Commands {
        server: &server,
        project: &project,
    };
    let made = berth.json("kv namespace create first").await;
    let id = made["id"].as_str().unwrap();
    project.write("index.js", WORKER);
    let config = json!({
        "name": "app", "main": "index.js", "compatibility_date": "2026-11-01",
        "kv_namespaces": [{"binding": "NS", "id": id}],
        "workflows": [{"name": "flow", "binding": "FLOW", "class_name": "Flow"}],
        "d1_databases": [{
            "binding": "DB", "database_name": "books", "migrations_dir": "steps",
        }],
    });
    kv(&berth, id).await;
    d1(&berth, &config).await;
    berth.run("deploy").await;
    // The binding says which namespace, to commands and to the Worker.
    berth.run("kv key put a one --binding NS").await;
    assert_eq!(server.text("app", "/a").await, "one");
    r2(&berth).await;
    queues(&berth).await;
    secrets(&berth).await;
    workflows(&berth).await;
    server.stop().await;
}

async fn kv(berth: &Commands<'_>, id: &str) {
    let listed = berth.json("kv namespace list").await;
    assert_eq!(
        (&listed[0]["id"], &listed[0]["title"]),
        (&id.into(), &"first".into())
    );
    berth
        .run("kv namespace rename first --new-name second")
        .await;
    // By its title; the value is an argument, a file, or standard input.
    let of = "--namespace-id second";
    let put = format!("kv key put a/b {of} --metadata {{\"by\":\"me\"}}");
    berth.with(&put, "from\nstdin\n").await;
    berth.project.write("value", "of a file");
    berth
        .run(&format!("kv key put b --path value --ttl 3600 {of}"))
        .await;
    let got = berth.run(&format!("kv key get a/b {of}")).await;
    assert_eq!(got, "from\nstdin\n");
    let keys = berth.json(&format!("kv key list --prefix a {of}")).await;
    assert_eq!(keys[0]["name"], "a/b");
    assert_eq!(keys[0]["metadata"], json!({"by": "me"}));
    assert_eq!(keys.as_array().unwrap().len(), 1);
    let table = berth.run(&format!("kv key list {of}")).await;
    assert!(
        table.starts_with("NAME") && table.contains("b     "),
        "{table}"
    );

    let pairs: Vec<Value> = (0..1200)
        .map(|n| json!({"key": format!("n{n:04}"), "value": n.to_string()}))
        .collect();
    berth
        .project
        .write("pairs.json", Value::Array(pairs).to_string());
    let wrote = berth.run(&format!("kv bulk put pairs.json {of}")).await;
    assert_eq!(wrote, "wrote 1200 keys\n");
    let keys = berth.json(&format!("kv key list --prefix n {of}")).await;
    assert_eq!(keys.as_array().unwrap().len(), 1200, "more than a page");
    berth
        .project
        .write("keys.json", r#"["n0001", {"name": "n1199"}]"#);
    let got = berth.run(&format!("kv bulk get keys.json {of}")).await;
    let got: Value = serde_json::from_str(&got).unwrap();
    assert_eq!(got, json!({"n0001": "1", "n1199": "1199"}));
    berth
        .run(&format!("kv bulk delete keys.json --force {of}"))
        .await;
    berth.run(&format!("kv key delete b {of}")).await;
    let refused = berth.refused(&format!("kv key get b {of}")).await;
    assert!(refused.contains("`b`"), "{refused}");
    let refused = berth.refused("kv key get b --namespace-id third").await;
    assert!(
        refused.contains("`third`") && refused.contains("kv namespace list"),
        "{refused}"
    );
    let refused = berth.refused("kv key get b").await;
    assert!(refused.contains("--namespace-id"), "{refused}");
}

async fn d1(berth: &Commands<'_>, config: &Value) {
    let made = berth.json("d1 create books").await;
    let mut config = config.clone();
    config["d1_databases"][0]["database_id"] = made["uuid"].clone();
    berth.project.write("wrangler.json", config.to_string());

    let first = berth.run("d1 migrations create books first_one").await;
    assert!(
        first.trim().ends_with("steps/0001_first_one.sql"),
        "{first}"
    );
    let sql = "CREATE TABLE book (title TEXT);\nINSERT INTO book VALUES ('a; b'), (NULL);\n";
    berth.project.write("steps/0001_first_one.sql", sql);
    berth.project.write(
        "steps/0002_wrong.sql",
        "INSERT INTO book VALUES ('c'); INSERT INTO no VALUES (1);",
    );
    let open = berth.json("d1 migrations list DB").await;
    assert_eq!(open.as_array().unwrap().len(), 2);
    let refused = berth.refused("d1 migrations apply DB").await;
    assert!(refused.contains("`0002_wrong.sql` fails"), "{refused}");
    berth
        .project
        .write("steps/0002_wrong.sql", "INSERT INTO book VALUES ('d');");
    let applied = berth.json("d1 migrations apply books --yes").await;
    assert_eq!(applied["applied"], json!(["0002_wrong.sql"]), "each once");
    let again = berth.run("d1 migrations apply books").await;
    assert_eq!(again, "there is nothing to run\n");

    berth.project.write(
        "query.sql",
        "SELECT title FROM book ORDER BY title; SELECT count(*) AS n FROM book",
    );
    let table = berth.run("d1 execute books --file query.sql").await;
    assert_eq!(table, "title\nNULL\na; b\nd\nn\n3\n");
    let rows = berth
        .with("d1 execute books --file - --json", "SELECT 1 AS one")
        .await;
    let rows: Value = serde_json::from_str(&rows).unwrap();
    assert_eq!(rows[0]["results"], json!([{"one": 1}]));
    let info = berth.json("d1 info books").await;
    assert!(info["num_tables"].as_u64().unwrap() >= 1, "{info}");
    assert_eq!(berth.json("d1 list").await[0]["name"], "books");
    berth
        .run("d1 export books --output dump.sql --table book")
        .await;
    let dump = berth.project.read("dump.sql");
    assert!(
        dump.contains("CREATE TABLE") && dump.contains("'a; b'"),
        "{dump}"
    );
    let refused = berth.refused("d1 info shelves").await;
    assert!(refused.contains("shelves"), "{refused}");
    berth.run("d1 create other").await;
    berth.run("d1 delete other --yes").await;
}

async fn r2(berth: &Commands<'_>) {
    berth.run("r2 bucket create files").await;
    assert_eq!(berth.json("r2 bucket list").await[0]["name"], "files");
    let bytes = "0123456789".repeat(300_000);
    berth.project.write("large.txt", &bytes);
    let put = "r2 object put files/in/large.txt --file large.txt --content-type text/plain";
    let written = berth.json(put).await;
    assert_eq!(written["size"], bytes.len().to_string());
    berth
        .with("r2 object put files/piped --pipe --ct text/x", "piped")
        .await;
    assert_eq!(berth.run("r2 object get files/piped --pipe").await, "piped");
    std::fs::remove_file(berth.project.path().join("large.txt")).unwrap();
    berth.run("r2 object get files/in/large.txt").await;
    assert!(berth.project.read("large.txt") == bytes);
    let info = berth.json("r2 bucket info files").await;
    assert_eq!(info["object_count"], "2", "{info}");
    let refused = berth.refused("r2 object get files/none --file none").await;
    assert!(refused.contains("`files/none`"), "{refused}");
    assert!(!berth.project.path().join("none").exists());
    let refused = berth.refused("r2 bucket delete files").await;
    assert!(refused.contains("not empty"), "{refused}");
    for object in ["in/large.txt", "piped"] {
        berth.run(&format!("r2 object delete files/{object}")).await;
    }
    berth.run("r2 bucket delete files").await;
}

async fn queues(berth: &Commands<'_>) {
    for name in ["jobs", "dead"] {
        berth
            .run(&format!("queues create {name} --delivery-delay-secs 5"))
            .await;
    }
    berth
        .run("queues update jobs --delivery-delay-secs 7")
        .await;
    berth.run("queues pause-delivery jobs").await;
    let add = "queues consumer add jobs app --batch-size 7 --batch-timeout 2 --message-retries 4 \
               --dead-letter-queue dead";
    berth.run(add).await;
    let info = berth.json("queues info jobs").await;
    assert_eq!(info["settings"]["delivery_delay"], 7, "{info}");
    assert_eq!(info["settings"]["delivery_paused"], true, "{info}");
    let consumer = &info["consumers"][0];
    assert_eq!(
        (&consumer["script"], &consumer["dead_letter_queue"]),
        (&"app".into(), &"dead".into())
    );
    let settings = &consumer["settings"];
    assert_eq!(
        (&settings["batch_size"], &settings["max_wait_time_ms"]),
        (&7.into(), &2000.into())
    );
    berth.run("queues resume-delivery jobs").await;
    assert_eq!(
        berth.json("queues consumer list jobs").await[0]["script"],
        "app"
    );
    berth.run("queues consumer remove jobs app").await;
    let refused = berth.refused("queues consumer remove jobs app").await;
    assert!(refused.contains("does not consume"), "{refused}");
    berth.run("queues purge jobs --force").await;
    berth.run("queues delete jobs --yes").await;
    assert_eq!(berth.json("queues list").await[0]["queue_name"], "dead");
    let refused = berth.refused("queues info jobs").await;
    assert!(refused.contains("`jobs`"), "{refused}");
}

async fn secrets(berth: &Commands<'_>) {
    let store = berth.json("secrets-store store create main").await;
    let store = store["id"].as_str().unwrap();
    let create = format!(
        "secrets-store secret create {store} --name key --scopes workers,containers --json"
    );
    let made = berth.with(&create, "hunter2\n").await;
    let made: Value = serde_json::from_str(&made).unwrap();
    let secret = made["id"].as_str().unwrap();
    let of = format!("{store} --secret-id {secret}");
    berth
        .run(&format!(
            "secrets-store secret update {of} --value other --comment mine"
        ))
        .await;
    berth
        .run(&format!("secrets-store secret duplicate {of} --name twin"))
        .await;
    let found = berth.json(&format!("secrets-store secret get {of}")).await;
    assert_eq!(
        (&found["comment"], &found["scopes"]),
        (&"mine".into(), &json!(["workers", "containers"]))
    );
    let listed = berth
        .run(&format!("secrets-store secret list {store}"))
        .await;
    assert!(
        listed.contains("twin") && !listed.contains("other"),
        "{listed}"
    );
    berth
        .run(&format!("secrets-store secret delete {of} --yes"))
        .await;
    berth
        .run(&format!("secrets-store store delete {store} --yes"))
        .await;
    assert_eq!(berth.json("secrets-store store list").await, json!([]));
}

async fn workflows(berth: &Commands<'_>) {
    assert_eq!(berth.json("workflows list").await[0]["name"], "flow");
    assert_eq!(
        berth.json("workflows describe flow").await["class_name"],
        "Flow"
    );
    berth.run("workflows trigger flow {\"n\":1} --id one").await;
    for (verb, status) in [("pause", "paused"), ("terminate", "terminated")] {
        berth
            .run(&format!("workflows instances {verb} flow one"))
            .await;
        let found = async || berth.json("workflows instances describe flow one").await;
        let mut now = found().await;
        while now["status"] != status {
            assert_ne!(now["status"], "errored", "{now}");
            now = found().await;
        }
    }
    berth.run("workflows instances restart flow one").await;
    berth
        .run("workflows instances send-event flow one --type answer --payload {\"yes\":true}")
        .await;
    let mut now = Value::Null;
    while now["status"] != "complete" {
        assert_ne!(now["status"], "errored", "{now}");
        now = berth.json("workflows instances describe flow one").await;
    }
    assert_eq!(
        now["output"],
        json!({"asked": {"n": 1}, "payload": {"yes": true}})
    );
    berth.run("workflows trigger flow --id two").await;
    let listed = berth.json("workflows instances list flow").await;
    let ids = |listed: &Value| -> Vec<String> {
        let all = listed.as_array().unwrap().iter();
        all.map(|one| one["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&listed), ["two", "one"], "{listed}");
    assert_eq!(listed[1]["status"], "complete");
    let listed = berth
        .json("workflows instances list flow --status complete")
        .await;
    assert_eq!(ids(&listed), ["one"], "{listed}");
    let listed = berth
        .json("workflows instances list flow --per-page 1 --page 2")
        .await;
    assert_eq!(ids(&listed), ["one"], "{listed}");
    let refused = berth.refused("workflows instances resume flow three").await;
    assert!(refused.contains("not_found"), "{refused}");
    let refused = berth.refused("workflows delete flow --yes").await;
    assert!(refused.contains("`app`"), "{refused}");
}
