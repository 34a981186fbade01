#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test helper may panic"
)]

use std::path::PathBuf;

use super::{Format, parse};
use crate::source::Source;

fn source(name: &str, text: &str) -> Source {
    Source::new(PathBuf::from("/project").join(name), text.to_owned())
}

fn json(name: &str, text: &str) -> serde_json::Value {
    let source = source(name, text);
    let format = Format::of(&source).unwrap();
    parse(&source, format)
        .map_err(|error| error.render_plain())
        .unwrap()
        .root
        .to_json()
}

#[test]
fn both_formats_become_the_same_tree() {
    let from_json = json(
        "wrangler.jsonc",
        "\u{feff}{ // a comment\n \"a\": { \"b\": [1, 2.5, true, null, \"x\\n\"], }, /* done */ }",
    );
    let from_toml = json("wrangler.toml", "[a]\nb = [1, 2.5, true, \"x\\n\"]");
    assert_eq!(from_json["a"]["b"][4], from_toml["a"]["b"][3]);
    insta::assert_snapshot!(from_json, @r#"{"a":{"b":[1,2.5,true,null,"x\n"]}}"#);
}
