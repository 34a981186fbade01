//! What other programs wrote, fit for a terminal.
//!
//! Text of commands, files, registries and servers may hold whatever a terminal obeys: sequences that
//! move the cursor over what is true, set the title, answer on the user's keyboard or write to the
//! clipboard. Colours and the like (SGR) are the only ones that stay.

use std::fmt::Write as _;

use anstyle_parse::{Params, Parser, Perform};

/// The text without control characters and terminal sequences, but for ends of lines, tabs, and
/// sequences that choose how text looks (`ESC [ … m`). A look that was chosen ends with the text.
pub fn harmless(text: &str) -> String {
    let mut kept = Kept::default();
    if text.chars().all(is_plain) {
        return text.to_owned();
    }
    let mut parser = Parser::<anstyle_parse::Utf8Parser>::new();
    for byte in text.bytes() {
        parser.advance(&mut kept, byte);
    }
    if kept.styled {
        kept.text.push_str("\x1b[0m");
    }
    kept.text
}

fn is_plain(c: char) -> bool {
    !c.is_control() || matches!(c, '\n' | '\t')
}

#[derive(Default)]
struct Kept {
    text: String,
    /// A look other than the usual one was chosen last.
    styled: bool,
}

impl Perform for Kept {
    fn print(&mut self, c: char) {
        // Those between U+0080 and U+009F are sequences in one character to some terminals.
        if is_plain(c) {
            self.text.push(c);
        }
    }

    fn execute(&mut self, byte: u8) {
        if matches!(byte, b'\n' | b'\t') {
            self.text.push(char::from(byte));
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: u8) {
        // With a `>` or `?` it is something else.
        if action != b'm' || ignore || !intermediates.is_empty() {
            return;
        }
        self.text.push_str("\x1b[");
        for (index, group) in params.iter().enumerate() {
            for (place, number) in group.iter().enumerate() {
                let between = match (index, place) {
                    (0, 0) => "",
                    (_, 0) => ";",
                    _ => ":",
                };
                // Writing to a string does not fail.
                let _ = write!(self.text, "{between}{number}");
            }
        }
        self.text.push('m');
        self.styled = params.iter().last().is_some_and(|last| last != [0]);
    }
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn colours_stay() {
        for text in [
            "plain\n\ttext é",
            "\x1b[31mred\x1b[0m and \x1b[1;38;5;208mbold\x1b[0m",
            "\x1b[38;2;1;2;3mtrue colour\x1b[0m",
            "\x1b[4:3mwavy\x1b[0m",
        ] {
            assert_eq!(harmless(text), text);
        }
        assert_eq!(harmless("\x1b[7mopen"), "\x1b[7mopen\x1b[0m");
        assert_eq!(harmless("\x1b[mreset"), "\x1b[0mreset");
    }

    #[test]
    fn everything_else_goes() {
        for (what, text) in [
            ("cursor", "a\x1b[2Ab\x1b[10;10Hc\x1b[2Kd\x1b[s"),
            ("screen", "a\x1b[2Jbc\x1bcd\x1b[?1049h"),
            ("title", "a\x1b]0;title\x07b\x1b]2;title\x1b\\cd"),
            ("clipboard", "ab\x1b]52;c;cm0gLXJmIC8=\x07cd"),
            ("link", "a\x1b]8;;http://x/\x1b\\bc\x1b]8;;\x1b\\d"),
            ("answers", "a\x1b[6nb\x1b[cc\x1b[>q\x1bZd\x05"),
            ("device control", "ab\x1bP$qm\x1b\\cd"),
            ("application", "ab\x1b_payload\x1b\\c\x1b^private\x1b\\d"),
            ("keyboard", "ab\x1b[>4;2mc\x1b[?4md"),
            ("controls", "a\x08b\x07\x0b\x0c\x0e\x0fc\x7f\rd"),
            ("in one character", "a\u{9b}b\u{9d}\u{90}\u{85}cd"),
            ("charset", "ab\x1b(0c\x1b)0d"),
        ] {
            assert_eq!(harmless(text), "abcd", "{what}: {text:?}");
        }
        assert_eq!(harmless("ab\x1b]0;never ends"), "ab");
        assert_eq!(harmless("ab\x1b["), "ab");
    }
}
