//! Here-documents: `<<NAME`, `<<-NAME` (leading tabs go), `<<"NAME"` (nothing is expanded).

/// One here-document of an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heredoc {
    /// Its name, which is also the name of the file that `COPY` makes of it.
    pub(crate) name: String,
    /// Whether variables in it are expanded.
    pub(crate) expand: bool,
    /// `<<-`.
    pub(crate) strip_tabs: bool,
    /// Its lines, each with its newline.
    pub(crate) content: String,
}

/// The here-documents that a line opens, in order, still without content.
pub(super) fn find(line: &str) -> Vec<Heredoc> {
    let mut found = Vec::new();
    let mut quote = None;
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(open), byte) if byte == open => quote = None,
            (None, byte @ (b'"' | b'\'')) => quote = Some(byte),
            (_, b'\\') => at += 1,
            // `<<<` is a here-string of some shells.
            (None, b'<') if line[at..].starts_with("<<<") => at += 2,
            (None, b'<') if line[at..].starts_with("<<") && begins_word(line, at) => {
                if let Some((heredoc, length)) = opening(&line[at + 2..]) {
                    found.push(heredoc);
                    at += 1 + length;
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Only a descriptor number may stand before `<<`: `cmd 3<<EOF`, but not `$((1<<2))`.
fn begins_word(line: &str, at: usize) -> bool {
    let before = line[..at].trim_end_matches(|c: char| c.is_ascii_digit());
    before.is_empty()
        || before.ends_with([' ', '\t', ';', '|', '&', '(']) && !before.ends_with("((")
}

/// What follows `<<`, and how long it is.
fn opening(rest: &str) -> Option<(Heredoc, usize)> {
    let (strip_tabs, name) = match rest.strip_prefix('-') {
        Some(name) => (true, name),
        None => (false, rest),
    };
    let quote = name.chars().next().filter(|c| matches!(c, '"' | '\''));
    let (word, used) = match quote {
        Some(quote) => {
            let end = name[1..].find(quote)?;
            (&name[1..=end], end + 2)
        }
        None => {
            let end = name
                .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')))
                .unwrap_or(name.len());
            (&name[..end], end)
        }
    };
    let first = word.chars().next()?;
    if !(first.is_ascii_alphabetic() || first == '_') || word.contains('/') {
        return None;
    }
    let heredoc = Heredoc {
        name: word.to_owned(),
        expand: quote.is_none(),
        strip_tabs,
        content: String::new(),
    };
    Some((heredoc, used + usize::from(strip_tabs)))
}
