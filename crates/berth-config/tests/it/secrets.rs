//! `.dev.vars` and `.env`: which files, which wins, what is said.

use berth_config::watched_files;
use insta::assert_snapshot;

use crate::support::{Dir, quiet, with_header_jsonc};

fn dir(fields: &str) -> Dir {
    let dir = Dir::new();
    dir.write("wrangler.jsonc", with_header_jsonc(fields));
    dir
}

fn secrets(dir: &Dir, environment: Option<&str>) -> String {
    let mut options = dir.options();
    options.environment = environment.map(str::to_owned);
    let project = quiet(dir, &options);
    project
        .secrets
        .iter()
        .map(|(name, value)| format!("{name}={value} "))
        .collect()
}

const STAGING: &str = r#"  "vars": { "A": "top" }, "env": { "staging": { "vars": { "A": "x" } }, "x": { "vars": { "A": "x" } } }"#;

#[test]
fn dev_vars_win_over_env_files() {
    let dir = dir(STAGING);
    assert_eq!(secrets(&dir, None), "");
    dir.write(".env", "A=env\nB=env\nC=$B-${A}");
    assert_eq!(secrets(&dir, None), "A=env B=env C=env-env ");
    dir.write(".env.local", "B=local");
    dir.write(".env.staging", "B=staging\nD=${C}!");
    assert_eq!(secrets(&dir, None), "A=env B=local C=local-env ");
    assert_eq!(
        secrets(&dir, Some("staging")),
        "A=env B=staging C=staging-env D=staging-env! "
    );
    dir.write(".env.staging.local", "B=last");
    assert_eq!(
        secrets(&dir, Some("staging")),
        "A=env B=last C=last-env D=last-env! "
    );
    dir.write(".dev.vars", "A=dev\nRAW=$A");
    assert_eq!(secrets(&dir, None), "A=dev RAW=$A ");
    assert_eq!(secrets(&dir, Some("staging")), "A=dev RAW=$A ");
    dir.write(".dev.vars.staging", "A=dev-staging");
    assert_eq!(secrets(&dir, Some("staging")), "A=dev-staging ");
    assert_eq!(secrets(&dir, Some("x")), "A=dev RAW=$A ");
}

#[test]
fn watched_files_are_all_that_could_matter() {
    let dir = dir(STAGING);
    let project = quiet(&dir, &dir.in_environment("staging"));
    let names: Vec<String> = watched_files(&project)
        .iter()
        .map(|file| file.strip_prefix(dir.path()).unwrap().display().to_string())
        .collect();
    assert_eq!(
        names,
        [
            "wrangler.jsonc",
            "berth.jsonc",
            ".dev.vars.staging",
            ".dev.vars",
            ".env",
            ".env.local",
            ".env.staging",
            ".env.staging.local"
        ]
    );
}

#[test]
fn mistakes_name_file_and_line() {
    let dir = dir(STAGING);
    dir.write(".dev.vars", "A=1\n\nTOKEN='hunter2\n  hunter2 is it\n");
    assert!(!dir.says(&dir.options()).contains("hunter2"));
    assert_snapshot!(dir.says(&dir.options()), @r"
    warning: this line is not an assignment
     --> .dev.vars:4:3
      |
    4 |   …
      |   ^
    hint: write `NAME=value`, or begin the line with `#`; it is ignored

    error: this quote is never closed
     --> .dev.vars:3:7
      |
    3 | TOKEN='…
      |       ^
    hint: end the value with '
    ");
    dir.write(".dev.vars", b"A=1\nB=\xff\xfe\n");
    assert_snapshot!(dir.says(&dir.options()), @r"
    error: the text is not UTF-8
     --> .dev.vars:2:3
      |
    2 | …
      |  ^
    hint: save the file as UTF-8
    ");
}

#[test]
fn a_secret_with_the_name_of_a_binding_is_ignored() {
    let dir = dir(r#"  "kv_namespaces": [{ "binding": "KV" }]"#);
    dir.write(".env", "OTHER=1\nexport KV = hunter2\n");
    assert!(!dir.says(&dir.options()).contains("hunter2"));
    assert_snapshot!(dir.says(&dir.options()), @r"
    warning: the secret `KV` is ignored: a binding has that name
     --> .env:2:8
      |
    2 | export KV…
      |        ^^
    hint: rename one of them
    ");
    let project = dir.load(&dir.options()).project;
    assert_eq!(project.secrets.keys().collect::<Vec<_>>(), ["OTHER"]);
}

#[test]
fn required_secrets_are_a_filter() {
    let dir = dir(r#"  "vars": { "V": "file" },
  "secrets": { "required": ["TOKEN", "FROM_PROCESS", "ABSENT"] }"#);
    dir.write(".env", "TOKEN=t\nV=override\nNOISE=n\n");
    let mut options = dir.options();
    options.process_env = vec![
        ("FROM_PROCESS".into(), "p".into()),
        ("HOME".into(), "/root".into()),
    ];
    assert_snapshot!(dir.says(&options), @r#"
    warning: the required secret `ABSENT` is not set
     --> wrangler.jsonc:6:54
      |
    6 |   "secrets": { "required": ["TOKEN", "FROM_PROCESS", "ABSENT"] }
      |                                                      ^^^^^^^^
    hint: add it to `.dev.vars` or `.env`
    "#);
    let secrets = dir.load(&options).project.secrets;
    let secrets: Vec<_> = secrets.iter().map(|(a, b)| format!("{a}={b}")).collect();
    assert_eq!(secrets, ["FROM_PROCESS=p", "TOKEN=t", "V=override"]);
}
