//! KV, D1, Queues, Workflows, services, and what Berth does not run.

use insta::assert_snapshot;

use crate::support::{both, jsonc, project, toml};

#[test]
fn bindings_are_read() {
    let project = project(
        r#"  "kv_namespaces": [{ "binding": "KV", "id": "kv-id", "preview_id": "p" }, { "binding": "CACHE" }],
  "d1_databases": [{ "binding": "DB", "database_name": "main", "database_id": "db-id", "migrations_dir": "m" }, { "binding": "DB2" }],
  "queues": {
    "producers": [{ "binding": "Q", "queue": "jobs", "delivery_delay": 5 }],
    "consumers": [{ "queue": "jobs", "max_batch_size": 10, "max_batch_timeout": 0, "max_retries": 3,
      "dead_letter_queue": "dead", "max_concurrency": null, "retry_delay": 2, "type": "worker" }]
  },
  "workflows": [{ "binding": "WF", "name": "wf-one", "class_name": "Flow", "limits": { "steps": 5 } }],
  "services": [{ "binding": "SELF", "service": "app", "entrypoint": "Admin" }]"#,
    );
    assert_eq!(project.kv_namespaces[0].id, "kv-id");
    assert_eq!(project.kv_namespaces[1].id, "CACHE");
    assert_eq!(project.d1_databases[0].database_id, "db-id");
    assert_eq!(project.d1_databases[1].database_name, "DB2");
    assert_eq!(project.queue_producers[0].queue, "jobs");
    assert_eq!(project.queue_producers[0].delivery_delay_s, Some(5));
    let consumer = &project.queue_consumers[0];
    assert_eq!(consumer.max_batch_size, Some(10));
    assert_eq!(consumer.max_batch_timeout_s, Some(0));
    assert_eq!(consumer.max_retries, Some(3));
    assert_eq!(consumer.dead_letter_queue.as_deref(), Some("dead"));
    assert_eq!(consumer.max_concurrency, None);
    assert_eq!(consumer.retry_delay_s, Some(2));
    assert_eq!(project.workflows[0].name, "wf-one");
    assert_eq!(project.services[0].entrypoint.as_deref(), Some("Admin"));
}

#[test]
fn bindings_with_mistakes() {
    assert_snapshot!(both(
        r#"  "kv_namespaces": [{ "id": "x" }, { "binding": "" }, { "binding": "KV", "remote": true }],
  "d1_databases": { "binding": "DB" }"#,
        "[[d1_databases]]\nbinding = \"DB\"\ndatabase_nme = \"x\"\ndatabase_id = 7",
    ), @r#"
    warning: `kv_namespaces[2].remote` is ignored: Berth keeps everything on this machine
     --> wrangler.jsonc:5:74
      |
    5 |   "kv_namespaces": [{ "id": "x" }, { "binding": "" }, { "binding": "KV", "remote": true }],
      |                                                                          ^^^^^^^^
    hint: remove it, or expect an empty local resource

    error: `kv_namespaces[0].binding` is missing
     --> wrangler.jsonc:5:21
      |
    5 |   "kv_namespaces": [{ "id": "x" }, { "binding": "" }, { "binding": "KV", "remote": true }],
      |                     ^^^^^^^^^^^^^
    hint: add `binding`

    error: `kv_namespaces[1].binding` must not be empty
     --> wrangler.jsonc:5:49
      |
    5 |   "kv_namespaces": [{ "id": "x" }, { "binding": "" }, { "binding": "KV", "remote": true }],
      |                                                 ^^
    hint: remove it, or say something

    error: `d1_databases` must be an array, but is an object
     --> wrangler.jsonc:6:19
      |
    6 |   "d1_databases": { "binding": "DB" }
      |                   ^^^^^^^^^^^^^^^^^^^
    hint: put the elements between `[` and `]`

    warning: unknown field `database_nme` in `d1_databases[0]`
     --> wrangler.toml:6:1
      |
    6 | database_nme = "x"
      | ^^^^^^^^^^^^
    hint: did you mean `database_name`?

    error: `d1_databases[0].database_id` must be a string, but is a number
     --> wrangler.toml:7:15
      |
    7 | database_id = 7
      |               ^
    hint: put the text in double quotes
    "#);
}

#[test]
fn queues_with_mistakes() {
    assert_snapshot!(both(
        r#"  "queues": { "consumers": [
    { "queue": "jobs", "max_batch_size": 0 },
    { "queue": "jobs" },
    { "queue": "pull", "type": "http_pull" },
    { "max_retries": 1 }
  ] }"#,
        "[[queues.producers]]\nqueue = \"jobs\"\n[[queues.consumer]]\nqueue = \"jobs\"",
    ), @r#"
    error: `queues.consumers[0].max_batch_size` cannot be 0
     --> wrangler.jsonc:6:42
      |
    6 |     { "queue": "jobs", "max_batch_size": 0 },
      |                                          ^
    hint: a whole number, 1 or more

    error: the queue `jobs` has two consumers here
     --> wrangler.jsonc:7:16
      |
    7 |     { "queue": "jobs" },
      |                ^^^^^^
    hint: a queue has one consumer: merge them

    error: `queues.consumers[2].type` cannot be `http_pull`
     --> wrangler.jsonc:8:32
      |
    8 |     { "queue": "pull", "type": "http_pull" },
      |                                ^^^^^^^^^^^
    hint: only `worker` consumers are configured here; remove the field

    error: `queues.consumers[3].queue` is missing
     --> wrangler.jsonc:9:5
      |
    9 |     { "max_retries": 1 }
      |     ^^^^^^^^^^^^^^^^^^^^
    hint: add `queue`

    warning: unknown field `consumer` in `queues`
     --> wrangler.toml:6:10
      |
    6 | [[queues.consumer]]
      |          ^^^^^^^^
    hint: did you mean `consumers`?

    error: `queues.producers[0].binding` is missing
     --> wrangler.toml:4:1
      |
    4 | [[queues.producers]]
      | ^^^^^^^^^^^^^^^^^^^^
    hint: add `binding`
    "#);
}

#[test]
fn workflows_with_mistakes() {
    assert_snapshot!(jsonc(r#"  "workflows": [
    { "binding": "A", "name": "one", "class_name": "Flow", "script_name": "other" },
    { "binding": "B", "name": "one", "class_name": "Flow" },
    { "binding": "C", "name": "no spaces", "class_name": "Flow", "schedules": "0 * * * *" },
    { "binding": "D", "name": "d" }
  ]"#), @r#"
    warning: Berth does not start workflows on a schedule yet
     --> wrangler.jsonc:8:66
      |
    8 |     { "binding": "C", "name": "no spaces", "class_name": "Flow", "schedules": "0 * * * *" },
      |                                                                  ^^^^^^^^^^^
    hint: use `triggers.crons` and create the instance in `scheduled()`

    error: Berth does not run workflows of other Workers yet: `other`
     --> wrangler.jsonc:6:75
      |
    6 |     { "binding": "A", "name": "one", "class_name": "Flow", "script_name": "other" },
      |                                                                           ^^^^^^^
    hint: this Worker is `app`

    error: two workflows are named `one`
     --> wrangler.jsonc:7:31
      |
    7 |     { "binding": "B", "name": "one", "class_name": "Flow" },
      |                               ^^^^^
    hint: give each its own name

    error: `no spaces` is no name for a workflow
     --> wrangler.jsonc:8:31
      |
    8 |     { "binding": "C", "name": "no spaces", "class_name": "Flow", "schedules": "0 * * * *" },
      |                               ^^^^^^^^^^^
    hint: 1 to 64 letters, digits, `_` and `-`, not beginning with `-`

    error: `workflows[3].class_name` is missing
     --> wrangler.jsonc:9:5
      |
    9 |     { "binding": "D", "name": "d" }
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: add `class_name`
    "#);
}

#[test]
fn services_to_other_workers_are_refused() {
    assert_snapshot!(both(
        r#"  "services": [{ "binding": "AUTH", "service": "auth" }]"#,
        "[[services]]\nbinding = \"AUTH\"\nservice = \"auth\"",
    ), @r#"
    error: Berth does not run services to other Workers yet: `auth`
     --> wrangler.jsonc:5:48
      |
    5 |   "services": [{ "binding": "AUTH", "service": "auth" }]
      |                                                ^^^^^^
    hint: this Worker is `app`

    error: Berth does not run services to other Workers yet: `auth`
     --> wrangler.toml:6:11
      |
    6 | service = "auth"
      |           ^^^^^^
    hint: this Worker is `app`
    "#);
}

#[test]
fn what_berth_does_not_run_is_refused() {
    assert_snapshot!(both(
        r#"  "secrets_store_secrets": [{ "binding": "S", "store_id": "x", "secret_name": "y" }],
  "ai": { "binding": "AI" },
  "site": { "bucket": "./public" }"#,
        "[browser]\nbinding = \"BROWSER\"",
    ), @r#"
    error: Berth does not run Secrets Store secrets yet
     --> wrangler.jsonc:5:3
      |
    5 |   "secrets_store_secrets": [{ "binding": "S", "store_id": "x", "secret_name": "y" }],
      |   ^^^^^^^^^^^^^^^^^^^^^^^
    hint: remove it, or keep it in an `env.<name>` that you do not run here

    error: Berth does not run Workers AI yet
     --> wrangler.jsonc:6:3
      |
    6 |   "ai": { "binding": "AI" },
      |   ^^^^
    hint: remove it, or keep it in an `env.<name>` that you do not run here

    error: Berth does not run Workers Sites yet
     --> wrangler.jsonc:7:3
      |
    7 |   "site": { "bucket": "./public" }
      |   ^^^^^^
    hint: use `assets` with the same directory

    error: Berth does not run Browser Rendering yet
     --> wrangler.toml:4:2
      |
    4 | [browser]
      |  ^^^^^^^
    hint: remove it, or keep it in an `env.<name>` that you do not run here
    "#);
}

/// One line for each refused kind, so that the list is read when it changes.
#[test]
fn every_refused_kind() {
    let kinds = [
        "secrets_store_secrets",
        "ai",
        "ai_search",
        "ai_search_namespaces",
        "agent_memory",
        "analytics_engine_datasets",
        "artifacts",
        "browser",
        "connect",
        "data_blobs",
        "dispatch_namespaces",
        "flagship",
        "hyperdrive",
        "images",
        "logfwdr",
        "media",
        "mtls_certificates",
        "pages_build_output_dir",
        "pipelines",
        "ratelimits",
        "send_email",
        "site",
        "stream",
        "text_blobs",
        "unsafe",
        "unsafe_hello_world",
        "vectorize",
        "version_metadata",
        "vpc_networks",
        "vpc_services",
        "wasm_modules",
        "websearch",
        "worker_loaders",
    ];
    let fields: Vec<String> = kinds
        .iter()
        .map(|kind| format!("  \"{kind}\": {{ \"bindings\": [{{ \"binding\": \"X\" }}] }}"))
        .collect();
    let text = jsonc(&fields.join(",\n"));
    let messages: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("error") || line.starts_with("warning"))
        .collect();
    assert_eq!(messages.len(), kinds.len());
    assert_snapshot!(messages.join("\n"), @r"
    error: Berth does not run Secrets Store secrets yet
    error: Berth does not run Workers AI yet
    error: Berth does not run AI Search instances yet
    error: Berth does not run AI Search namespaces yet
    error: Berth does not run Agent Memory namespaces yet
    error: Berth does not run Analytics Engine datasets yet
    error: Berth does not run Artifacts yet
    error: Berth does not run Browser Rendering yet
    error: Berth does not run raw TCP listeners yet
    error: Berth does not run data blobs of service-worker scripts yet
    error: Berth does not run dispatch namespaces yet
    error: Berth does not run Flagship bindings yet
    error: Berth does not run Hyperdrive yet
    error: Berth does not run Cloudflare Images yet
    error: Berth does not run logfwdr bindings yet
    error: Berth does not run Media Transformations yet
    error: Berth does not run mTLS certificates yet
    error: Berth does not run Pages projects yet
    error: Berth does not run Pipelines yet
    error: Berth does not run rate limit bindings yet
    error: Berth does not run email bindings yet
    error: Berth does not run Workers Sites yet
    error: Berth does not run Cloudflare Stream yet
    error: Berth does not run text blobs of service-worker scripts yet
    error: Berth does not run unsafe bindings yet
    error: Berth does not run hello-world bindings yet
    error: Berth does not run Vectorize indexes yet
    error: Berth does not run version metadata bindings yet
    error: Berth does not run VPC networks yet
    error: Berth does not run VPC services yet
    error: Berth does not run Wasm modules of service-worker scripts yet
    error: Berth does not run Web Search yet
    error: Berth does not run Worker Loaders yet
    ");
}

#[test]
fn names_in_env_are_unique() {
    assert_snapshot!(both(
        r#"  "vars": { "DB": "x" },
  "d1_databases": [{ "binding": "DB" }, { "binding": "DB" }]"#,
        "[[kv_namespaces]]\nbinding = \"KV\"\n[[kv_namespaces]]\nbinding = \"KV\"",
    ), @r#"
    error: the binding `DB` of this D1 database is taken by a variable in line 5
     --> wrangler.jsonc:6:33
      |
    6 |   "d1_databases": [{ "binding": "DB" }, { "binding": "DB" }]
      |                                 ^^^^
    hint: every binding needs its own name, by which the Worker finds it in `env`

    error: the binding `KV` of this KV namespace is taken by another one in line 5
     --> wrangler.toml:7:11
      |
    7 | binding = "KV"
      |           ^^^^
    hint: every binding needs its own name, by which the Worker finds it in `env`
    "#);
    assert_snapshot!(toml("[vars]\nX = 1\nX = 2"), @r"
    error: `X` is given twice
     --> wrangler.toml:6:1
      |
    6 | X = 2
      | ^
    hint: remove one of them
    ");
}

#[test]
fn r2_buckets() {
    let project = project(
        r#"  "r2_buckets": [
    { "binding": "FILES", "bucket_name": "files", "preview_bucket_name": "p", "jurisdiction": "eu" },
    { "binding": "MY_FILES" }]"#,
    );
    let buckets: Vec<_> = project
        .r2_buckets
        .iter()
        .map(|bucket| (bucket.binding.as_str(), bucket.bucket_name.as_str()))
        .collect();
    assert_eq!(buckets, [("FILES", "files"), ("MY_FILES", "my-files")]);
    assert_snapshot!(jsonc(r#"  "r2_buckets": [{ "binding": "FILES", "bucket_name": "Files" }]"#), @r#"
    error: `Files` cannot be the name of a bucket
     --> wrangler.jsonc:5:55
      |
    5 |   "r2_buckets": [{ "binding": "FILES", "bucket_name": "Files" }]
      |                                                       ^^^^^^^
    hint: 3 to 63 characters: lower-case letters, digits and hyphens, none of these at the ends
    "#);
}
