//! Whole projects of the kinds that people write: all load without a word, unless said otherwise.

use insta::assert_snapshot;

use crate::support::{Dir, quiet};

#[test]
fn full_stack_with_assets_and_trailing_commas() {
    let dir = Dir::new();
    dir.write("backend/Dockerfile", "FROM scratch");
    dir.write("dist/index.html", "");
    dir.write(
        "wrangler.jsonc",
        r#"{
  // frontend and backend
  "$schema": "node_modules/wrangler/config-schema.json",
  "name": "shop",
  "main": "src/index.ts",
  "compatibility_date": "2026-02-04",
  "assets": { "directory": "./dist", "binding": "ASSETS" },
  "containers": [
    {
      "class_name": "Backend",
      "image": "./backend/Dockerfile",
      "instance_type": "basic",
    },
  ],
  "durable_objects": { "bindings": [{ "class_name": "Backend", "name": "BACKEND" }], },
  "migrations": [{ "new_sqlite_classes": ["Backend"], "tag": "v1" }],
  "observability": { "enabled": true },
}
"#,
    );
    let project = quiet(&dir, &dir.options());
    assert_eq!(project.containers[0].resources.memory_mib, 1024);
    assert_eq!(project.containers[0].name, "shop-backend");
}

#[test]
fn cron_job_in_toml() {
    let dir = Dir::new();
    dir.write(
        "wrangler.toml",
        r#"name = "nightly"
main = "src/index.ts"
compatibility_date = "2026-01-01"

[triggers]
crons = [ "*/2 * * * *" ] # every two minutes

[[containers]]
class_name = "Job"
image = "./Dockerfile" # or a reference
instance_type = "basic"
max_instances = 5

[[durable_objects.bindings]]
class_name = "Job"
name = "JOB"

[[migrations]]
new_sqlite_classes = [ "Job" ]
tag = "v1"
"#,
    );
    let project = quiet(&dir, &dir.options());
    assert_eq!(project.crons, ["*/2 * * * *"]);
    assert_eq!(project.containers[0].max_instances, 5);
}

#[test]
fn two_containers_one_of_its_own_size() {
    let dir = Dir::new();
    dir.write("Dockerfile.heavy", "FROM scratch");
    dir.write(
        "wrangler.toml",
        r#"name = "two"
main = "src/index.ts"
compatibility_date = "2026-01-01"

[[containers]]
class_name = "Light"
image = "."

[[containers]]
class_name = "Heavy"
image = "./Dockerfile.heavy"
instance_type = "custom"
[containers.resources]
vcpu = 2.0
memory_mib = 8192
disk_mb = 15000

[[durable_objects.bindings]]
name = "LIGHT"
class_name = "Light"
[[durable_objects.bindings]]
name = "HEAVY"
class_name = "Heavy"

[[migrations]]
tag = "v1"
new_sqlite_classes = ["Light", "Heavy"]
"#,
    );
    let project = quiet(&dir, &dir.options());
    assert_eq!(project.containers[1].resources.disk_mb, 15_000);
    assert_eq!(project.containers[0].instance_type, "lite");
}

#[test]
fn starter_from_the_first_days() {
    let dir = Dir::new();
    dir.write(
        "wrangler.jsonc",
        r#"{
  "name": "container-starter",
  "main": "src/index.ts",
  "containers": [
    {
      "class_name": "MyContainer",
      "image": "./Dockerfile",
      "instances": 5,
      "name": "hello-containers"
    }
  ],
  "durable_objects": { "bindings": [{ "class_name": "MyContainer", "name": "MY_CONTAINER" }] },
  "migrations": [{ "new_sqlite_classes": ["MyContainer"], "tag": "v1" }],
}"#,
    );
    assert_snapshot!(dir.says(&dir.options()), @r#"
    warning: `compatibility_date` is missing; `2026-11-17` is used
     --> wrangler.jsonc:1:1
      |
    1 | {
      | ^
    hint: add `compatibility_date` with the value `2026-11-17`, so that a newer runtime changes nothing

    warning: `containers[0].instances` is deprecated
     --> wrangler.jsonc:8:7
      |
    8 |       "instances": 5,
      |       ^^^^^^^^^^^
    hint: it is ignored; use `max_instances`
    "#);
    assert_eq!(
        dir.load(&dir.options()).project.containers[0].max_instances,
        20
    );
}

#[test]
fn secrets_store_is_refused_for_now() {
    let dir = Dir::new();
    dir.write(
        "wrangler.toml",
        r#"name = "my-container-worker"
main = "src/index.ts"
compatibility_date = "2026-01-01"

[vars]
ACCOUNT_NAME = "my-account"

[[secrets_store_secrets]]
binding = "SECRET_STORE"
store_id = "demo"
secret_name = "ACCOUNT_API_KEY"
"#,
    );
    assert_snapshot!(dir.says(&dir.options()), @r"
    error: Berth does not run Secrets Store secrets yet
     --> wrangler.toml:8:3
      |
    8 | [[secrets_store_secrets]]
      |   ^^^^^^^^^^^^^^^^^^^^^
    hint: remove it, or keep it in an `env.<name>` that you do not run here
    ");
}
