//! The terminal of this process: its size, and raw mode for a command that has a terminal of its own.

use std::io::IsTerminal as _;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Rows and columns, if standard output is a terminal.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(rustix::stdio::stdout()).ok()?;
    Some((size.ws_row, size.ws_col))
}

/// Rows and columns, if standard error is a terminal.
pub(crate) fn error_size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(rustix::stdio::stderr()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Asks for a yes, if somebody is there to be asked.
pub(crate) fn ask(question: &str) -> Option<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return None;
    }
    crate::printer::text(&format!("{question} [y/N] "));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).ok()?;
    Some(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}

/// Raw mode of standard input until dropped: every key goes to the command.
pub(crate) struct RawTerminal {
    former: Option<Termios>,
}

impl RawTerminal {
    /// Enters raw mode; without a terminal nothing happens.
    pub(crate) fn enter() -> Self {
        let former = tcgetattr(rustix::stdio::stdin()).ok();
        if let Some(former) = &former {
            let mut raw = former.clone();
            raw.make_raw();
            set(&raw);
        }
        Self { former }
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(former) = &self.former {
            set(former);
        }
    }
}

fn set(settings: &Termios) {
    if let Err(error) = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, settings) {
        tracing::debug!(%error, "the terminal keeps its settings");
    }
}
