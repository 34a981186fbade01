//! Variables, quotes and words.

use super::*;

fn variables() -> BTreeMap<String, String> {
    [
        ("a", "x"),
        ("empty", ""),
        ("path", "/usr/local/bin/node.js"),
        ("words", "one two"),
        ("_n1", "7"),
        ("star", "a*b*c"),
        ("späße", "ja"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

#[test]
fn words_are_expanded_as_by_a_shell() {
    for (word, expected) in [
        ("plain", "plain"),
        ("$a", "x"),
        ("${a}b", "xb"),
        ("$ab", ""),
        ("$_n1", "7"),
        ("$späße", "ja"),
        ("$", "$"),
        ("$.", "$."),
        ("$a.b", "x.b"),
        ("he$1x", "hex"),
        ("$-", ""),
        ("\\$a", "$a"),
        ("\\${a}", "${a}"),
        ("'$a'", "$a"),
        ("'\\$a'", "\\$a"),
        ("\"$a b\"", "x b"),
        ("\"\\$a\\\"\\b\"", "$a\"\\b"),
        ("\"it's\"", "it's"),
        ("a\\ b", "a b"),
        ("a\\", "a"),
        ("\\t", "t"),
        ("\"\\t\"", "\\t"),
        ("${a}}", "x}"),
        ("${no:-default}", "default"),
        ("${empty:-default}", "default"),
        ("${empty-default}", ""),
        ("${no-$a}", "x"),
        ("${no:-${a}${no:-y}}", "xy"),
        ("${no:-a b}", "a b"),
        ("${no:-\\}}", "}"),
        ("${a:+set}", "set"),
        ("${no:+set}", ""),
        ("${empty+set}", "set"),
        ("${empty:+set}", ""),
        ("${no:-'quo ted'}", "quo ted"),
        ("${path##*/}", "node.js"),
        ("${path#*/}", "usr/local/bin/node.js"),
        ("${path%.*}", "/usr/local/bin/node"),
        ("${path%%/bin*}", "/usr/local"),
        ("${path%%.*}", "/usr/local/bin/node"),
        ("${path#????}", "/local/bin/node.js"),
        ("${path/local/share}", "/usr/share/bin/node.js"),
        ("${path/l*l/X}", "/usr/X/bin/node.js"),
        ("${path//\\//-}", "-usr-local-bin-node.js"),
        ("${path//$a/y}", "/usr/local/bin/node.js"),
        ("${star#a\\*}", "b*c"),
        ("${star%\\*c}", "a*b"),
        ("${star/\\*/$a}", "axb*c"),
        ("${no#*}", ""),
        ("${a?missing}", "x"),
        ("${a:?}", "x"),
        ("${empty?}", ""),
    ] {
        let found = Lexer::new('\\').process(word, &variables()).unwrap();
        assert_eq!(found.text, expected, "{word}");
    }
    let windows = Lexer::new('`').process("`$a \\$a", &variables()).unwrap();
    assert_eq!(windows.text, "$a \\x");
}

#[test]
fn what_is_no_expansion_is_refused() {
    for bad in [
        "${",
        "${a",
        "${}",
        "${:-a}",
        "${{a}",
        "'a",
        "\"a",
        "\"a\\\"",
        "${a:",
        "${a!b}",
        "${a:=b}",
        "${a:#b}",
        "${a.}",
        "${no:?is needed}",
        "${no?}",
        "${empty:?}",
        "${a:-b",
        "${a/b}",
        "${a/b/c",
        "${a#\\x}",
        "${a#b\\\\\\",
    ] {
        assert!(
            Lexer::new('\\').process(bad, &variables()).is_err(),
            "{bad}"
        );
    }
    let deep = "${no:-".repeat(100_000);
    assert!(Lexer::new('\\').process(&deep, &variables()).is_err());
}

#[test]
fn words_are_split_outside_quotes() {
    for (text, expected) in [
        ("a  b\tc", &["a", "b", "c"][..]),
        ("$words", &["one", "two"]),
        ("\"$words\"", &["one two"]),
        ("a$words", &["aone", "two"]),
        ("$empty", &[]),
        ("''", &[]),
        ("a\\ b", &["a b"]),
        ("x${no:-y}z", &["xyz"]),
        ("<< EOF x", &["<< EOF", "x"]),
    ] {
        let found = Lexer::new('\\').process(text, &variables()).unwrap();
        assert_eq!(found.words, expected, "{text}");
    }
}

#[test]
fn documents_keep_their_quotes() {
    let text = "it's \"$a\" '$a' \\$a \\\\ ${no:-\"d\"}\\n";
    let found = Lexer::document().process(text, &variables()).unwrap();
    assert_eq!(found.text, "it's \"x\" 'x' $a \\ \"d\"n");
}

#[test]
fn used_variables_are_known() {
    let found = Lexer::new('\\').process("$a ${no:-$other} '$quoted'", &variables());
    let found = found.unwrap();
    assert_eq!(found.matched.into_iter().collect::<Vec<_>>(), ["a"]);
    assert_eq!(
        found.unmatched.into_iter().collect::<Vec<_>>(),
        ["no", "other"]
    );
}
