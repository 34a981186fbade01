//! The language: what is understood, and what the messages of mistakes are.

use std::collections::BTreeMap;

use super::expand::{expand, expand_text};
use super::*;
use crate::stages::Plan;

fn kinds(text: &str) -> Vec<Kind> {
    parse(text)
        .unwrap()
        .instructions
        .into_iter()
        .map(|instruction| instruction.kind)
        .collect()
}

fn variables() -> BTreeMap<String, String> {
    [
        ("a", "x"),
        ("empty", ""),
        ("path", "/usr/local/bin/node.js"),
        ("_n1", "7"),
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
        ("$", "$"),
        ("$-", "$-"),
        ("\\$a", "$a"),
        ("'$a'", "$a"),
        ("\"$a b\"", "x b"),
        ("\"\\$a\\\"\\b\"", "$a\"\\b"),
        ("a\\ b", "a b"),
        ("${no:-default}", "default"),
        ("${empty:-default}", "default"),
        ("${empty-default}", ""),
        ("${no-$a}", "x"),
        ("${no:-${a}${no:-y}}", "xy"),
        ("${a:+set}", "set"),
        ("${no:+set}", ""),
        ("${empty+set}", "set"),
        ("${no:-'quo ted'}", "quo ted"),
        ("${path##*/}", "node.js"),
        ("${path#*/}", "usr/local/bin/node.js"),
        ("${path%.*}", "/usr/local/bin/node"),
        ("${path%%/bin*}", "/usr/local"),
        ("${path/local/share}", "/usr/share/bin/node.js"),
        ("${path//\\//-}", "-usr-local-bin-node.js"),
        ("${a?missing}", "x"),
    ] {
        assert_eq!(
            expand(word, '\\', &variables()).unwrap(),
            expected,
            "{word}"
        );
    }
    for bad in [
        "${",
        "${a",
        "${}",
        "'a",
        "\"a",
        "${a:",
        "${a!b}",
        "${no:?is needed}",
        "${no?}",
    ] {
        assert!(expand(bad, '\\', &variables()).is_err(), "{bad}");
    }
    assert_eq!(
        expand_text("it's \"$a\" \\$a\\n", '\\', &variables()).unwrap(),
        "it's \"x\" $a\\n"
    );
    assert_eq!(expand("`$a", '`', &variables()).unwrap(), "$a");
}

#[test]
fn lines_are_joined_and_comments_left_out() {
    let parsed = parse(
        "# syntax=docker/dockerfile:1\n\
         # escape=\\\n\
         \n\
         # a comment\n\
         FROM a\n\
         \tRUN one \\\n\
         # inside\n\
         \n\
         \x20 two \\  \n\
         \x20 # also inside\n\
         \x20 three # not a comment\n\
         run four\\\n",
    )
    .unwrap();
    let texts: Vec<(usize, &str)> = parsed
        .instructions
        .iter()
        .map(|instruction| (instruction.line, instruction.text.as_str()))
        .collect();
    assert_eq!(
        texts,
        [
            (5, "FROM a"),
            (6, "RUN one   two   three # not a comment"),
            (12, "run four"),
        ]
    );
}

#[test]
fn the_escape_character_can_be_a_backtick() {
    let parsed = parse("# escape=`\nFROM a\nRUN dir C:\\ `\n more\n").unwrap();
    assert_eq!(parsed.escape, '`');
    assert_eq!(parsed.instructions[1].text, "RUN dir C:\\  more");
}

#[test]
fn a_directive_after_a_comment_is_a_comment() {
    assert_eq!(parse("# hello\n# escape=`\nFROM a\n").unwrap().escape, '\\');
}

#[test]
fn windows_line_ends_are_line_ends() {
    assert_eq!(kinds("FROM a\r\nRUN b \\\r\n c\r\n").len(), 2);
}

#[test]
fn instructions_are_understood() {
    let from = |image: &str, platform: Option<&str>, name: Option<&str>| {
        Kind::From(From {
            image: image.to_owned(),
            platform: platform.map(str::to_owned),
            name: name.map(str::to_owned),
        })
    };
    assert_eq!(
        kinds("FROM --platform=$BUILDPLATFORM a:1 as Build\nfrom b\n"),
        [
            from("a:1", Some("$BUILDPLATFORM"), Some("build")),
            from("b", None, None)
        ]
    );
    let pairs = |list: &[(&str, &str)]| {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    assert_eq!(
        kinds("ENV a=1 b=\"2 3\" c=x\\ y\nENV old form  of it\nLABEL \"a b\"=c\n"),
        [
            Kind::Env(pairs(&[("a", "1"), ("b", "\"2 3\""), ("c", "x\\ y")])),
            Kind::Env(pairs(&[("old", "form  of it")])),
            Kind::Label(pairs(&[("\"a b\"", "c")])),
        ]
    );
    assert_eq!(
        kinds("ARG A\nARG B=1 C=\"2 3\"\n"),
        [
            Kind::Arg(vec![("A".to_owned(), None)]),
            Kind::Arg(vec![
                ("B".to_owned(), Some("1".to_owned())),
                ("C".to_owned(), Some("\"2 3\"".to_owned())),
            ]),
        ]
    );
    assert_eq!(
        kinds("CMD [\"a\", \"b\"]\nCMD [a, b]\n"),
        [
            Kind::Cmd(Command::Exec(vec!["a".to_owned(), "b".to_owned()])),
            Kind::Cmd(Command::Shell("[a, b]".to_owned())),
        ]
    );
}

#[test]
fn copy_has_flags_lists_and_heredocs() {
    let copy = |text: &str| match kinds(text).remove(0) {
        Kind::Copy(copy) => copy,
        other => panic!("{other:?}"),
    };
    let parsed = copy("COPY --from=x --chown=a:b --chmod=755 --link [\"a b\", \"c\", \"/d/\"]\n");
    assert_eq!(parsed.from.as_deref(), Some("x"));
    assert_eq!(parsed.chown.as_deref(), Some("a:b"));
    assert_eq!(parsed.sources, ["a b", "c"]);
    assert_eq!(parsed.destination, "/d/");
    let parsed = copy("COPY <<-EOF file /x/\n\ttext\n\tEOF\nRUN a\n");
    assert_eq!(parsed.sources, ["file"]);
    assert_eq!(parsed.heredocs[0].content, "text\n");
}

#[test]
fn only_real_heredocs_are_heredocs() {
    for (line, count) in [
        ("RUN cat <<EOF", 1),
        ("RUN 3<<EOF cat", 1),
        ("RUN cat <<A <<B", 2),
        ("RUN echo $((1<<2))", 0),
        ("RUN echo $(( 1 << 2 ))", 0),
        ("RUN echo \"<<EOF\"", 0),
        ("RUN echo '<<EOF'", 0),
        ("RUN cat <<<word", 0),
        ("RUN echo \\<<EOF", 0),
    ] {
        assert_eq!(heredoc::find(line).len(), count, "{line}");
    }
}

#[test]
fn mistakes_have_a_line_a_text_and_advice() {
    let cases = [
        "FROM a\nRUM b\n",
        "FROM a\nWORKDR /x\n",
        "FROM a\nnpm install\n",
        "FROM a\nCOPY --form=b /x /y\n",
        "FROM a\nCOPY x\n",
        "FROM a\nRUN --mount=type=cash,target=/x y\n",
        "FROM a\nRUN --mount=type=secret,id=x y\n",
        "FROM a\nRUN --mount=type=cache y\n",
        "FROM a\nRUN --mount=type=tmpfs,target=/a,colour=red y\n",
        "FROM a\nENV x\n",
        "FROM a\nENV a=b c\n",
        "FROM a\nLABEL a=\"b\n",
        "FROM a\nSHELL bash\n",
        "FROM a\nHEALTHCHECK --interval=5 CMD x\n",
        "FROM a\nCOPY <<EOF /x\ntext\n",
        "FROM a\nONBUILD FROM b\n",
        "FROM a b c\n",
        "FROM a AS 1x\n",
        "FROM\n",
        "RUN a\n",
        "",
        "FROM $MISSING\n",
        "FROM --platform=linux/s390x a\n",
        "FROM a AS x\nCOPY --from=$y /a /b\n",
        "FROM a\nCOPY --from=later /a /b\nFROM b AS later\n",
        "FROM a\nCOPY --from=3 /a /b\n",
    ];
    let mut all = String::new();
    for case in cases {
        let result = parse(case)
            .and_then(|parsed| Plan::new(parsed, &BTreeMap::new()))
            .and_then(|plan| plan.needed(0));
        let problem = result.expect_err(case);
        let error = problem.in_file(std::path::Path::new("Dockerfile"));
        all += &berth_error::Report::from(error).render_plain();
    }
    insta::assert_snapshot!(all);
}
