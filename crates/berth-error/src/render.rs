//! The one place that prints errors: `error:`, `Caused by:`, `hint:`.

use std::fmt::Write as _;

use owo_colors::OwoColorize as _;

use crate::{Report, harmless};

impl Report {
    /// The report as it is shown on a terminal, coloured; strip the escapes for other outputs. Of what
    /// messages hold from elsewhere nothing is obeyed by a terminal but colours.
    pub fn render(&self) -> String {
        if self.verbatim {
            return harmless(&self.chain.concat());
        }
        let mut text = String::new();
        let mut messages = self.chain.iter().map(|message| harmless(message));
        if let Some(first) = messages.next() {
            let _ = writeln!(text, "{}{} {first}", "error".red().bold(), ":".bold());
        }
        let causes: Vec<_> = messages.collect();
        for cause in &causes {
            let _ = writeln!(
                text,
                "  {} {}",
                "caused by:".bold(),
                cause.replace('\n', "\n    ")
            );
        }
        for hint in self.hints.iter().map(|hint| harmless(hint)) {
            let _ = writeln!(text, "{}{} {hint}", "hint".cyan().bold(), ":".bold());
        }
        text
    }

    /// The report without colour, for logs, files and JSON.
    pub fn render_plain(&self) -> String {
        anstream::adapter::strip_str(&self.render()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Hint, Report};

    #[derive(Debug, thiserror::Error)]
    #[error("could not read `{path}`")]
    struct Read {
        path: &'static str,
        source: std::io::Error,
    }

    impl Hint for Read {
        fn hint(&self) -> Option<String> {
            Some("check the path".to_owned())
        }
    }

    #[test]
    fn messages_from_elsewhere_command_no_terminal() {
        let report = Report::new("a\x1b[2Jb", Some("c\x1b]0;title\x07d".to_owned()));
        let report = report.because("e\x1b[31mf\x1b[9Ag");
        let text = report.render();
        for sequence in ["\x1b[2J", "\x1b]", "\x1b[9A"] {
            assert!(!text.contains(sequence), "{text:?}");
        }
        assert!(text.contains("e\x1b[31mfg\x1b[0m"), "{text:?}");
        let text = Report::verbatim("x\x1b[1mbold\x1b[0m\x1b[H").render();
        assert_eq!(text, "x\x1b[1mbold\x1b[0m");
    }

    #[test]
    fn the_chain_and_the_hint_are_printed_once_each() {
        let error = Read {
            path: "a.txt",
            source: std::io::Error::other("gone"),
        };
        let report = Report::from(error)
            .context("could not start")
            .with_hint("check the path");
        insta::assert_snapshot!(report.render_plain(), @r"
        error: could not start
          caused by: could not read `a.txt`
          caused by: gone
        hint: check the path
        ");
    }
}
