//! The syntax of `.dev.vars` and `.env`: what npm's `dotenv` reads, and says nothing about.
//!
//! `NAME=value`, `NAME: value`, `export NAME=value`; values in single, double or back quotes may
//! span lines, and `\n` and `\r` mean something in double quotes only; `#` begins a comment outside
//! of quotes, even without a space in front. Line ends inside of values become `\n`. Compared with
//! dotenv 16.6 on random files; the one difference kept is a value that begins on the line after
//! its `=`, which is an empty value here. Where `dotenv` would skip a line or keep half a quote,
//! this says so. Messages show names, never values: they end up in terminals and logs.

use crate::source::{Source, Span};
use crate::{Diagnostic, Location};

mod expand;

pub(crate) use expand::expand;

/// One assignment.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) name_span: Span,
    pub(crate) value: String,
}

/// All assignments in order, and what was wrong with other lines.
pub(crate) fn parse(source: &Source) -> (Vec<Variable>, Vec<Diagnostic>) {
    let mut reader = Reader {
        source,
        at: 0,
        findings: Vec::new(),
    };
    let mut variables = Vec::new();
    while reader.at < source.text().len() {
        variables.extend(reader.line());
    }
    (variables, reader.findings)
}

struct Reader<'a> {
    source: &'a Source,
    at: usize,
    findings: Vec<Diagnostic>,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.source.text().get(self.at..).unwrap_or_default()
    }

    /// The rest of the line, and moves behind its end.
    fn take_line(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find('\n').unwrap_or(rest.len());
        self.at += (end + 1).min(rest.len());
        let line = rest.get(..end).unwrap_or_default();
        line.strip_suffix('\r').unwrap_or(line)
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t']).len();
    }

    fn line(&mut self) -> Option<Variable> {
        self.skip_blanks();
        let start = self.at;
        let line = self
            .rest()
            .split('\n')
            .next()
            .unwrap_or_default()
            .trim_end();
        if line.is_empty() || line.starts_with('#') {
            self.take_line();
            return None;
        }
        match self.assignment() {
            Some(variable) => Some(variable),
            None => {
                let finding = self
                    .source
                    .warning(start..start + 1, "this line is not an assignment")
                    .with_hint("write `NAME=value`, or begin the line with `#`; it is ignored");
                self.findings.push(mask(finding, |place| place.column - 1));
                self.at = start;
                self.take_line();
                None
            }
        }
    }

    fn assignment(&mut self) -> Option<Variable> {
        if let Some(after) = self.rest().strip_prefix("export")
            && after.starts_with([' ', '\t'])
        {
            self.at += "export".len();
            self.skip_blanks();
        }
        let rest = self.rest();
        let name_end = rest
            .find(|character: char| {
                !(character.is_ascii_alphanumeric() || "_.-".contains(character))
            })
            .unwrap_or(rest.len());
        let name = rest.get(..name_end).filter(|name| !name.is_empty())?;
        let name_span = self.at..self.at + name_end;
        self.at += name_end;
        let colon = self
            .rest()
            .strip_prefix(':')
            .is_some_and(|after| after.starts_with([' ', '\t']));
        if !colon {
            self.skip_blanks();
            if !self.rest().starts_with('=') {
                return None;
            }
        }
        self.at += 1;
        self.skip_blanks();
        let value = self.value();
        Some(Variable {
            name: name.to_owned(),
            name_span,
            value,
        })
    }

    fn value(&mut self) -> String {
        if let Some(quote) = self.rest().chars().next().filter(|it| "'\"`".contains(*it))
            && let Some(value) = self.quoted(quote)
        {
            return value;
        }
        let start = self.at;
        let line = self.take_line();
        let text = line.split('#').next().unwrap_or_default().trim();
        // What begins with a quote but is not closed, or goes on behind the quote: `dotenv` then
        // looks at this line only, and takes the outermost quotes away.
        for quote in ['\'', '"', '`'] {
            let Some(inner) = text.strip_prefix(quote) else {
                continue;
            };
            return match inner.strip_suffix(quote) {
                Some(inner) => unescape(inner, quote),
                None => {
                    let finding = self
                        .source
                        .error(start..start + 1, "this quote is never closed")
                        .with_hint(format!("end the value with {quote}"));
                    self.findings.push(mask(finding, |place| place.column));
                    String::new()
                }
            };
        }
        text.to_owned()
    }

    /// A value in quotes with nothing but a comment behind it.
    fn quoted(&mut self, quote: char) -> Option<String> {
        let inner = self.rest().get(1..)?;
        let mut escaped = false;
        let end = inner.find(|character| {
            let found = character == quote && !escaped;
            escaped = character == '\\' && !escaped;
            found
        })?;
        let after = inner.get(end + 1..)?.split('\n').next().unwrap_or_default();
        let after = after.trim();
        if !(after.is_empty() || after.starts_with('#')) {
            return None;
        }
        self.at += end + 2;
        self.take_line();
        Some(unescape(inner.get(..end)?, quote))
    }
}

/// Leaves only the first characters of the line that a finding shows; the place stays.
pub(crate) fn mask(mut finding: Diagnostic, shown: impl Fn(&Location) -> usize) -> Diagnostic {
    if let Some(place) = &mut finding.location {
        let shown = shown(place);
        place.source_line = place.source_line.chars().take(shown).chain(['…']).collect();
    }
    finding
}

/// What quotes leave: line ends become `\n`, and escapes are resolved in double quotes.
fn unescape(text: &str, quote: char) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    if quote == '"' {
        text.replace("\\n", "\n").replace("\\r", "\r")
    } else {
        text
    }
}

#[cfg(test)]
mod tests;
