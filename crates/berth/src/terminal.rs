//! The terminal of this process: its size, and raw mode for a command that has a terminal of its own.

use std::io::IsTerminal as _;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

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

/// Columns that a text takes: some characters take two, some none.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// As much of a text as has room in so many columns.
pub(crate) fn cut(text: &str, columns: usize) -> &str {
    let mut used = 0;
    for (place, character) in text.char_indices() {
        used += character.width().unwrap_or(0);
        if used > columns {
            return &text[..place];
        }
    }
    text
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

#[cfg(test)]
mod tests {
    use super::{cut, width};

    #[test]
    fn text_is_cut_by_the_columns_it_takes() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "abc");
        // Two columns each: the third one would end outside.
        assert_eq!(cut("\u{5bb9}\u{5668}\u{5668}", 5), "\u{5bb9}\u{5668}");
        assert_eq!(width("\u{5bb9}a"), 3);
        assert_eq!(cut("a\u{301}b", 1), "a\u{301}");
    }
}
