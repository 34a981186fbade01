//! The Worker itself: name, entry point, dates, variables, assets, bundling, dev.

use berth_config::{LoadOptions, Purpose, RunWorkerFirst, load};
use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Dir, both, jsonc, project, toml};

fn file(name: &str, text: &str) -> String {
    let dir = Dir::new();
    dir.write(name, text);
    dir.says(&dir.options())
}

#[test]
fn name_main_and_date_missing() {
    let dir = Dir::new();
    dir.write("My shop/wrangler.toml", "vars = {}\n");
    let mut options = dir.options();
    options.directory = dir.path().join("My shop");
    assert_snapshot!(dir.says(&options), @r"
    warning: `compatibility_date` is missing; `2026-11-17` is used
     --> My shop/wrangler.toml:1:1
      |
    1 | vars = {}
      | ^
    hint: add `compatibility_date` with the value `2026-11-17`, so that a newer runtime changes nothing

    error: `name` is missing
     --> My shop/wrangler.toml:1:1
      |
    1 | vars = {}
      | ^
    hint: add a name, for example `my-shop`

    error: `main` is missing: there is no Worker to run
     --> My shop/wrangler.toml:1:1
      |
    1 | vars = {}
      | ^
    hint: add the Worker's entry point, for example `src/index.ts`
    ");
}

#[test]
fn main_is_needed_for_containers() {
    assert_snapshot!(file("wrangler.toml", r#"name = "app"
compatibility_date = "2026-01-10"
[assets]
directory = "./src"
[[containers]]
class_name = "Box"
image = "./Dockerfile"
[[durable_objects.bindings]]
name = "BOX"
class_name = "Box"
[[migrations]]
tag = "v1"
new_sqlite_classes = ["Box"]
"#), @r#"
    error: `main` is missing: containers are started by a Worker
     --> wrangler.toml:1:1
      |
    1 | name = "app"
      | ^
    hint: add the Worker's entry point, for example `src/index.ts`
    "#);
}

#[test]
fn bad_names() {
    assert_snapshot!(file("wrangler.jsonc", r#"{ "name": "My App", "main": "src/index.ts", "compatibility_date": "2026-01-10" }"#), @r#"
    error: `My App` is no name for a Worker
     --> wrangler.jsonc:1:11
      |
    1 | { "name": "My App", "main": "src/index.ts", "compatibility_date": "2026-01-10" }
      |           ^^^^^^^^
    hint: lower-case letters, digits, `-` and `_` only, for example `my-app`
    "#);
    assert_snapshot!(file("wrangler.toml", "name = 7\nmain = \"src/index.ts\"\ncompatibility_date = \"2026-01-10\"\n"), @r"
    error: `name` must be a string, but is a number
     --> wrangler.toml:1:8
      |
    1 | name = 7
      |        ^
    hint: put the text in double quotes
    ");
}

#[test]
fn missing_main_file() {
    assert_snapshot!(file("wrangler.jsonc", r#"{ "name": "app", "main": "src/index.js", "compatibility_date": "2026-01-10" }"#), @r#"
    error: `main` does not exist: `src/index.js`
     --> wrangler.jsonc:1:26
      |
    1 | { "name": "app", "main": "src/index.js", "compatibility_date": "2026-01-10" }
      |                          ^^^^^^^^^^^^^^
    hint: did you mean `src/index.ts`?
    "#);
    assert_snapshot!(file("wrangler.toml", "name = \"app\"\nmain = \"src\"\ncompatibility_date = \"2026-01-10\"\n"), @r#"
    error: `main` is a directory: `src`
     --> wrangler.toml:2:8
      |
    2 | main = "src"
      |        ^^^^^
    hint: paths are relative to the configuration file
    "#);
    assert_snapshot!(file("wrangler.toml", "name = \"app\"\nmain = \"main.py\"\ncompatibility_date = \"2026-01-10\"\n"), @r#"
    error: Berth does not run Python Workers yet
     --> wrangler.toml:2:8
      |
    2 | main = "main.py"
      |        ^^^^^^^^^
    hint: write the Worker in JavaScript or TypeScript; containers may run anything
    "#);
}

#[test]
fn bad_dates() {
    let with = |date: &str| {
        file(
            "wrangler.toml",
            &format!("name = \"app\"\nmain = \"src/index.ts\"\ncompatibility_date = {date}\n"),
        )
    };
    assert_snapshot!(with("\"2026-12-24\""), @r#"
    error: the runtime does not know the compatibility date `2026-12-24` yet
     --> wrangler.toml:3:22
      |
    3 | compatibility_date = "2026-12-24"
      |                      ^^^^^^^^^^^^
    hint: the newest that this version of Berth runs is `2026-11-17`
    "#);
    assert_snapshot!(with("\"2026-02-30\""), @r#"
    error: `2026-02-30` is not a date
     --> wrangler.toml:3:22
      |
    3 | compatibility_date = "2026-02-30"
      |                      ^^^^^^^^^^^^
    hint: write it as YYYY-MM-DD, for example `2026-11-17`
    "#);
    assert_snapshot!(with("\"2026–01–10\""), @r#"
    error: the compatibility date is written with dashes, not hyphens
     --> wrangler.toml:3:22
      |
    3 | compatibility_date = "2026–01–10"
      |                      ^^^^^^^^^^^^
    hint: write `2026-01-10`
    "#);
    assert_snapshot!(with("2026-01-10"), @r#"
    error: `compatibility_date` must be a string, but is a date
     --> wrangler.toml:3:22
      |
    3 | compatibility_date = 2026-01-10
      |                      ^^^^^^^^^^
    hint: put it in double quotes: `"2026-01-10"`
    "#);
}

#[test]
fn a_missing_date_is_the_newest_with_a_warning() {
    let dir = Dir::new();
    dir.write(
        "wrangler.jsonc",
        "{\n  \"name\": \"app\",\n  \"main\": \"src/index.ts\"\n}",
    );
    assert_snapshot!(dir.says(&dir.options()), @r"
    warning: `compatibility_date` is missing; `2026-11-17` is used
     --> wrangler.jsonc:1:1
      |
    1 | {
      | ^
    hint: add `compatibility_date` with the value `2026-11-17`, so that a newer runtime changes nothing
    ");
    assert_eq!(
        dir.load(&dir.options()).project.compatibility_date,
        "2026-11-17"
    );
}

#[test]
fn variables_keep_their_types() {
    let project = project(
        r#"  "vars": { "TEXT": "a", "NUMBER": 1.5, "BIG": 9007199254740993, "FLAG": true, "NONE": null, "LIST": [1, { "a": [] }] },
  "compatibility_flags": ["nodejs_compat"]"#,
    );
    assert_eq!(
        serde_json::to_value(&project.vars).unwrap(),
        json!({ "TEXT": "a", "NUMBER": 1.5, "BIG": 9_007_199_254_740_993_u64, "FLAG": true, "NONE": null, "LIST": [1, { "a": [] }] })
    );
    assert_eq!(project.compatibility_flags, ["nodejs_compat"]);
}

#[test]
fn bad_variables() {
    assert_snapshot!(toml("[vars]\nSINCE = 2026-01-10\nDEEP = { a = [2026-01-10T10:00:00Z] }"), @r#"
    error: `vars.SINCE` holds a date, which variables cannot
     --> wrangler.toml:5:9
      |
    5 | SINCE = 2026-01-10
      |         ^^^^^^^^^^
    hint: put it in double quotes: `"2026-01-10"`

    error: `vars.DEEP` holds a date, which variables cannot
     --> wrangler.toml:6:8
      |
    6 | DEEP = { a = [2026-01-10T10:00:00Z] }
      |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: put it in double quotes: `"2026-01-10T10:00:00Z"`
    "#);
    assert_snapshot!(jsonc(r#"  "vars": ["A"]"#), @r#"
    error: `vars` must be an object, but is an array
     --> wrangler.jsonc:5:11
      |
    5 |   "vars": ["A"]
      |           ^^^^^
    hint: put its fields between `{` and `}`
    "#);
    assert_snapshot!(jsonc("  \"compatibility_flags\": [\"nodejs_compat\", \"nodejs_compat\", 7]"), @r#"
    warning: the flag `nodejs_compat` is given twice
     --> wrangler.jsonc:5:44
      |
    5 |   "compatibility_flags": ["nodejs_compat", "nodejs_compat", 7]
      |                                            ^^^^^^^^^^^^^^^
    hint: remove one of them

    error: `compatibility_flags[2]` must be a string, but is a number
     --> wrangler.jsonc:5:61
      |
    5 |   "compatibility_flags": ["nodejs_compat", "nodejs_compat", 7]
      |                                                             ^
    hint: put the text in double quotes
    "#);
}

#[test]
fn command_line_variables_win() {
    let dir = Dir::new();
    dir.write(
        "wrangler.jsonc",
        crate::support::with_header_jsonc(
            r#"  "vars": { "A": 1, "B": "file" }, "kv_namespaces": [{ "binding": "KV" }]"#,
        ),
    );
    dir.write(".dev.vars", "B=secret\nC=secret\n");
    let mut options = dir.options();
    options.vars = vec![
        ("A".into(), "x:y".into()),
        ("B".into(), "first".into()),
        ("B".into(), "line".into()),
    ];
    let project = dir.load(&options).project;
    assert_eq!(project.vars["A"], "x:y");
    assert_eq!(project.vars["B"], "line");
    assert_eq!(project.secrets.keys().collect::<Vec<_>>(), ["C"]);

    options.vars.push(("KV".into(), "1".into()));
    assert_snapshot!(dir.says(&options), @r"
    error: the variable `KV` of the command line has the name of a binding
     --> wrangler.jsonc
    hint: give it another name
    ");
}

#[test]
fn crons() {
    let project = project(r#"  "triggers": { "crons": ["*/5 * * * *", "0 9 * * MON-FRI"] }"#);
    assert_eq!(project.crons, ["*/5 * * * *", "0 9 * * MON-FRI"]);
    assert_snapshot!(both(
        r#"  "triggers": { "crons": ["*/5 * * *", "61 * * * *"], "events": [{}] }"#,
        "[triggers]\ncrons = [\"every day\"]\ncron = []",
    ), @r#"
    error: `*/5 * * *` is not a cron expression: it has 4 fields, not 5
     --> wrangler.jsonc:5:27
      |
    5 |   "triggers": { "crons": ["*/5 * * *", "61 * * * *"], "events": [{}] }
      |                           ^^^^^^^^^^^
    hint: the five fields are minute, hour, day of the month, month, day of the week; for example `*/5 * * * *`

    error: `61 * * * *` is not a cron expression: `61` is no minute
     --> wrangler.jsonc:5:40
      |
    5 |   "triggers": { "crons": ["*/5 * * *", "61 * * * *"], "events": [{}] }
      |                                        ^^^^^^^^^^^^
    hint: the five fields are minute, hour, day of the month, month, day of the week; for example `*/5 * * * *`

    error: Berth does not run event triggers yet
     --> wrangler.jsonc:5:55
      |
    5 |   "triggers": { "crons": ["*/5 * * *", "61 * * * *"], "events": [{}] }
      |                                                       ^^^^^^^^
    hint: remove it, or keep it in an `env.<name>` that you do not run here

    warning: unknown field `cron` in `triggers`
     --> wrangler.toml:6:1
      |
    6 | cron = []
      | ^^^^
    hint: did you mean `crons`?

    error: `every day` is not a cron expression: it has 2 fields, not 5
     --> wrangler.toml:5:10
      |
    5 | crons = ["every day"]
      |          ^^^^^^^^^^^
    hint: the five fields are minute, hour, day of the month, month, day of the week; for example `*/5 * * * *`
    "#);
}

#[test]
fn assets_are_read() {
    let dir = Dir::new();
    dir.write("public/index.html", "hi");
    dir.write(
        "wrangler.jsonc",
        crate::support::with_header_jsonc(
            r#"  "assets": { "directory": "./public/", "binding": "ASSETS", "html_handling": "none",
    "not_found_handling": "404-page", "run_worker_first": ["/api/*", "!/api/docs"] }"#,
        ),
    );
    let assets = crate::support::quiet(&dir, &dir.options()).assets.unwrap();
    assert_eq!(assets.directory, dir.path().join("public"));
    assert_eq!(assets.binding.as_deref(), Some("ASSETS"));
    assert_eq!(assets.html_handling, "none");
    assert_eq!(assets.not_found_handling, "404-page");
    assert_eq!(
        assets.run_worker_first,
        RunWorkerFirst::Routes(vec!["/api/*".into(), "!/api/docs".into()])
    );
}

#[test]
fn bad_assets() {
    assert_snapshot!(both(
        r#"  "assets": { "directory": "./pubic", "html_handling": "auto", "not_found_handling": "single-page-app" }"#,
        "[assets]\nbinding = \"ASSETS\"",
    ), @r#"
    error: `assets.directory` does not exist: `./pubic`
     --> wrangler.jsonc:5:28
      |
    5 |   "assets": { "directory": "./pubic", "html_handling": "auto", "not_found_handling": "single-page-app" }
      |                            ^^^^^^^^^
    hint: paths are relative to the configuration file

    error: `assets.html_handling` cannot be `auto`
     --> wrangler.jsonc:5:56
      |
    5 |   "assets": { "directory": "./pubic", "html_handling": "auto", "not_found_handling": "single-page-app" }
      |                                                        ^^^^^^
    hint: choose one of `auto-trailing-slash`, `force-trailing-slash`, `drop-trailing-slash`, `none`

    error: `assets.not_found_handling` cannot be `single-page-app`
     --> wrangler.jsonc:5:86
      |
    5 |   "assets": { "directory": "./pubic", "html_handling": "auto", "not_found_handling": "single-page-app" }
      |                                                                                      ^^^^^^^^^^^^^^^^^
    hint: choose one of `none`, `single-page-application`, `404-page`

    error: `assets.directory` is missing
     --> wrangler.toml:4:2
      |
    4 | [assets]
      |  ^^^^^^
    hint: name the directory with the files, for example `./public`
    "#);
    assert_snapshot!(jsonc(r#"  "assets": { "directory": "./Dockerfile", "run_worker_first": ["api/*"] }"#), @r#"
    error: `assets.directory` is a file: `./Dockerfile`
     --> wrangler.jsonc:5:28
      |
    5 |   "assets": { "directory": "./Dockerfile", "run_worker_first": ["api/*"] }
      |                            ^^^^^^^^^^^^^^
    hint: name the directory with the files

    error: `api/*` is no path
     --> wrangler.jsonc:5:65
      |
    5 |   "assets": { "directory": "./Dockerfile", "run_worker_first": ["api/*"] }
      |                                                                 ^^^^^^^
    hint: patterns begin with `/` or `!/`: `/api/*`
    "#);
    assert_snapshot!(jsonc(r#"  "assets": { "directory": "./src", "run_worker_first": "yes" }"#), @r#"
    error: `assets.run_worker_first` must be `true`, `false` or an array of paths, but is a string
     --> wrangler.jsonc:5:57
      |
    5 |   "assets": { "directory": "./src", "run_worker_first": "yes" }
      |                                                         ^^^^^
    hint: for example `["/api/*"]`
    "#);
}

#[test]
fn assets_alone_need_no_worker_and_cannot_be_bound() {
    let assets = |fields: &str| {
        file(
            "wrangler.jsonc",
            &format!(
                "{{ \"name\": \"app\", \"compatibility_date\": \"2026-01-10\",\n  \"assets\": {{ \"directory\": \"./src\"{fields} }} }}"
            ),
        )
    };
    assert_eq!(assets(""), "");
    assert_snapshot!(assets(r#", "binding": "ASSETS", "run_worker_first": true"#), @r#"
    error: `assets.binding` without `main`: there is no Worker that could use it
     --> wrangler.jsonc:2:48
      |
    2 |   "assets": { "directory": "./src", "binding": "ASSETS", "run_worker_first": true } }
      |                                                ^^^^^^^^
    hint: add `main`, or remove this

    error: `assets.run_worker_first` without `main`: there is no Worker that could run
     --> wrangler.jsonc:2:58
      |
    2 |   "assets": { "directory": "./src", "binding": "ASSETS", "run_worker_first": true } }
      |                                                          ^^^^^^^^^^^^^^^^^^
    hint: add `main`, or remove this
    "#);
}

#[test]
fn observability_and_dev() {
    let project = project(
        r#"  "observability": { "enabled": false, "logs": { "enabled": true, "head_sampling_rate": 0.5, "invocation_logs": false } },
  "dev": { "ip": "0.0.0.0", "port": 9000, "enable_containers": false, "inspector_port": 9229 }"#,
    );
    assert!(project.observability.enabled);
    assert_eq!(project.observability.head_sampling_rate, Some(0.5));
    assert_eq!(project.dev.ip.unwrap().to_string(), "0.0.0.0");
    assert_eq!(project.dev.port, Some(9000));
    assert!(!project.dev.enable_containers);
    assert_snapshot!(both(
        r#"  "observability": { "enabled": true, "head_sampling_rate": 2 },
  "dev": { "ip": "lokalhost", "port": 70000, "local_protocol": "https" }"#,
        "[dev]\nport = \"8787\"\nenable_container = false",
    ), @r#"
    warning: `dev.local_protocol` is ignored: Berth serves plain HTTP in development
     --> wrangler.jsonc:6:64
      |
    6 |   "dev": { "ip": "lokalhost", "port": 70000, "local_protocol": "https" }
      |                                                                ^^^^^^^
    hint: put a TLS proxy in front if the project needs it

    error: `observability.head_sampling_rate` cannot be 2
     --> wrangler.jsonc:5:61
      |
    5 |   "observability": { "enabled": true, "head_sampling_rate": 2 },
      |                                                             ^
    hint: a number from 0 to 1: the share of requests whose logs are kept

    error: `lokalhost` is not an IP address
     --> wrangler.jsonc:6:18
      |
    6 |   "dev": { "ip": "lokalhost", "port": 70000, "local_protocol": "https" }
      |                  ^^^^^^^^^^^
    hint: for example `127.0.0.1`, or `0.0.0.0` for every interface

    error: `dev.port` cannot be 70000
     --> wrangler.jsonc:6:39
      |
    6 |   "dev": { "ip": "lokalhost", "port": 70000, "local_protocol": "https" }
      |                                       ^^^^^
    hint: a whole number from 0 to 65535

    warning: unknown field `enable_container` in `dev`
     --> wrangler.toml:6:1
      |
    6 | enable_container = false
      | ^^^^^^^^^^^^^^^^
    hint: did you mean `enable_containers`?

    error: `dev.port` must be a number, but is a string
     --> wrangler.toml:5:8
      |
    5 | port = "8787"
      |        ^^^^^^
    hint: remove the quotes: `8787`
    "#);
}

#[test]
fn bundling_is_read() {
    let dir = Dir::new();
    dir.write("tsconfig.json", "{}");
    dir.write(
        "wrangler.jsonc",
        crate::support::with_header_jsonc(
            r#"  "rules": [{ "type": "Text", "globs": ["**/*.md"], "fallthrough": true }],
  "define": { "DEBUG": "true" }, "alias": { "fs": "./fs.ts" }, "no_bundle": true, "minify": true, "keep_names": false,
  "tsconfig": "tsconfig.json", "jsx_factory": "h", "jsx_fragment": "F", "find_additional_modules": true,
  "base_dir": "src", "preserve_file_names": true,
  "build": { "command": "npm run build", "cwd": "web", "watch_dir": ["a", "b"] }"#,
        ),
    );
    let bundle = crate::support::quiet(&dir, &dir.options()).bundle;
    assert_eq!(bundle.rules[0].kind, "Text");
    assert_eq!(bundle.rules[0].globs, ["**/*.md"]);
    assert!(bundle.rules[0].fallthrough);
    assert_eq!(bundle.define["DEBUG"], "true");
    assert_eq!(bundle.alias["fs"], "./fs.ts");
    assert!(bundle.no_bundle && bundle.minify && !bundle.keep_names);
    assert!(bundle.preserve_file_names);
    assert_eq!(bundle.tsconfig, Some(dir.path().join("tsconfig.json")));
    assert_eq!(bundle.base_dir, Some(dir.path().join("src")));
    assert_eq!(bundle.jsx_factory.as_deref(), Some("h"));
    assert_eq!(bundle.jsx_fragment.as_deref(), Some("F"));
    assert_eq!(bundle.find_additional_modules, Some(true));
    let build = bundle.custom_build.unwrap();
    assert_eq!(build.command, "npm run build");
    assert_eq!(build.cwd, dir.path().join("web"));
    assert_eq!(
        build.watch_dirs,
        [dir.path().join("a"), dir.path().join("b")]
    );
}

#[test]
fn a_custom_build_may_make_main() {
    let dir = Dir::new();
    dir.write(
        "wrangler.toml",
        "name = \"app\"\nmain = \"dist/worker.js\"\ncompatibility_date = \"2026-01-10\"\n[build]\ncommand = \"make\"\n",
    );
    let project = crate::support::quiet(&dir, &dir.options());
    assert_eq!(
        project.bundle.custom_build.unwrap().watch_dirs,
        [dir.path().join("src")]
    );
}

#[test]
fn bad_bundling() {
    assert_snapshot!(both(
        r#"  "rules": [{ "type": "text", "globs": "**/*.md" }, {}],
  "define": { "DEBUG": true }, "minify": "yes", "tsconfig": "./tsconfig.json""#,
        "rules = [{ type = \"PythonModule\", globs = [] }]\n[build]\ncommand = \"make\"\nwatch = \"src\"\n[build.upload]\nformat = \"modules\"",
    ), @r#"
    error: `rules[0].type` cannot be `text`
     --> wrangler.jsonc:5:23
      |
    5 |   "rules": [{ "type": "text", "globs": "**/*.md" }, {}],
      |                       ^^^^^^
    hint: did you mean `Text`?

    error: `rules[0].globs` must be an array, but is a string
     --> wrangler.jsonc:5:40
      |
    5 |   "rules": [{ "type": "text", "globs": "**/*.md" }, {}],
      |                                        ^^^^^^^^^
    hint: put the elements between `[` and `]`

    error: `rules[1].type` is missing
     --> wrangler.jsonc:5:53
      |
    5 |   "rules": [{ "type": "text", "globs": "**/*.md" }, {}],
      |                                                     ^^
    hint: add `type`

    error: `rules[1].globs` is missing
     --> wrangler.jsonc:5:53
      |
    5 |   "rules": [{ "type": "text", "globs": "**/*.md" }, {}],
      |                                                     ^^
    hint: add `globs`

    error: `define.DEBUG` must be a string, but is a boolean
     --> wrangler.jsonc:6:24
      |
    6 |   "define": { "DEBUG": true }, "minify": "yes", "tsconfig": "./tsconfig.json"
      |                        ^^^^
    hint: put the text in double quotes

    error: `minify` must be `true` or `false`, but is a string
     --> wrangler.jsonc:6:42
      |
    6 |   "define": { "DEBUG": true }, "minify": "yes", "tsconfig": "./tsconfig.json"
      |                                          ^^^^^
    hint: without quotes

    error: `tsconfig` does not exist: `./tsconfig.json`
     --> wrangler.jsonc:6:61
      |
    6 |   "define": { "DEBUG": true }, "minify": "yes", "tsconfig": "./tsconfig.json"
      |                                                             ^^^^^^^^^^^^^^^^^
    hint: paths are relative to the configuration file

    warning: unknown field `watch` in `build`
     --> wrangler.toml:7:1
      |
    7 | watch = "src"
      | ^^^^^
    hint: did you mean `watch_dir`?

    error: `rules[0].type` cannot be `PythonModule`
     --> wrangler.toml:4:19
      |
    4 | rules = [{ type = "PythonModule", globs = [] }]
      |                   ^^^^^^^^^^^^^^
    hint: choose one of `ESModule`, `CommonJS`, `CompiledWasm`, `Text`, `Data`

    error: wrangler no longer has the field `build.upload`
     --> wrangler.toml:8:8
      |
    8 | [build.upload]
      |        ^^^^^^
    hint: remove it; module rules are `rules` at the top level
    "#);
}

#[test]
fn ignored_fields_say_nothing() {
    project(
        r#"  "$schema": "./node_modules/wrangler/config-schema.json", "account_id": "x", "workers_dev": true,
  "routes": ["example.com/*"], "placement": { "mode": "smart" }, "limits": { "cpu_ms": 5 }, "logpush": true,
  "upload_source_maps": true, "tail_consumers": [], "send_metrics": false, "keep_vars": true,
  "preview_urls": false, "cache": { "enabled": true }, "hyperdrive": [], "unsafe": { "metadata": { "a": 1 } }"#,
    );
}

#[test]
fn what_only_a_server_does() {
    assert_snapshot!(both("  \"tail_consumers\": [{ \"service\": \"x\" }]", "tail_consumers = [{ service = \"x\" }]"), @r#"
    warning: `tail_consumers` has no effect here: other Workers hear nothing of this one in a dev session
     --> wrangler.jsonc:5:3
      |
    5 |   "tail_consumers": [{ "service": "x" }]
      |   ^^^^^^^^^^^^^^^^
    hint: deploy to a server to try it

    warning: `tail_consumers` has no effect here: other Workers hear nothing of this one in a dev session
     --> wrangler.toml:4:1
      |
    4 | tail_consumers = [{ service = "x" }]
      | ^^^^^^^^^^^^^^
    hint: deploy to a server to try it
    "#);
}

#[test]
fn removed_fields() {
    assert_snapshot!(both("  \"node_compat\": true, \"legacy_env\": false", "legacy_env = true"), @r#"
    error: wrangler no longer has the field `node_compat`
     --> wrangler.jsonc:5:3
      |
    5 |   "node_compat": true, "legacy_env": false
      |   ^^^^^^^^^^^^^
    hint: use the compatibility flag `nodejs_compat`

    error: wrangler no longer has the field `legacy_env`
     --> wrangler.jsonc:5:24
      |
    5 |   "node_compat": true, "legacy_env": false
      |                        ^^^^^^^^^^^^
    hint: remove it: every environment is a Worker of its own

    warning: wrangler no longer has the field `legacy_env`
     --> wrangler.toml:4:1
      |
    4 | legacy_env = true
      | ^^^^^^^^^^
    hint: remove it: every environment is a Worker of its own
    "#);
}

#[test]
fn unknown_top_level_fields() {
    assert_snapshot!(both(
        "  \"contaners\": [], \"compatability_flags\": []",
        "mane = \"x\"\n[something]\nelse = 1",
    ), @r#"
    warning: unknown field `contaners` at the top level
     --> wrangler.jsonc:5:3
      |
    5 |   "contaners": [], "compatability_flags": []
      |   ^^^^^^^^^^^
    hint: did you mean `containers`?

    warning: unknown field `compatability_flags` at the top level
     --> wrangler.jsonc:5:20
      |
    5 |   "contaners": [], "compatability_flags": []
      |                    ^^^^^^^^^^^^^^^^^^^^^
    hint: did you mean `compatibility_flags`?

    warning: unknown field `mane` at the top level
     --> wrangler.toml:4:1
      |
    4 | mane = "x"
      | ^^^^
    hint: it is ignored; remove it

    warning: unknown field `something` at the top level
     --> wrangler.toml:5:2
      |
    5 | [something]
      |  ^^^^^^^^^
    hint: it is ignored; remove it
    "#);
}

#[test]
fn what_only_a_server_runs_is_for_deployments() {
    let dir = Dir::new();
    dir.write(
        "wrangler.jsonc",
        r#"{
  "name": "app", "main": "src/index.ts", "compatibility_date": "2026-01-01",
  "secrets_store_secrets": [{ "binding": "KEY", "store_id": "s", "secret_name": "k" }],
  "services": [{ "binding": "OTHER", "service": "other" }],
  "routes": ["example.com/*"],
  "env": { "staging": { "vars": { "A": 1 } } }
}"#,
    );
    dir.write(".dev.vars", "SECRET=mine");
    let dev = dir.says(&dir.options());
    assert!(
        dev.contains("Secrets Store secrets") && dev.contains("other Workers"),
        "{dev}"
    );
    let options = LoadOptions {
        purpose: Purpose::Deploy,
        ..dir.options()
    };
    let project = load(&options).unwrap().project;
    assert!(project.secrets.is_empty(), "they stay on this machine");
    assert!(project.bundle.production);
    assert_eq!(
        project.written["secrets_store_secrets"][0]["secret_name"],
        "k"
    );
    assert_eq!(project.written["routes"][0], "example.com/*");
    let staging = LoadOptions {
        environment: Some("staging".to_owned()),
        ..options
    };
    let project = load(&staging).unwrap().project;
    assert!(
        !project.written.contains_key("secrets_store_secrets"),
        "not inherited"
    );
    assert_eq!(project.written["routes"][0], "example.com/*");
    assert_eq!(project.written["vars"]["A"], 1);
}
