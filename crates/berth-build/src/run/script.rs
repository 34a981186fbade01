//! The command of a `RUN`: its argument list and, for some here-documents, a script.

use berth_jail::ExtraFile;

use crate::dockerfile::{Command, Run, heredoc};

/// Where scripts are during the step, as in BuildKit.
const SCRIPTS: &str = "/dev/pipes";

/// The arguments and the script, if the command needs one.
///
/// `RUN <<EOF` runs the document: with the shell, or as a program if it begins with `#!`. In any other
/// command the documents are for the shell.
pub(crate) fn argv(run: &Run, shell: &[String]) -> (Vec<String>, Option<ExtraFile>) {
    let line = match &run.command {
        Command::Exec(argv) => return (argv.clone(), None),
        Command::Shell(line) => line,
    };
    let with_shell = |text: String| shell.iter().cloned().chain([text]).collect();
    let Some(first) = run.heredocs.first() else {
        return (with_shell(line.clone()), None);
    };
    if matches!(heredoc::parse(line), Ok(Some(_))) {
        let text = first.text();
        if !text.starts_with("#!") {
            return (with_shell(text), None);
        }
        let path = format!("{SCRIPTS}/{}", first.name.replace('/', "_"));
        let script = ExtraFile {
            path: path.clone(),
            content: text.into_bytes(),
            uid: 0,
            gid: 0,
            mode: 0o755,
        };
        return (with_shell(path), Some(script));
    }
    // The shell finds the documents' ends, and takes the tabs of `<<-` away, itself.
    let mut text = line.clone();
    for heredoc in &run.heredocs {
        text = format!("{text}\n{}{}", heredoc.content, heredoc.name);
    }
    (with_shell(text), None)
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
        let (argv, script) = argv(run, &["/bin/sh".to_owned(), "-c".to_owned()]);
        let script = script.map(|script| String::from_utf8(script.content).unwrap());
        (argv, script)
    }

    #[test]
    fn documents_become_scripts() {
        let shell = |text: &str| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()];
        assert_eq!(argv_of("RUN <<EOF\na\nb\nEOF\n"), (shell("a\nb\n"), None));
        assert_eq!(
            argv_of("RUN <<-EOF\n\ta\n\tb\n\tEOF\n"),
            (shell("a\nb\n"), None)
        );
        assert_eq!(
            argv_of("RUN cat <<-'E' > /x\n\ta\n\tE\n"),
            (shell("cat <<-'E' > /x\n\ta\nE"), None)
        );
        assert_eq!(
            argv_of("RUN cat <<A <<B\n1\nA\n2\nB\n"),
            (shell("cat <<A <<B\n1\nA\n2\nB"), None)
        );
        let (argv, script) = argv_of("RUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF\n");
        assert_eq!(argv, shell("/dev/pipes/EOF"));
        assert_eq!(
            script.as_deref(),
            Some("#!/usr/bin/env python3\nprint(1)\n")
        );
        assert_eq!(argv_of("RUN [\"a\", \"b c\"]").0, ["a", "b c"]);
    }
}
