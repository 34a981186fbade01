//! Finding the file, syntax errors, and how places are shown.

use insta::assert_snapshot;

use crate::support::{Dir, quiet, with_header_jsonc, with_header_toml};

fn says(name: &str, text: impl AsRef<[u8]>) -> String {
    let dir = Dir::new();
    dir.write(name, text);
    dir.says(&dir.options())
}

#[test]
fn json_comes_before_jsonc_before_toml() {
    let dir = Dir::new();
    dir.write("wrangler.toml", with_header_toml(""));
    assert!(
        quiet(&dir, &dir.options())
            .config_path
            .ends_with("wrangler.toml")
    );
    dir.write("wrangler.jsonc", with_header_jsonc("// a comment"));
    dir.write("wrangler.json", with_header_jsonc("// also here"));
    assert_snapshot!(dir.says(&dir.options()), @r"
    warning: this file is ignored: `wrangler.json` is read instead
     --> wrangler.jsonc
    hint: keep one of them; wrangler prefers `.json` to `.jsonc` to `.toml` too

    warning: this file is ignored: `wrangler.json` is read instead
     --> wrangler.toml
    hint: keep one of them; wrangler prefers `.json` to `.jsonc` to `.toml` too
    ");
    assert!(
        dir.load(&dir.options())
            .project
            .config_path
            .ends_with("wrangler.json")
    );
}

#[test]
fn a_named_file_is_used() {
    let dir = Dir::new();
    dir.write("wrangler.jsonc", "not read");
    dir.write("other.toml", with_header_toml(""));
    let mut options = dir.options();
    options.config = Some(dir.path().join("other.toml"));
    assert_eq!(quiet(&dir, &options).name, "app");
    options.config = None;
    options.directory = dir.path().join("other.toml");
    assert_eq!(quiet(&dir, &options).name, "app");
}

#[test]
fn no_file() {
    let dir = Dir::new();
    assert_snapshot!(dir.says(&dir.options()), @r"
    error: there is no `wrangler.jsonc`, `wrangler.json` or `wrangler.toml` in this directory
     --> .
    hint: name the project's directory, or the file itself with `--config`
    ");
    let mut options = dir.options();
    options.directory = dir.path().join("nowhere");
    assert_snapshot!(dir.says(&options), @r"
    error: this directory does not exist
     --> nowhere
    hint: name the project's directory, or the file itself with `--config`
    ");
    options.config = Some(dir.path().join("missing.jsonc"));
    assert_snapshot!(dir.says(&options), @r"
    error: could not read the file: No such file or directory (os error 2)
     --> missing.jsonc
    hint: check the path and its permissions
    ");
    dir.write("wrangler.yaml", "name: app");
    options.config = Some(dir.path().join("wrangler.yaml"));
    assert_snapshot!(dir.says(&options), @r"
    error: this is no wrangler configuration
     --> wrangler.yaml
    hint: the file's name must end in `.jsonc`, `.json` or `.toml`
    ");
}

#[test]
fn syntax_errors_in_jsonc() {
    let jsonc = |text: &str| says("wrangler.jsonc", text);
    assert_snapshot!(jsonc("{\n  \"name\": \"app\" // the name\n  \"main\": \"x\"\n}"), @r#"
    error: a comma is missing here
     --> wrangler.jsonc:2:16
      |
    2 |   "name": "app" // the name
      |                ^
    hint: add a `,`
    "#);
    assert_snapshot!(jsonc("{\n  \"name\": \"app\",\n  \"vars\": { \"A\": 1,\n"), @r#"
    error: this `{` is never closed
     --> wrangler.jsonc:3:11
      |
    3 |   "vars": { "A": 1,
      |           ^
    hint: add the missing `}`
    "#);
    assert_snapshot!(jsonc("{ \"a\": [1, 2 }"), @r#"
    error: this `}` does not close anything
     --> wrangler.jsonc:1:14
      |
    1 | { "a": [1, 2 }
      |              ^
    hint: a `[` in front of it is still open
    "#);
    assert_snapshot!(jsonc("{ name: \"app\" }"), @r#"
    error: names must be in double quotes
     --> wrangler.jsonc:1:3
      |
    1 | { name: "app" }
      |   ^^^^
    hint: this is JSON with comments, not JavaScript
    "#);
    assert_snapshot!(jsonc("{ 'name': 'app' }"), @r"
    error: strings must be in double quotes
     --> wrangler.jsonc:1:3
      |
    1 | { 'name': 'app' }
      |   ^
    hint: this is JSON with comments, not JavaScript
    ");
    assert_snapshot!(jsonc("{ \"name\" \"app\" }"), @r#"
    error: a colon is missing here
     --> wrangler.jsonc:1:9
      |
    1 | { "name" "app" }
      |         ^
    hint: names and values are written `"name": value`
    "#);
    assert_snapshot!(jsonc("{ \"name\": }"), @r#"
    error: a value is missing here
     --> wrangler.jsonc:1:10
      |
    1 | { "name": }
      |          ^
    hint: add it, or remove what asks for it
    "#);
    assert_snapshot!(jsonc("{ \"name\": app }"), @r#"
    error: this is neither a string nor `true`, `false` or `null`
     --> wrangler.jsonc:1:11
      |
    1 | { "name": app }
      |           ^^^
    hint: strings must be in double quotes
    "#);
    assert_snapshot!(jsonc("{ \"name\": \"app }\n"), @r#"
    error: this string is never closed
     --> wrangler.jsonc:1:11
      |
    1 | { "name": "app }
      |           ^^^^^^
    hint: end it with `"` in the same line
    "#);
    assert_snapshot!(jsonc("{} {}"), @r"
    error: the object has ended, and more follows
     --> wrangler.jsonc:1:4
      |
    1 | {} {}
      |    ^
    hint: a closing bracket in front of this is too early
    ");
    assert_snapshot!(jsonc("{ /* never closed\n}"), @r"
    error: this comment is never closed
     --> wrangler.jsonc:1:3
      |
    1 | { /* never closed
      |   ^
    hint: add the missing `*/`
    ");
    assert_snapshot!(jsonc(""), @r"
    error: the file is empty
     --> wrangler.jsonc:1:1
      |
    1 | 
      | ^
    hint: at least `name`, `main` and `compatibility_date` are needed
    ");
    assert_snapshot!(jsonc("[]"), @r"
    error: the file must hold an object, but holds an array
     --> wrangler.jsonc:1:1
      |
    1 | []
      | ^^
    hint: put the fields between `{` and `}`
    ");
    assert_snapshot!(jsonc("{ \"a\": 0x10 }"), @r#"
    error: hexadecimal numbers are not allowed
     --> wrangler.jsonc:1:8
      |
    1 | { "a": 0x10 }
      |        ^
    hint: this is JSON; only comments and trailing commas are allowed beyond it
    "#);
    assert_snapshot!(jsonc("{ \"a\": 1e999 }"), @r#"
    error: `1e999` is not a number that fits
     --> wrangler.jsonc:1:8
      |
    1 | { "a": 1e999 }
      |        ^^^^^
    hint: numbers have 64 bits
    "#);
    assert_snapshot!(jsonc(&"[".repeat(100_000)), @r"
    error: this is nested too deeply
     --> wrangler.jsonc:1:513
      |
    1 | …[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[…
      |                                          ^
    hint: a configuration is a few levels deep
    ");
}

#[test]
fn syntax_errors_in_toml() {
    let toml = |text: &str| says("wrangler.toml", text);
    assert_snapshot!(toml("name = app\n"), @r"
    error: text must be in quotes
     --> wrangler.toml:1:8
      |
    1 | name = app
      |        ^^^
    hint: put it in double quotes
    ");
    assert_snapshot!(toml("name = \"app\nmain = \"x\"\n"), @r#"
    error: a string is never closed here
     --> wrangler.toml:1:12
      |
    1 | name = "app
      |            ^
    hint: end it with `"` in the same line
    "#);
    assert_snapshot!(toml("[[containers]\nimage = \"x\"\n"), @r"
    error: unclosed array table, expected `]`
     --> wrangler.toml:1:14
      |
    1 | [[containers]
      |              ^
    hint: TOML is made of `name = value`, `[table]` and `[[element]]`
    ");
    assert_snapshot!(toml("name \"app\"\n"), @r#"
    error: key with no value, expected `=`
     --> wrangler.toml:1:6
      |
    1 | name "app"
      |      ^
    hint: TOML is made of `name = value`, `[table]` and `[[element]]`
    "#);
    assert_snapshot!(toml("[vars]\nA = inf\n"), @r"
    error: `inf` and `nan` mean nothing here
     --> wrangler.toml:2:5
      |
    2 | A = inf
      |     ^^^
    hint: write a number
    ");
    assert_snapshot!(toml("name = \"a\"\nname = \"b\"\n"), @r#"
    error: `name` is given twice
     --> wrangler.toml:2:1
      |
    2 | name = "b"
      | ^^^^
    hint: remove one of them
    "#);
    assert_snapshot!(toml(&format!("a = {}", "[".repeat(100_000))), @r"
    error: this is nested too deeply
     --> wrangler.toml:1:85
      |
    1 | …[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[…
      |                                          ^
    hint: a configuration is a few levels deep
    ");
}

#[test]
fn a_field_given_twice_in_jsonc() {
    assert_snapshot!(says("wrangler.jsonc", with_header_jsonc("  \"name\": \"other\"")), @r#"
    warning: `name` is given twice
     --> wrangler.jsonc:5:3
      |
    5 |   "name": "other"
      |   ^^^^^^
    hint: this one wins; remove the one in line 2
    "#);
}

#[test]
fn text_that_is_not_utf8() {
    assert_snapshot!(says("wrangler.jsonc", b"{\n  \"name\": \"\xff\"\n}"), @r#"
    error: the text is not UTF-8
     --> wrangler.jsonc:2:12
      |
    2 |   "name": "�"
      |            ^
    hint: save the file as UTF-8
    "#);
}

#[test]
fn escapes_and_wide_lines_do_not_reach_the_terminal() {
    let long = "x".repeat(300);
    let text = format!(
        "{{ \"name\": \"app\", \"main\": \"src/index.ts\", \"compatibility_date\": \"2026-01-10\", \"vars\": {{ \"{long}\": 1 }}, \"ev\u{1b}[31mil\": 1, \"more\": \"{long}\" }}"
    );
    let said = says("wrangler.jsonc", &text);
    assert!(!said.contains('\u{1b}'));
    assert_snapshot!(said, @r#"
    warning: unknown field `ev�[31mil` at the top level
     --> wrangler.jsonc:1:397
      |
    1 | …xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx": 1 }, "ev�[31mil": 1, "more": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
      |                                          ^^^^^^^^^^^
    hint: it is ignored; remove it

    warning: unknown field `more` at the top level
     --> wrangler.jsonc:1:413
      |
    1 | …xxxxxxxxxxxxxxxx": 1 }, "ev�[31mil": 1, "more": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
      |                                          ^^^^^^
    hint: it is ignored; remove it
    "#);
}

#[test]
fn tabs_stay_under_tabs() {
    assert_snapshot!(says("wrangler.jsonc", with_header_jsonc("\t\t\"colour\":\t1")), @r#"
    warning: unknown field `colour` at the top level
     --> wrangler.jsonc:5:3
      |
    5 | 		"colour":	1
      | 		^^^^^^^^
    hint: it is ignored; remove it
    "#);
}

#[test]
fn all_mistakes_are_found_at_once_and_in_order() {
    let dir = Dir::new();
    dir.write(
        "wrangler.jsonc",
        "{\n  \"nme\": \"x\",\n  \"name\": \"A\",\n  \"main\": \"nope.ts\",\n  \"compatibility_date\": \"soon\",\n  \"ai\": { \"binding\": \"AI\" }\n}",
    );
    let errors = berth_config::load(&dir.options()).unwrap_err();
    let lines: Vec<usize> = errors
        .errors
        .iter()
        .map(|error| error.location.as_ref().unwrap().line)
        .collect();
    assert_eq!(lines, [3, 4, 5, 6]);
    assert_eq!(errors.warnings.len(), 1);
    let shown = errors.to_string();
    assert!(
        shown.ends_with("`A` is no name for a Worker (and 3 more)"),
        "{shown}"
    );
    assert!(errors.render().contains('\u{1b}'));
}
