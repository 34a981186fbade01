//! `env.<name>`: what is inherited, what is not, and what is said about it.

use insta::assert_snapshot;

use crate::support::{Dir, quiet, with_header_jsonc, with_header_toml};

const BASE: &str = r#"  "compatibility_flags": ["nodejs_compat"],
  "vars": { "A": "top", "B": "top" },
  "kv_namespaces": [{ "binding": "KV", "id": "top" }],
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Box"] }],
  "triggers": { "crons": ["0 0 * * *"] },"#;

fn jsonc(fields: &str) -> Dir {
    let dir = Dir::new();
    dir.write("wrangler.jsonc", with_header_jsonc(fields));
    dir
}

#[test]
fn inherited_and_not() {
    let dir = jsonc(&format!(
        r#"{BASE}
  "env": {{ "staging": {{
    "vars": {{ "A": "staging", "B": "staging" }},
    "kv_namespaces": [{{ "binding": "KV", "id": "staging" }}],
    "containers": [{{ "class_name": "Box", "image": "./Dockerfile" }}],
    "durable_objects": {{ "bindings": [{{ "name": "BOX", "class_name": "Box" }}] }}
  }} }}"#
    ));
    let project = quiet(&dir, &dir.in_environment("staging"));
    assert_eq!(project.name, "app-staging");
    assert_eq!(project.environment.as_deref(), Some("staging"));
    assert_eq!(project.compatibility_flags, ["nodejs_compat"]);
    assert_eq!(project.vars["A"], "staging");
    assert_eq!(project.kv_namespaces[0].id, "staging");
    assert_eq!(project.crons, ["0 0 * * *"]);
    assert_eq!(project.containers[0].name, "app-box-staging");
    assert_eq!(project.classes[0].class_name, "Box");

    let top = quiet(&dir, &dir.options());
    assert_eq!(top.name, "app");
    assert!(top.containers.is_empty());
    let empty = quiet(&dir, &dir.in_environment(""));
    assert_eq!(empty.name, "app");
}

#[test]
fn a_name_of_its_own_is_kept() {
    let dir = jsonc(r#"  "env": { "staging": { "name": "other", "triggers": { "crons": [] } } }"#);
    let project = quiet(&dir, &dir.in_environment("staging"));
    assert_eq!(project.name, "other");
    assert!(project.crons.is_empty());
}

#[test]
fn what_is_not_inherited_is_said() {
    let dir = jsonc(&format!(
        "{BASE}\n  \"env\": {{ \"staging\": {{ \"vars\": {{ \"A\": \"x\" }} }} }}"
    ));
    assert_snapshot!(dir.says(&dir.in_environment("staging")), @r#"
    warning: `kv_namespaces` is not in `env.staging`
     --> wrangler.jsonc:7:3
      |
    7 |   "kv_namespaces": [{ "binding": "KV", "id": "top" }],
      |   ^^^^^^^^^^^^^^^
    hint: environments do not inherit `kv_namespaces`: repeat it as `env.staging.kv_namespaces`

    warning: `env.staging.vars` lacks `B`
      --> wrangler.jsonc:10:25
       |
    10 |   "env": { "staging": { "vars": { "A": "x" } } }
       |                         ^^^^^^
    hint: environments do not inherit `vars`: repeat all of it
    "#);
}

#[test]
fn what_is_not_inherited_is_said_in_toml() {
    let dir = Dir::new();
    dir.write(
        "wrangler.toml",
        with_header_toml(
            "[[queues.producers]]\nbinding = \"Q\"\n[env.staging]\nworkers_dev = true\n",
        ),
    );
    assert_snapshot!(dir.says(&dir.in_environment("staging")), @r"
    warning: `queues` is not in `env.staging`
     --> wrangler.toml:4:3
      |
    4 | [[queues.producers]]
      |   ^^^^^^
    hint: environments do not inherit `queues`: repeat it as `env.staging.queues`
    ");
}

#[test]
fn unknown_environment() {
    let dir = jsonc(r#"  "env": { "staging": {}, "production": {} }"#);
    assert_snapshot!(dir.says(&dir.in_environment("stagging")), @r#"
    error: there is no environment `stagging`
     --> wrangler.jsonc:5:3
      |
    5 |   "env": { "staging": {}, "production": {} }
      |   ^^^^^
    hint: the file has `staging`, `production`
    "#);
}

#[test]
fn environment_of_a_file_without_any() {
    let dir = jsonc(r#"  "vars": {}"#);
    assert_snapshot!(dir.says(&dir.in_environment("staging")), @r"
    warning: there is no environment `staging`
     --> wrangler.jsonc
    hint: the file has no environments, so the top level is used; add `env.staging`
    ");
    assert_eq!(
        dir.load(&dir.in_environment("staging")).project.name,
        "app-staging"
    );
}

#[test]
fn names_in_the_wrong_place() {
    let dir = jsonc(r#"  "env": { "staging": { "alias": {}, "mian": "x", "env": {} } }"#);
    assert_snapshot!(dir.says(&dir.in_environment("staging")), @r#"
    warning: `alias` has no effect in `env.staging`
     --> wrangler.jsonc:5:25
      |
    5 |   "env": { "staging": { "alias": {}, "mian": "x", "env": {} } }
      |                         ^^^^^^^
    hint: move it to the top level: it counts for every environment

    warning: unknown field `mian` in `env.staging`
     --> wrangler.jsonc:5:38
      |
    5 |   "env": { "staging": { "alias": {}, "mian": "x", "env": {} } }
      |                                      ^^^^^^
    hint: did you mean `main`?

    warning: `env` has no effect in `env.staging`
     --> wrangler.jsonc:5:51
      |
    5 |   "env": { "staging": { "alias": {}, "mian": "x", "env": {} } }
      |                                                   ^^^^^
    hint: move it to the top level: it counts for every environment
    "#);
}

#[test]
fn environments_of_the_wrong_type() {
    let dir = jsonc(r#"  "env": []"#);
    assert_snapshot!(dir.says(&dir.in_environment("staging")), @r#"
    error: `env` must be an object, but is an array
     --> wrangler.jsonc:5:10
      |
    5 |   "env": []
      |          ^^
    hint: its fields are environments, whose fields are like the top level's
    "#);
    let dir = jsonc(r#"  "env": { "staging": "x" }"#);
    assert_snapshot!(dir.says(&dir.in_environment("staging")), @r#"
    error: `env.staging` must be an object, but is a string
     --> wrangler.jsonc:5:23
      |
    5 |   "env": { "staging": "x" }
      |                       ^^^
    hint: its fields are like those of the top level
    "#);
}

#[test]
fn a_mistake_in_the_environment_is_named_with_its_path() {
    let dir = jsonc(
        r#"  "ai_search":  [{ "binding": "TOP" }],
  "env": { "staging": { "containers": [{ "class_name": "Box", "image": "./Nope" }] , "ai_search":  [] } }"#,
    );
    assert_snapshot!(dir.says(&dir.in_environment("staging")), @r#"
    error: container class `Box` has no migration
     --> wrangler.jsonc:6:56
      |
    6 |   "env": { "staging": { "containers": [{ "class_name": "Box", "image": "./Nope" }] , "ai_search":  [] } }
      |                                                        ^^^^^
    hint: add to `migrations`: { "tag": "v1", "new_sqlite_classes": ["Box"] }

    error: the Dockerfile does not exist: `./Nope`
     --> wrangler.jsonc:6:72
      |
    6 |   "env": { "staging": { "containers": [{ "class_name": "Box", "image": "./Nope" }] , "ai_search":  [] } }
      |                                                                        ^^^^^^^^
    hint: paths are relative to the configuration file
    "#);
}
