//! The language: what is understood, and what the messages of mistakes are.

use std::collections::BTreeMap;

use super::expand::Lexer;
use super::*;
use crate::stages::Plan;

mod expansion;
mod heredocs;
mod warnings;

fn kinds(text: &str) -> Vec<Kind> {
    parse(text)
        .unwrap()
        .instructions
        .into_iter()
        .map(|instruction| instruction.kind)
        .collect()
}

fn texts(text: &str) -> Vec<(usize, String)> {
    let parsed = parse(text).unwrap();
    let instructions = parsed.instructions.into_iter();
    instructions
        .map(|instruction| (instruction.line, instruction.text))
        .collect()
}

#[test]
fn lines_are_joined_and_comments_left_out() {
    let found = texts(
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
    );
    let expected = [
        (5, "FROM a"),
        (6, "RUN one   two   three # not a comment"),
        (12, "run four"),
    ];
    let expected = expected.map(|(line, text)| (line, text.to_owned()));
    assert_eq!(found, expected);
}

#[test]
fn continuations_are_those_of_docker() {
    for (text, expected) in [
        // Two escape characters are an escaped one.
        ("RUN a \\\\\nRUN b", &["RUN a \\\\", "RUN b"][..]),
        ("RUN a \\\n\\\nb", &["RUN a b"]),
        ("\\\nRUN a", &["RUN a"]),
        ("RUN a\\\n", &["RUN a"]),
        ("RUN a \\", &["RUN a"]),
        ("RUN a \\\r\n b\r\n", &["RUN a  b"]),
        ("\u{feff}RUN a\n", &["RUN a"]),
    ] {
        let text = format!("FROM x\n{text}");
        let found = texts(
            text.replacen("FROM x\n\u{feff}", "\u{feff}FROM x\n", 1)
                .as_str(),
        );
        let found: Vec<&str> = found[1..].iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(found, expected, "{text:?}");
    }
}

#[test]
fn directives_stand_before_everything_else() {
    let escape = |text: &str| parse(text).map(|parsed| parsed.escape);
    assert_eq!(escape("# escape=`\nFROM a\n").unwrap(), '`');
    assert_eq!(escape("#ESCAPE = `\nFROM a\n").unwrap(), '`');
    assert_eq!(
        escape("# syntax=docker/dockerfile:1\n# check=skip=all\n# escape=`\nFROM a\n").unwrap(),
        '`'
    );
    // After a comment, an empty line or an instruction they are comments.
    assert_eq!(escape("# hello\n# escape=`\nFROM a\n").unwrap(), '\\');
    assert_eq!(escape("\n# escape=`\nFROM a\n").unwrap(), '\\');
    assert_eq!(escape("# unknown=1\n# escape=`\nFROM a\n").unwrap(), '\\');
    assert_eq!(escape("FROM a\n# escape=`\n").unwrap(), '\\');
    let parsed = parse("# escape=`\nFROM a\nRUN dir C:\\ `\n more\n").unwrap();
    assert_eq!(parsed.instructions[1].text, "RUN dir C:\\  more");
    for good in [
        "docker/dockerfile:1",
        "docker/dockerfile:1.7-labs",
        "docker.io/docker/dockerfile@sha256:0",
        "docker/dockerfile-upstream:master",
        "mirror.example.com:5000/docker/dockerfile:1.9-labs",
    ] {
        assert!(
            escape(&format!("# syntax={good}\nFROM a\n")).is_ok(),
            "{good}"
        );
    }
    for bad in [
        "# escape=x\nFROM a\n",
        "# escape=`\n# escape=`\nFROM a\n",
        "# syntax=example.com/other:1\nFROM a\n",
        "# check=skip\nFROM a\n",
    ] {
        assert!(escape(bad).is_err(), "{bad}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_outside_comments() {
    assert!(parse("# \u{fffd}\nFROM a\n").is_ok());
    assert!(parse("FROM a\nRUN \u{fffd}\n").is_err());
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
    let list = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    for (text, expected) in [
        (
            "CMD [\"a\", \"b\"]",
            Kind::Cmd(Command::Exec(list(&["a", "b"]))),
        ),
        ("CMD [a, b]", Kind::Cmd(Command::Shell("[a, b]".to_owned()))),
        ("CMD ['a']", Kind::Cmd(Command::Shell("['a']".to_owned()))),
        ("CMD []", Kind::Cmd(Command::Exec(Vec::new()))),
        (
            "CMD a  \"b c\"",
            Kind::Cmd(Command::Shell("a  \"b c\"".to_owned())),
        ),
        (
            "EXPOSE 80\t443/tcp  1-2",
            Kind::Expose(list(&["1-2", "443/tcp", "80"])),
        ),
        ("VOLUME /a  /b", Kind::Volume(list(&["/a", "/b"]))),
        ("VOLUME [\"/a b\"]", Kind::Volume(list(&["/a b"]))),
        ("WORKDIR /a b", Kind::Workdir("/a b".to_owned())),
        ("USER  x:y ", Kind::User("x:y".to_owned())),
        ("MAINTAINER A B <c>", Kind::Maintainer("A B <c>".to_owned())),
        ("SHELL [\"a\"]", Kind::Shell(list(&["a"]))),
        ("ONBUILD  run  x", Kind::OnBuild("run  x".to_owned())),
    ] {
        assert_eq!(kinds(text), [expected], "{text}");
    }
}

#[test]
fn pairs_have_quotes_and_an_old_form() {
    for (text, expected) in [
        (
            "a=1 b=\"2 3\" c=x\\ y",
            &[("a", "1"), ("b", "\"2 3\""), ("c", "x\\ y")][..],
        ),
        ("old form  of it", &[("old", "form  of it")]),
        ("old\tform", &[("old", "form")]),
        ("a b=c", &[("a", "b=c")]),
        ("a='x y' b=\\'", &[("a", "'x y'"), ("b", "\\'")]),
        ("a=", &[("a", "")]),
        ("\"a b\"=c", &[("\"a b\"", "c")]),
        ("a=b=c", &[("a", "b=c")]),
        ("a=\"open quote", &[("a", "\"open quote")]),
    ] {
        let expected: Vec<(String, String)> = expected
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(
            kinds(&format!("ENV {text}")),
            [Kind::Env(expected.clone())],
            "{text}"
        );
        assert_eq!(
            kinds(&format!("LABEL {text}")),
            [Kind::Label(expected)],
            "{text}"
        );
    }
    let args = kinds("ARG A B=1 C=\"2 3\" D.e-f=\n");
    let pair = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    assert_eq!(
        args,
        [Kind::Arg(vec![
            pair("A", None),
            pair("B", Some("1")),
            pair("C", Some("\"2 3\"")),
            pair("D.e-f", Some("")),
        ])]
    );
}

#[test]
fn flags_stand_before_the_arguments() {
    let copy = |text: &str| match kinds(text).remove(0) {
        Kind::Copy(copy) | Kind::Add(copy) => copy,
        other => panic!("{other:?}"),
    };
    let parsed = copy(
        "COPY --from=x --chown=a:b --chmod=u=rwX --link --parents --exclude=a --exclude=\"b c\" [\"a b\", \"c\", \"/d/\"]",
    );
    assert_eq!(parsed.from.as_deref(), Some("x"));
    assert_eq!(parsed.chown.as_deref(), Some("a:b"));
    assert_eq!(parsed.chmod.as_deref(), Some("u=rwX"));
    assert!(parsed.parents);
    assert_eq!(parsed.exclude, ["a", "b c"]);
    assert_eq!(parsed.sources, ["a b", "c"]);
    assert_eq!(parsed.destination, "/d/");
    let parsed = copy("COPY --link=FALSE -- --x /y");
    assert_eq!(parsed.sources, ["--x"]);
    // Quotes mean nothing in the plain form.
    assert_eq!(copy("COPY \"a b\" /c").sources, ["\"a", "b\""]);
    let parsed = copy("ADD --unpack=false --keep-git-dir --checksum=sha256:0 a b");
    assert_eq!(
        (parsed.unpack, parsed.keep_git_dir),
        (Some(false), Some(true))
    );
    assert_eq!(parsed.checksum.as_deref(), Some("sha256:0"));
}

#[test]
fn mistakes_have_a_line_a_text_and_advice() {
    let cases = [
        "FROM a\nRUM b\n",
        "FROM a\nWORKDR /x\n",
        "FROM a\nnpm install\n",
        "FROM a\nCOPY --form=b /x /y\n",
        "FROM a\nCOPY --chown=a --chown=b /x /y\n",
        "FROM a\nCOPY --link=maybe /x /y\n",
        "FROM a\nCOPY --from /x /y\n",
        "FROM a\nCOPY x\n",
        "FROM a\nCOPY x <<EOF\nEOF\n",
        "FROM a\nCOPY <<a/b /x\na/b\n",
        "FROM a\nRUN --mount=type=cache,targt=/x y\n",
        "FROM a\nRUN --mount=type=bind,from=$x,target=/x y\n",
        "FROM a\nRUN --network=host x\n",
        "FROM a\nRUN --network=hots x\n",
        "FROM a\nRUN --security=insecure x\n",
        "FROM a\nRUN --device=gpu x\n",
        "FROM a\nRUN [\"a\", 1]\n",
        "FROM a\nENV x\n",
        "FROM a\nENV a=b c\n",
        "FROM a\nENV =b\n",
        "FROM a\nENTRYPOINT\n",
        "FROM a\nSHELL bash\n",
        "FROM a\nVOLUME [\"\"]\n",
        "FROM a\nHEALTHCHECK --interval=5 CMD x\n",
        "FROM a\nHEALTHCHECK --interval=1us CMD x\n",
        "FROM a\nHEALTHCHECK --interval=5s NONE\n",
        "FROM a\nHEALTHCHECK x\n",
        "FROM a\nCOPY <<EOF /x\ntext\n",
        "FROM a\nONBUILD FROM b\n",
        "FROM a\nONBUILD RUM b\n",
        "FROM a\nUSER --x y\n",
        "FROM a b c\n",
        "FROM a AS 1x\n",
        "FROM\n",
        "RUN a\n",
        "",
        "# only a comment\n",
        "# escape=x\nFROM a\n",
        "# syntax=docker/dokerfile:1\nFROM a\n",
        "FROM $MISSING\n",
        "FROM ${MISSING:?is needed}\n",
        "FROM --platform=linux/s390x a\n",
        "FROM --platform=a/b/c/d a\n",
        "FROM a AS x\nCOPY --from=$y /a /b\n",
        "FROM a AS x\nCOPY --from=x /a /b\n",
        "FROM a\nCOPY --from=later /a /b\nFROM b AS later\n",
        "FROM a\nRUN --mount=from=later,target=/x y\nFROM b AS later\n",
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
