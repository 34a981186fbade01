//! Here-documents.

use super::*;

#[test]
fn only_real_heredocs_are_heredocs() {
    for (line, names) in [
        ("RUN cat <<EOF", &["EOF"][..]),
        ("RUN cat <<-EOF", &["EOF"]),
        ("RUN cat << EOF", &["EOF"]),
        ("RUN 3<<EOF cat", &["EOF"]),
        ("RUN cat <<A <<B", &["A", "B"]),
        ("RUN cat <<\"A B\"", &["A B"]),
        ("RUN cat <<E'O'F", &["EOF"]),
        ("RUN cat <<$EOF", &["$EOF"]),
        ("RUN (cat <<EOF)", &["EOF)"]),
        ("RUN cat<<EOF", &[]),
        ("RUN echo $((1<<2))", &[]),
        ("RUN echo \"<<EOF\"", &[]),
        ("RUN echo '<<EOF'", &[]),
        ("RUN cat <<<word", &[]),
        ("RUN echo \\<<EOF", &[]),
        ("RUN echo 'open <<EOF", &[]),
    ] {
        let found = heredoc::find(line).unwrap();
        let found: Vec<&str> = found
            .iter()
            .map(|document| document.name.as_str())
            .collect();
        assert_eq!(found, names, "{line}");
    }
}

#[test]
fn quotes_and_dashes_change_their_content() {
    for (word, expand, strip_tabs) in [
        ("<<EOF", true, false),
        ("<<-EOF", true, true),
        ("<<'EOF'", false, false),
        ("<<-\"EOF\"", false, true),
        ("<<E\"O\"F", false, false),
    ] {
        let found = heredoc::parse(word).unwrap().unwrap();
        assert_eq!(
            (found.expand, found.strip_tabs),
            (expand, strip_tabs),
            "{word}"
        );
        assert_eq!(found.name, "EOF");
    }
}

#[test]
fn documents_follow_their_instruction() {
    let copy = |text: &str| match kinds(text).remove(0) {
        Kind::Copy(copy) => copy,
        other => panic!("{other:?}"),
    };
    let parsed = copy(
        "COPY <<-EOF file <<two /x/\n\ttext\r\n\tEOF\n\\ no continuation \\\n# no comment\ntwo\nRUN a\n",
    );
    assert_eq!(parsed.sources, ["file"]);
    assert_eq!(parsed.heredocs[0].content, "\ttext\r\n");
    assert_eq!(parsed.heredocs[0].text(), "text\r\n");
    assert_eq!(
        parsed.heredocs[1].content,
        "\\ no continuation \\\n# no comment\n"
    );
    // The list form has none.
    let parsed = copy("COPY [\"<<EOF\", \"/x\"]\nRUN a\n");
    assert_eq!(parsed.sources, ["<<EOF"]);
    assert_eq!(kinds("RUN cat <<EOF \\\n > x\ntext\nEOF\nRUN b\n").len(), 2);
    assert_eq!(
        kinds("ONBUILD RUN cat <<EOF\ntext\nEOF\nRUN b\n")[0],
        Kind::OnBuild("RUN cat <<EOF\ntext\nEOF".to_owned())
    );
    let trigger = parse_trigger("RUN cat <<EOF\ntext\nEOF", 7).unwrap();
    assert!(trigger.is_trigger && trigger.line == 7);
    let Kind::Run(run) = trigger.kind else {
        panic!("no RUN");
    };
    assert_eq!(run.heredocs[0].content, "text\n");
    assert!(parse_trigger("RUN a\nRUN b", 1).is_err());
    assert!(parse_trigger("FROM a", 1).is_err());
}
