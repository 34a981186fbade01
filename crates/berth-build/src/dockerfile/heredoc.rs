//! Here-documents: `<<NAME`, `<<-NAME` (leading tabs go), `<<"NAME"` (nothing is expanded).

use super::Result;
use super::expand::{Lexer, NoVariables};

/// One here-document of an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heredoc {
    /// Its name, which is also the name of the file that `COPY` makes of it.
    pub(crate) name: String,
    /// Whether variables in it are expanded.
    pub(crate) expand: bool,
    /// `<<-`.
    pub(crate) strip_tabs: bool,
    /// Its lines as they are in the file, each with its newline.
    pub(crate) content: String,
}

impl Heredoc {
    /// The content without the tabs that `<<-` takes away.
    pub(crate) fn text(&self) -> String {
        if !self.strip_tabs {
            return self.content.clone();
        }
        self.content
            .split_inclusive('\n')
            .map(|line| line.trim_start_matches('\t'))
            .collect()
    }
}

/// The here-documents that a line opens, in order, still without content.
pub(super) fn find(line: &str) -> Result<Vec<Heredoc>> {
    let lexer = Lexer {
        raw_quotes: true,
        raw_escapes: true,
        keep_unset: true,
        ..Lexer::new('\\')
    };
    // What is no sequence of words for us may be something for another shell, but no here-document.
    let Ok(words) = lexer.process(line, &NoVariables) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for word in &words.words {
        found.extend(parse(word)?);
    }
    Ok(found)
}

/// A word that opens a here-document: `<<NAME`, with a descriptor's number before it if wanted.
pub(crate) fn parse(word: &str) -> Result<Option<Heredoc>> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let Some(rest) = rest.strip_prefix("<<") else {
        return Ok(None);
    };
    let (strip_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start_matches([' ', '\t', '\r', '\n', '\u{c}']);
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let lexer = Lexer {
        keep_unset: true,
        ..Lexer::new('\\')
    };
    let mut words = lexer.process(rest, &NoVariables)?.words;
    let raw = Lexer {
        raw_quotes: true,
        ..lexer
    };
    let mut raw_words = raw.process(rest, &NoVariables)?.words;
    let (Some(name), Some(raw_name)) = (words.pop(), raw_words.pop()) else {
        return Ok(None);
    };
    if !words.is_empty() || !raw_words.is_empty() {
        return Ok(None);
    }
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Ok(Some(Heredoc {
        // A quote that disappears from the name means that nothing is expanded.
        expand: quotes(&name) == quotes(&raw_name),
        name,
        strip_tabs,
        content: String::new(),
    }))
}
