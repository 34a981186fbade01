#![allow(clippy::unwrap_used, reason = "a test helper may panic")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;

use super::{expand, parse};
use crate::Diagnostic;
use crate::source::Source;

fn read(text: &str) -> (Vec<(String, String)>, String) {
    let source = Source::new(PathBuf::from("/project/.dev.vars"), text.to_owned());
    let (variables, findings) = parse(&source);
    let findings: Vec<_> = findings.iter().map(Diagnostic::render_plain).collect();
    (
        variables
            .into_iter()
            .map(|variable| (variable.name, variable.value))
            .collect(),
        findings.join("\n"),
    )
}

fn values(text: &str) -> String {
    let (variables, findings) = read(text);
    assert_eq!(findings, "");
    variables
        .into_iter()
        .map(|(name, value)| format!("{name}={value:?}\n"))
        .collect()
}

#[test]
fn every_form_of_assignment_is_read() {
    let text = "\u{feff}# a comment\n\
        PLAIN=value\n\
        \x20 export SPACED = some words   # and a comment\n\
        COLON: works\n\
        EMPTY=\n\
        DOTTED.na-me=1\n\
        HASH=a#b\n\
        SINGLE='a # \\n $x'\n\
        CRLF=\"a\r\nb\"\r\n\
        DOUBLE=\"a # \\n b\" # comment\n\
        BACK=`it's \"fine\"`\n\
        JSON=\"{\"a\": 1}\"\n\
        KEY=\"-----BEGIN\n\
        line 2\n\
        -----END\"\r\n\
        ESCAPED=\"say \\\"hi\\\"\"\n\
        LAST=no newline";
    insta::assert_snapshot!(values(text), @r#"
    PLAIN="value"
    SPACED="some words"
    COLON="works"
    EMPTY=""
    DOTTED.na-me="1"
    HASH="a"
    SINGLE="a # \\n $x"
    CRLF="a\nb"
    DOUBLE="a # \n b"
    BACK="it's \"fine\""
    JSON="{\"a\": 1}"
    KEY="-----BEGIN\nline 2\n-----END"
    ESCAPED="say \\\"hi\\\""
    LAST="no newline"
    "#);
}

#[test]
fn a_quote_that_is_never_closed_is_an_error() {
    insta::assert_snapshot!(read("A=1\nB=\"two\nC=\"three\"\n").1, @r#"
    error: this quote is never closed
     --> /project/.dev.vars:2:3
      |
    2 | B="…
      |   ^
    hint: end the value with "
    "#);
}

#[test]
fn a_line_that_is_no_assignment_is_named() {
    let (variables, findings) = read("A=1\njust words\nB=2\n");
    assert_eq!(variables.len(), 2);
    insta::assert_snapshot!(findings, @r"
    warning: this line is not an assignment
     --> /project/.dev.vars:2:1
      |
    2 | …
      | ^
    hint: write `NAME=value`, or begin the line with `#`; it is ignored
    ");
}

#[test]
fn references_are_expanded_as_dotenv_expand_does() {
    let known = BTreeMap::from([
        ("HOST".to_owned(), "db".to_owned()),
        ("EMPTY".to_owned(), String::new()),
    ]);
    for (text, expected) in [
        ("http://$HOST:80", "http://db:80"),
        ("${HOST}s", "dbs"),
        ("${NOPE}x", "x"),
        ("${NOPE:-local}", "local"),
        ("${EMPTY:-local}", "local"),
        ("${NOPE-${HOST}}", "db"),
        ("${HOST:+yes}${NOPE:+no}", "yes"),
        ("\\$HOST \\n", "$HOST \\n"),
        ("$2b$10$abc", "$2b$10"),
        ("$", "$"),
        ("${HOST", "${HOST"),
        ("${}", "${}"),
    ] {
        assert_eq!(expand(text, &known), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(text in "(?s).{0,200}") {
        let source = Source::new(PathBuf::from("/project/.env"), text.clone());
        let (variables, findings) = parse(&source);
        for finding in findings {
            finding.render_plain();
        }
        let known = variables.into_iter().map(|it| (it.name, it.value)).collect();
        expand(&text, &known);
    }

    #[test]
    fn quoted_values_come_back(value in "[^\"\\\\\r]{0,40}") {
        let (variables, findings) = read(&format!("A=\"{value}\"\nB=2"));
        prop_assert_eq!(findings, "");
        prop_assert_eq!(variables, vec![
            ("A".to_owned(), value),
            ("B".to_owned(), "2".to_owned()),
        ]);
    }
}
