//! The command of a `RUN`: its argument list and, for some here-documents, a script.

use super::SCRIPT_PATH;
use crate::dockerfile::{Command, Heredoc, Run};

/// The arguments and the content of [`SCRIPT_PATH`], if the command needs it.
///
/// `RUN <<EOF` runs the document: with the shell, or with the program its `#!` line names. In any
/// other command the document is for the shell.
pub(crate) fn argv(run: &Run, shell: &[String]) -> (Vec<String>, Option<String>) {
    let line = match &run.command {
        Command::Exec(argv) => return (argv.clone(), None),
        Command::Shell(line) => line,
    };
    if let [heredoc] = run.heredocs.as_slice()
        && is_only_opening(line)
    {
        if let Some(interpreter) = interpreter(&heredoc.content) {
            let argv = interpreter
                .into_iter()
                .chain([SCRIPT_PATH.to_owned()])
                .collect();
            return (argv, Some(heredoc.content.clone()));
        }
        return (with_shell(shell, heredoc.content.clone()), None);
    }
    let mut text = line.clone();
    for heredoc in &run.heredocs {
        append(&mut text, heredoc);
    }
    (with_shell(shell, text), None)
}

fn with_shell(shell: &[String], text: String) -> Vec<String> {
    shell.iter().cloned().chain([text]).collect()
}

fn is_only_opening(line: &str) -> bool {
    line.starts_with("<<") && !line.contains([' ', '\t', ';', '|', '&', '>'])
}

/// The document as the shell reads it. Leading tabs of `<<-` are gone already, and the shell finds
/// the end by the name alone either way.
fn append(text: &mut String, heredoc: &Heredoc) {
    text.push('\n');
    text.push_str(&heredoc.content);
    text.push_str(&heredoc.name);
}

/// Program and optional argument of a `#!` line.
fn interpreter(content: &str) -> Option<Vec<String>> {
    let line = content.lines().next()?.strip_prefix("#!")?.trim();
    let (program, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let argument = Some(argument.trim()).filter(|argument| !argument.is_empty());
    (!program.is_empty()).then(|| {
        std::iter::once(program)
            .chain(argument)
            .map(str::to_owned)
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::{Kind, parse};

    fn argv_of(dockerfile: &str) -> (Vec<String>, Option<String>) {
        let parsed = parse(dockerfile).unwrap();
        let Kind::Run(run) = &parsed.instructions[0].kind else {
            panic!("no RUN");
        };
        argv(run, &["/bin/sh".to_owned(), "-c".to_owned()])
    }

    #[test]
    fn documents_become_scripts() {
        let shell = |text: &str| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()];
        assert_eq!(argv_of("RUN <<EOF\na\nb\nEOF\n"), (shell("a\nb\n"), None));
        assert_eq!(
            argv_of("RUN cat <<-'E' > /x\n\ta\n\tE\n"),
            (shell("cat <<-'E' > /x\na\nE"), None)
        );
        let (argv, script) = argv_of("RUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF\n");
        assert_eq!(argv, ["/usr/bin/env", "python3", SCRIPT_PATH]);
        assert_eq!(
            script.as_deref(),
            Some("#!/usr/bin/env python3\nprint(1)\n")
        );
        assert_eq!(argv_of("RUN [\"a\", \"b c\"]").0, ["a", "b c"]);
    }
}
