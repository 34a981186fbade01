//! What a client asks for before its process starts: terminal, environment, command. Pure.

use berth_engine::ExecSpec;
use berth_jail::TerminalSpec;

use crate::SHELL;

/// Whose processes are started.
const ROOT: &str = "0";
/// The size of a terminal whose client says nothing: rows, columns.
const SIZE: (u16, u16) = (24, 80);
/// The kind of a terminal whose client says nothing of use.
const TERM: &str = "xterm";
/// Variables of a client, and bytes of one.
const VARIABLES: usize = 64;
const VARIABLE_LENGTH: usize = 4096;

/// What is asked for so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    terminal: Option<(String, TerminalSpec)>,
    env: Vec<String>,
}

impl Wanted {
    /// A terminal of so many columns and rows.
    pub(crate) fn terminal(&mut self, term: &str, size: (u32, u32), modes: Vec<(u8, u32)>) {
        let (columns, rows) = size;
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_+.".contains(&c);
        let known = !term.is_empty() && term.len() <= 64 && term.bytes().all(plain);
        let term = if known { term } else { TERM };
        let terminal = TerminalSpec {
            rows: length(rows, SIZE.0),
            columns: length(columns, SIZE.1),
            modes,
        };
        self.terminal = Some((term.to_owned(), terminal));
    }

    /// A variable, if it is one that a client may set: those of its language and its colours.
    pub(crate) fn variable(&mut self, name: &str, value: &str) -> bool {
        let known = matches!(name, "LANG" | "LANGUAGE" | "COLORTERM" | "NO_COLOR");
        let locale = name.strip_prefix("LC_").is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
        });
        let short = name.len() + value.len() < VARIABLE_LENGTH && self.env.len() < VARIABLES;
        let taken = (known || locale) && short && !value.contains('\0');
        if taken {
            self.env.push(format!("{name}={value}"));
        }
        taken
    }

    /// The process for it: `command`, or a shell.
    pub(crate) fn process(self, command: Option<&str>) -> ExecSpec {
        let script = command.unwrap_or(SHELL);
        let mut env = self.env;
        let terminal = self.terminal.map(|(term, terminal)| {
            env.push(format!("TERM={term}"));
            terminal
        });
        ExecSpec {
            argv: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
            env,
            working_dir: None,
            user: Some(ROOT.to_owned()),
            terminal,
            stdin: true,
        }
    }
}

/// A dimension that is zero or absurd gets its default.
pub(crate) fn length(given: u32, default: u16) -> u16 {
    u16::try_from(given)
        .ok()
        .filter(|length| *length > 0)
        .unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_runs_in_a_shell_as_root() {
        let mut wanted = Wanted::default();
        assert!(wanted.variable("LC_ALL", "C.UTF-8"));
        for name in ["PATH", "LD_PRELOAD", "LC_", "LC_A=B", "lang", ""] {
            assert!(!wanted.variable(name, "x"), "{name}");
        }
        assert!(!wanted.variable("LANG", "a\0b"));
        assert!(!wanted.variable("LANG", &"x".repeat(VARIABLE_LENGTH)));
        let spec = wanted.process(Some("ls /"));
        assert_eq!(spec.argv, ["/bin/sh", "-c", "ls /"]);
        assert_eq!(spec.env, ["LC_ALL=C.UTF-8"]);
        assert_eq!(spec.user.as_deref(), Some("0"));
        assert_eq!(spec.terminal, None);
    }

    #[test]
    fn a_terminal_has_the_clients_kind_and_size() {
        let mut wanted = Wanted::default();
        wanted.terminal("screen-256color", (100, 40), vec![(53, 0)]);
        let spec = wanted.clone().process(None);
        assert_eq!(spec.argv[2], SHELL);
        assert_eq!(spec.env, ["TERM=screen-256color"]);
        let terminal = spec.terminal.unwrap();
        assert_eq!((terminal.rows, terminal.columns), (40, 100));
        assert_eq!(terminal.modes, [(53, 0)]);

        wanted.terminal("x;rm -rf", (0, 1 << 20), Vec::new());
        let spec = wanted.process(None);
        assert_eq!(spec.env, ["TERM=xterm"]);
        let terminal = spec.terminal.unwrap();
        assert_eq!((terminal.rows, terminal.columns), (24, 80));
    }

    #[test]
    fn variables_are_bounded() {
        let mut wanted = Wanted::default();
        let taken = (0..1000)
            .filter(|n| wanted.variable(&format!("LC_{n}"), "x"))
            .count();
        assert_eq!(taken, VARIABLES);
    }
}
