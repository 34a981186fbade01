//! `berth.jsonc`.

use std::time::Duration;

use insta::assert_snapshot;

use crate::support::{Dir, boxed, quiet, with_header_jsonc};

fn dir(own: &str) -> Dir {
    let dir = Dir::new();
    dir.write(
        "wrangler.jsonc",
        with_header_jsonc(&boxed(r#""name": "box""#)),
    );
    dir.write("berth.jsonc", own);
    dir
}

fn says(own: &str) -> String {
    let dir = dir(own);
    dir.says(&dir.options())
}

#[test]
fn sleep_is_off_unless_set() {
    let without = Dir::new();
    without.write(
        "wrangler.jsonc",
        with_header_jsonc(&boxed(r#""name": "box""#)),
    );
    let project = quiet(&without, &without.options());
    assert_eq!(project.containers[0].sleep, None);
    let with = dir(r#"{ // durations have units
  "containers": { "Box": { "sleep": { "freeze_after": "30s", "checkpoint_after": "10m" } } } }"#);
    let sleep = quiet(&with, &with.options()).containers[0].sleep.unwrap();
    assert_eq!(sleep.freeze_after, Duration::from_secs(30));
    assert_eq!(sleep.quiet_connection_after, Some(Duration::from_secs(60)));
    assert_eq!(sleep.checkpoint_after, Some(Duration::from_secs(600)));
    let strict = dir(
        r#"{ "containers": { "Box": { "sleep": { "freeze_after": "250ms", "quiet_connection_after": "never" } } } }"#,
    );
    let sleep = quiet(&strict, &strict.options()).containers[0]
        .sleep
        .unwrap();
    assert_eq!(sleep.freeze_after, Duration::from_millis(250));
    assert_eq!(sleep.quiet_connection_after, None);
    assert_eq!(sleep.checkpoint_after, None);
}

#[test]
fn containers_change_with_their_worker_if_asked() {
    let with = dir(r#"{ "containers": { "Box": { "rollout": "atomic" } } }"#);
    assert!(quiet(&with, &with.options()).containers[0].atomic);
    let without = dir(r#"{ "containers": { "Box": { "rollout": "gradual" } } }"#);
    assert!(!quiet(&without, &without.options()).containers[0].atomic);
    assert_snapshot!(says(r#"{ "containers": { "Box": { "rollout": "now" } } }"#), @r##"
    error: `containers.Box.rollout` is no kind of rollout: `now`
     --> berth.jsonc:1:39
      |
    1 | { "containers": { "Box": { "rollout": "now" } } }
      |                                       ^^^^^
    hint: `gradual`: in steps, after the Worker; `atomic`: all at once, together with it
    "##);
}

#[test]
fn every_mistake_has_its_place() {
    assert_snapshot!(says(r#"{
  "container": {},
  "containers": {
    "Bx": {},
    "Box": {
      "sleep": {
        "freeze_after": "30",
        "checkpoint_afer": "1m",
        "quiet_connection_after": 7
      }
    }
  }
}"#), @r##"
    warning: unknown field `container` at the top level
     --> berth.jsonc:2:3
      |
    2 |   "container": {},
      |   ^^^^^^^^^^^
    hint: Berth's own file has `containers` only

    warning: unknown field `checkpoint_afer` in `containers.Box.sleep`
     --> berth.jsonc:8:9
      |
    8 |         "checkpoint_afer": "1m",
      |         ^^^^^^^^^^^^^^^^^
    hint: did you mean `checkpoint_after`?

    error: no container has the class `Bx`
     --> berth.jsonc:4:5
      |
    4 |     "Bx": {},
      |     ^^^^
    hint: there is `Box`

    error: `containers.Box.sleep.freeze_after` is no duration: `30`
     --> berth.jsonc:7:25
      |
    7 |         "freeze_after": "30",
      |                         ^^^^
    hint: a whole number and `ms`, `s`, `m` or `h`, for example `30s`

    error: `containers.Box.sleep.quiet_connection_after` must be a string, but is a number
     --> berth.jsonc:9:35
      |
    9 |         "quiet_connection_after": 7
      |                                   ^
    hint: put the text in double quotes
    "##);
    assert_snapshot!(says(r#"{ "containers": { "Box": { "sleep": { "checkpoint_after": "9999h" } } } }"#), @r##"
    error: `containers.Box.sleep.freeze_after` is missing
     --> berth.jsonc:1:37
      |
    1 | { "containers": { "Box": { "sleep": { "checkpoint_after": "9999h" } } } }
      |                                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: add `freeze_after`

    error: `containers.Box.sleep.checkpoint_after` is longer than a week
     --> berth.jsonc:1:59
      |
    1 | { "containers": { "Box": { "sleep": { "checkpoint_after": "9999h" } } } }
      |                                                           ^^^^^^^
    hint: leave it out, or write `never` where that is possible
    "##);
    assert_snapshot!(says(r#"{ "containers": { "Box": { "sleep": { "freeze_after": "0s" } } } "#), @r##"
    error: this `{` is never closed
     --> berth.jsonc:1:1
      |
    1 | { "containers": { "Box": { "sleep": { "freeze_after": "0s" } } }
      | ^
    hint: add the missing `}`
    "##);
}
