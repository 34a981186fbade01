//! Containers, classes, migrations, exports and bindings: what must agree.

use berth_config::container_class_not_exported;
use insta::assert_snapshot;

use crate::support::{Dir, both, jsonc, project, toml, with_header_jsonc};

const CONTAINER: &str = r#"  "containers": [{ "class_name": "Box", "image": "./Dockerfile" }],"#;
const CONTAINER_TOML: &str = "[[containers]]\nclass_name = \"Box\"\nimage = \"./Dockerfile\"\n";
const BINDING: &str =
    r#"  "durable_objects": { "bindings": [{ "name": "BOX", "class_name": "Box" }] },"#;
const BINDING_TOML: &str = "[[durable_objects.bindings]]\nname = \"BOX\"\nclass_name = \"Box\"\n";

#[test]
fn container_class_without_migration() {
    assert_snapshot!(both(
        &format!("{CONTAINER}\n{BINDING}"),
        &format!("{CONTAINER_TOML}{BINDING_TOML}"),
    ), @r#"
    error: container class `Box` has no migration
     --> wrangler.jsonc:5:34
      |
    5 |   "containers": [{ "class_name": "Box", "image": "./Dockerfile" }],
      |                                  ^^^^^
    hint: add to `migrations`: { "tag": "v1", "new_sqlite_classes": ["Box"] }

    error: container class `Box` has no migration
     --> wrangler.toml:5:14
      |
    5 | class_name = "Box"
      |              ^^^^^
    hint: add `[[migrations]]` with tag = "v1" and new_sqlite_classes = ["Box"]
    "#);
}

#[test]
fn container_class_with_a_slip_in_its_migration() {
    assert_snapshot!(jsonc(&format!(
        "{CONTAINER}\n{BINDING}\n  \"migrations\": [{{ \"tag\": \"v1\", \"new_sqlite_classes\": [\"Bax\"] }}]"
    )), @r#"
    error: container class `Box` has no migration
     --> wrangler.jsonc:5:34
      |
    5 |   "containers": [{ "class_name": "Box", "image": "./Dockerfile" }],
      |                                  ^^^^^
    hint: did you mean `Bax`?
    "#);
}

#[test]
fn container_class_with_a_slip_in_its_name() {
    assert_snapshot!(jsonc(r#"  "containers": [{ "class_name": "Boxx", "image": "./Dockerfile" }],
  "durable_objects": { "bindings": [{ "name": "BOX", "class_name": "Box" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Box"] }]"#), @r#"
    error: container class `Boxx` has no migration
     --> wrangler.jsonc:5:34
      |
    5 |   "containers": [{ "class_name": "Boxx", "image": "./Dockerfile" }],
      |                                  ^^^^^^
    hint: did you mean `Box`?
    "#);
}

#[test]
fn container_class_without_sqlite() {
    assert_snapshot!(both(
        &format!("{CONTAINER}\n{BINDING}\n  \"migrations\": [{{ \"tag\": \"v1\", \"new_classes\": [\"Box\"] }}]"),
        &format!("{CONTAINER_TOML}{BINDING_TOML}[[migrations]]\ntag = \"v1\"\nnew_classes = [\"Box\"]\n"),
    ), @r#"
    error: container class `Box` has no SQLite storage
     --> wrangler.jsonc:7:49
      |
    7 |   "migrations": [{ "tag": "v1", "new_classes": ["Box"] }]
      |                                                 ^^^^^
    hint: move it from `new_classes` to `new_sqlite_classes`: containers need that storage

    error: container class `Box` has no SQLite storage
      --> wrangler.toml:12:16
       |
    12 | new_classes = ["Box"]
       |                ^^^^^
    hint: move it from `new_classes` to `new_sqlite_classes`: containers need that storage
    "#);
}

#[test]
fn container_class_not_bound() {
    assert_snapshot!(both(
        &format!("{CONTAINER}\n  \"migrations\": [{{ \"tag\": \"v1\", \"new_sqlite_classes\": [\"Box\"] }}]"),
        &format!("{CONTAINER_TOML}[[migrations]]\ntag = \"v1\"\nnew_sqlite_classes = [\"Box\"]\n"),
    ), @r#"
    error: container class `Box` is not bound, so no Worker can reach it
     --> wrangler.jsonc:5:34
      |
    5 |   "containers": [{ "class_name": "Box", "image": "./Dockerfile" }],
      |                                  ^^^^^
    hint: add to `durable_objects.bindings`: { "name": "BOX", "class_name": "Box" }

    error: container class `Box` is not bound, so no Worker can reach it
     --> wrangler.toml:5:14
      |
    5 | class_name = "Box"
      |              ^^^^^
    hint: add a `[[durable_objects.bindings]]` with name = "BOX" and class_name = "Box"
    "#);
}

#[test]
fn binding_with_a_slip_is_one_message() {
    assert_snapshot!(jsonc(&format!(
        "{CONTAINER}\n  \"durable_objects\": {{ \"bindings\": [{{ \"name\": \"BOX\", \"class_name\": \"Bux\" }}] }},\n  \"migrations\": [{{ \"tag\": \"v1\", \"new_sqlite_classes\": [\"Box\"] }}]"
    )), @r#"
    error: there is no Durable Object class `Bux`
     --> wrangler.jsonc:6:68
      |
    6 |   "durable_objects": { "bindings": [{ "name": "BOX", "class_name": "Bux" }] },
      |                                                                    ^^^^^
    hint: did you mean `Box`?
    "#);
}

#[test]
fn a_class_without_container_or_migration_is_a_warning() {
    assert_snapshot!(both(BINDING, BINDING_TOML), @r#"
    warning: class `Box` has no migration
     --> wrangler.jsonc:5:68
      |
    5 |   "durable_objects": { "bindings": [{ "name": "BOX", "class_name": "Box" }] },
      |                                                                    ^^^^^
    hint: add to `migrations`: { "tag": "v1", "new_sqlite_classes": ["Box"] }

    warning: class `Box` has no migration
     --> wrangler.toml:6:14
      |
    6 | class_name = "Box"
      |              ^^^^^
    hint: add `[[migrations]]` with tag = "v1" and new_sqlite_classes = ["Box"]
    "#);
    let dir = Dir::new();
    dir.write("wrangler.jsonc", with_header_jsonc(BINDING));
    let classes = dir.load(&dir.options()).project.classes;
    assert_eq!(classes.len(), 1);
    assert!(!classes[0].sqlite);
}

#[test]
fn a_class_that_the_bundle_lacks() {
    let dir = Dir::new();
    dir.write(
        "wrangler.jsonc",
        with_header_jsonc(&format!(
            "{CONTAINER}\n{BINDING}\n  \"migrations\": [{{ \"tag\": \"v1\", \"new_sqlite_classes\": [\"Box\"] }}]"
        )),
    );
    let project = dir.load(&dir.options()).project;
    let text = container_class_not_exported_in(&dir, &project, "Box");
    assert_snapshot!(text, @r#"
    error: container class `Box` is not exported by `src/index.ts`
     --> wrangler.jsonc:5:34
      |
    5 |   "containers": [{ "class_name": "Box", "image": "./Dockerfile" }],
      |                                  ^^^^^
    hint: export it there: `export class Box extends Container { … }`
    "#);
    let text = container_class_not_exported_in(&dir, &project, "Other");
    assert_snapshot!(text, @r"
    error: container class `Other` is not exported by `src/index.ts`
     --> wrangler.jsonc
    hint: export it there: `export class Other extends Container { … }`
    ");
}

fn container_class_not_exported_in(
    dir: &Dir,
    project: &berth_config::Project,
    class: &str,
) -> String {
    container_class_not_exported(project, class)
        .render_plain()
        .replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn migrations_are_applied_in_order() {
    let project = project(
        r#"  "migrations": [
    { "tag": "v1", "new_classes": ["Old", "Plain"], "new_sqlite_classes": ["First"] },
    { "tag": "v2", "renamed_classes": [{ "from": "First", "to": "Second" }] },
    { "tag": "v3", "deleted_classes": ["Old"], "new_sqlite_classes": ["First"] },
    { "tag": "v4", "transferred_classes": [{ "from": "X", "from_script": "other", "to": "Moved" }] }
  ]"#,
    );
    let mut classes: Vec<_> = project
        .classes
        .iter()
        .map(|class| (class.class_name.as_str(), class.sqlite))
        .collect();
    classes.sort_unstable();
    assert_eq!(
        classes,
        [
            ("First", true),
            ("Moved", true),
            ("Plain", false),
            ("Second", true)
        ]
    );
}

#[test]
fn migrations_that_cannot_be_applied() {
    assert_snapshot!(jsonc(r#"  "migrations": [
    { "tag": "v1", "new_sqlite_classes": ["Box"] },
    { "tag": "v1", "new_sqlite_classes": ["Box"] },
    { "tag": "v3", "renamed_classes": [{ "from": "Bax", "to": "Crate" }] },
    { "deleted_classes": ["Nothing"] }
  ]"#), @r#"
    error: two migrations have the tag `v1`
     --> wrangler.jsonc:7:14
      |
    7 |     { "tag": "v1", "new_sqlite_classes": ["Box"] },
      |              ^^^^
    hint: give this one a new tag, for example `v2`

    error: the class `Box` exists already
     --> wrangler.jsonc:7:43
      |
    7 |     { "tag": "v1", "new_sqlite_classes": ["Box"] },
      |                                           ^^^^^
    hint: line 6 creates it; remove it here

    error: the class `Bax` cannot be renamed: it does not exist
     --> wrangler.jsonc:8:50
      |
    8 |     { "tag": "v3", "renamed_classes": [{ "from": "Bax", "to": "Crate" }] },
      |                                                  ^^^^^
    hint: did you mean `Box`?

    error: `migrations[3].tag` is missing
     --> wrangler.jsonc:9:5
      |
    9 |     { "deleted_classes": ["Nothing"] }
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: add `tag`

    error: the class `Nothing` cannot be deleted: it does not exist
     --> wrangler.jsonc:9:27
      |
    9 |     { "deleted_classes": ["Nothing"] }
      |                           ^^^^^^^^^
    hint: an earlier migration must create it
    "#);
    assert_snapshot!(toml("[[migrations]]\ntag = \"v1\"\nnew_sqlite_clases = [\"Box\"]\nrenamed_classes = [{ from = \"A\" }]"), @r#"
    warning: unknown field `new_sqlite_clases` in `migrations[0]`
     --> wrangler.toml:6:1
      |
    6 | new_sqlite_clases = ["Box"]
      | ^^^^^^^^^^^^^^^^^
    hint: did you mean `new_sqlite_classes`?

    error: `migrations[0].renamed_classes[0].to` is missing
     --> wrangler.toml:7:20
      |
    7 | renamed_classes = [{ from = "A" }]
      |                    ^^^^^^^^^^^^^^
    hint: add `to`
    "#);
}

#[test]
fn a_class_that_is_gone_is_still_used() {
    assert_snapshot!(jsonc(&format!(
        "{CONTAINER}\n{BINDING}\n  \"migrations\": [\n    {{ \"tag\": \"v1\", \"new_sqlite_classes\": [\"Box\"] }},\n    {{ \"tag\": \"v2\", \"deleted_classes\": [\"Box\"] }}\n  ]"
    )), @r#"
    error: container class `Box` was deleted by migration `v2`
     --> wrangler.jsonc:5:34
      |
    5 |   "containers": [{ "class_name": "Box", "image": "./Dockerfile" }],
      |                                  ^^^^^
    hint: remove this, or declare the class again
    "#);
    assert_snapshot!(jsonc(&format!(
        "{BINDING}\n  \"migrations\": [\n    {{ \"tag\": \"v1\", \"new_sqlite_classes\": [\"Box\"] }},\n    {{ \"tag\": \"v2\", \"renamed_classes\": [{{ \"from\": \"Box\", \"to\": \"Warehouse\" }}] }}\n  ]"
    )), @r#"
    error: class `Box` was renamed to `Warehouse`
     --> wrangler.jsonc:5:68
      |
    5 |   "durable_objects": { "bindings": [{ "name": "BOX", "class_name": "Box" }] },
      |                                                                    ^^^^^
    hint: use `Warehouse`
    "#);
}

#[test]
fn exports_link_a_container_to_its_class() {
    let project = project(
        r#"  "containers": [{ "name": "box", "image": "./Dockerfile" }],
  "exports": {
    "Box": { "type": "durable-object", "storage": "sqlite", "container": "box" },
    "Old": { "type": "durable-object", "state": "renamed", "renamed_to": "Plain" },
    "Plain": { "type": "durable-object", "storage": "legacy-kv" },
    "Gone": { "type": "durable-object", "state": "deleted" },
    "Sold": { "type": "durable-object", "state": "transferred", "transferred_to": "other" },
    "Bought": { "type": "durable-object", "state": "expecting-transfer", "storage": "sqlite", "transfer_from": "other" },
    "default": { "type": "worker", "cache": { "enabled": true } }
  }"#,
    );
    assert_eq!(project.containers[0].class_name, "Box");
    assert_eq!(project.containers[0].name, "box");
    let classes: Vec<_> = project
        .classes
        .iter()
        .map(|class| (class.class_name.as_str(), class.sqlite))
        .collect();
    assert_eq!(classes, [("Box", true), ("Plain", false), ("Bought", true)]);
}

#[test]
fn exports_that_contradict_containers() {
    assert_snapshot!(both(
        r#"  "containers": [{ "name": "box", "image": "./Dockerfile" }],
  "exports": { "Box": { "type": "durable-object", "storage": "sqlite", "container": "boxx" } }"#,
        "[exports.Box]\ntype = \"durable-object\"\nstorage = \"sqlite\"\ncontainer = \"box\"",
    ), @r#"
    error: there is no container `boxx`
     --> wrangler.jsonc:6:85
      |
    6 |   "exports": { "Box": { "type": "durable-object", "storage": "sqlite", "container": "boxx" } }
      |                                                                                     ^^^^^^
    hint: did you mean `box`?

    error: there is no container `box`
     --> wrangler.toml:7:13
      |
    7 | container = "box"
      |             ^^^^^
    hint: add it to `containers`, with this `name`
    "#);
    assert_snapshot!(jsonc(r#"  "containers": [{ "name": "box", "class_name": "Crate", "image": "./Dockerfile" }],
  "exports": {
    "Box": { "type": "durable-object", "storage": "sqlite", "container": "box" },
    "Crate": { "type": "durable-object", "storage": "sqlite" }
  }"#), @r#"
    error: this container names the class `Crate`, but `exports.Box` claims it
     --> wrangler.jsonc:5:49
      |
    5 |   "containers": [{ "name": "box", "class_name": "Crate", "image": "./Dockerfile" }],
      |                                                 ^^^^^^^
    hint: make both agree, or remove `class_name`
    "#);
    assert_snapshot!(jsonc(r#"  "containers": [{ "class_name": "Box", "image": "./Dockerfile" }],
  "exports": { "Crate": { "type": "durable-object", "storage": "sqlite" } }"#), @r#"
    error: container class `Box` is not in `exports`
     --> wrangler.jsonc:5:34
      |
    5 |   "containers": [{ "class_name": "Box", "image": "./Dockerfile" }],
      |                                  ^^^^^
    hint: add to `exports`: "Box": { "type": "durable-object", "storage": "sqlite" }
    "#);
    assert_snapshot!(jsonc(r#"  "containers": [{ "class_name": "Box", "image": "./Dockerfile" }],
  "exports": { "Box": { "type": "durable-object", "storage": "legacy-kv" } }"#), @r#"
    error: container class `Box` has no SQLite storage
     --> wrangler.jsonc:6:16
      |
    6 |   "exports": { "Box": { "type": "durable-object", "storage": "legacy-kv" } }
      |                ^^^^^
    hint: containers need the storage `sqlite`
    "#);
    assert_snapshot!(jsonc(r#"  "containers": [{ "name": "box", "image": "./Dockerfile" }],
  "exports": { "Box": { "type": "durable-object", "storage": "legacy-kv", "container": "box" } }"#), @r#"
    error: container class `Box` has no SQLite storage
     --> wrangler.jsonc:6:62
      |
    6 |   "exports": { "Box": { "type": "durable-object", "storage": "legacy-kv", "container": "box" } }
      |                                                              ^^^^^^^^^^^
    hint: containers need the storage `sqlite`
    "#);
}

#[test]
fn exports_by_themselves() {
    assert_snapshot!(jsonc(r#"  "exports": {
    "A": { "type": "durable_object" },
    "B": { "type": "durable-object" },
    "C": { "type": "durable-object", "state": "removed" },
    "D": { "type": "durable-object", "state": "renamed", "renamed_to": "Nobody" },
    "E": { "type": "durable-object", "storage": "sqlite", "containr": "x" }
  },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Box"] }]"#), @r#"
    warning: unknown field `containr` in `exports.E`
      --> wrangler.jsonc:10:59
       |
    10 |     "E": { "type": "durable-object", "storage": "sqlite", "containr": "x" }
       |                                                           ^^^^^^^^^^
    hint: did you mean `container`?

    error: `exports.A.type` cannot be `durable_object`
     --> wrangler.jsonc:6:20
      |
    6 |     "A": { "type": "durable_object" },
      |                    ^^^^^^^^^^^^^^^^
    hint: did you mean `durable-object`?

    error: `exports.B.storage` is missing
     --> wrangler.jsonc:7:10
      |
    7 |     "B": { "type": "durable-object" },
      |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: add `storage`

    error: `exports.C.state` cannot be `removed`
     --> wrangler.jsonc:8:47
      |
    8 |     "C": { "type": "durable-object", "state": "removed" },
      |                                               ^^^^^^^^^
    hint: choose one of `created`, `deleted`, `renamed`, `transferred`, `expecting-transfer`

    error: `exports.D` is renamed to a class that is not there: `Nobody`
     --> wrangler.jsonc:9:72
      |
    9 |     "D": { "type": "durable-object", "state": "renamed", "renamed_to": "Nobody" },
      |                                                                        ^^^^^^^^
    hint: add `exports.Nobody` with the storage that `D` had

    error: `migrations` and `exports` both declare Durable Object classes
      --> wrangler.jsonc:12:3
       |
    12 |   "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Box"] }]
       |   ^^^^^^^^^^^^
    hint: keep one of them
    "#);
}

#[test]
fn containers_that_belong_to_no_class_or_to_the_same() {
    assert_snapshot!(both(
        r#"  "containers": [{ "image": "./Dockerfile" }]"#,
        "[[containers]]\nname = \"box\"\nimage = \"./Dockerfile\"",
    ), @r#"
    error: `containers[0]` belongs to no Durable Object class
     --> wrangler.jsonc:5:18
      |
    5 |   "containers": [{ "image": "./Dockerfile" }]
      |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: set `class_name` to the class that drives it

    error: `containers[0]` belongs to no Durable Object class
     --> wrangler.toml:4:1
      |
    4 | [[containers]]
      | ^^^^^^^^^^^^^^
    hint: set `class_name`, or set `container` to `box` at the class in `exports`
    "#);
    assert_snapshot!(jsonc(&format!(r#"{BINDING}
  "migrations": [{{ "tag": "v1", "new_sqlite_classes": ["Box"] }}],
  "containers": [
    {{ "class_name": "Box", "name": "a", "image": "./Dockerfile" }},
    {{ "class_name": "Box", "name": "b", "image": "./Dockerfile" }}
  ]"#)), @r#"
    error: the class `Box` has a container already
     --> wrangler.jsonc:9:21
      |
    9 |     { "class_name": "Box", "name": "b", "image": "./Dockerfile" }
      |                     ^^^^^
    hint: a class drives one container: add a class, or remove this container
    "#);
    assert_snapshot!(jsonc(r#"  "durable_objects": { "bindings": [
    { "name": "BOX", "class_name": "Box" }, { "name": "CRATE", "class_name": "Crate" } ] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Box", "Crate"] }],
  "containers": [
    { "class_name": "Box", "name": "a", "image": "./Dockerfile" },
    { "class_name": "Crate", "name": "a", "image": "./Dockerfile" }
  ]"#), @r#"
    error: two containers are named `a`
      --> wrangler.jsonc:10:38
       |
    10 |     { "class_name": "Crate", "name": "a", "image": "./Dockerfile" }
       |                                      ^^^
    hint: give one of them another `name`
    "#);
}

#[test]
fn objects_of_other_workers_are_not_run() {
    assert_snapshot!(both(
        r#"  "durable_objects": { "bindings": [{ "name": "BOX", "class_name": "Box", "script_name": "other" }] }"#,
        "[[durable_objects.bindings]]\nname = \"BOX\"\nclass_name = \"Box\"\nscript_name = \"other\"",
    ), @r#"
    error: Berth does not run Durable Objects of other Workers yet: `other`
     --> wrangler.jsonc:5:90
      |
    5 |   "durable_objects": { "bindings": [{ "name": "BOX", "class_name": "Box", "script_name": "other" }] }
      |                                                                                          ^^^^^^^
    hint: this Worker is `app`

    error: Berth does not run Durable Objects of other Workers yet: `other`
     --> wrangler.toml:7:15
      |
    7 | script_name = "other"
      |               ^^^^^^^
    hint: this Worker is `app`
    "#);
    let own = project(
        r#"  "durable_objects": { "bindings": [{ "name": "BOX", "class_name": "Box", "script_name": "app" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Box"] }]"#,
    );
    assert_eq!(own.durable_objects.len(), 1);
}

#[test]
fn bindings_need_both_names() {
    assert_snapshot!(both(
        r#"  "durable_objects": { "bindings": [{ "name": "BOX" }] }"#,
        "[[durable_objects.bindings]]\nclass_name = \"Box\"",
    ), @r#"
    error: `durable_objects.bindings[0].class_name` is missing
     --> wrangler.jsonc:5:37
      |
    5 |   "durable_objects": { "bindings": [{ "name": "BOX" }] }
      |                                     ^^^^^^^^^^^^^^^^^
    hint: add `class_name`

    error: `durable_objects.bindings[0].name` is missing
     --> wrangler.toml:4:1
      |
    4 | [[durable_objects.bindings]]
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: add `name`
    "#);
}
