//! What a JSONC syntax error means to the person who made it.

use jsonc_parser::ParseStringErrorKind;
use jsonc_parser::errors::{ParseError, ParseErrorKind};

use crate::Diagnostic;
use crate::source::{Source, Span};

/// Where to point.
enum Place {
    /// At what the parser stopped at.
    There,
    /// At its first character: what is not closed may span the whole file.
    Start,
    /// Right behind what comes before it: something is missing there.
    Before,
}

/// The finding.
pub(super) fn error(source: &Source, error: &ParseError) -> Diagnostic {
    let range = error.range();
    let text = source.text();
    let value_missing = matches!(last_before(text, range.start), ':' | ',' | '[');
    let described = if value_missing && stops_early(error.kind()) {
        Some((
            Place::Before,
            "a value is missing here",
            "add it, or remove what asks for it",
        ))
    } else {
        of_structure(error.kind()).or_else(|| of_text(error.kind()))
    };
    let Some((place, message, hint)) = described else {
        return source
            .error(
                range.start..range.end,
                lower_first(&error.kind().to_string()),
            )
            .with_hint("this is JSON; only comments and trailing commas are allowed beyond it");
    };
    let span = match place {
        Place::There => range.start..range.end,
        Place::Start => range.start..range.start + 1,
        Place::Before => end_of_previous(text, range.start),
    };
    source.error(span, message).with_hint(hint)
}

/// Errors that mean a missing value if what comes before wants one.
fn stops_early(kind: &ParseErrorKind) -> bool {
    use ParseErrorKind as P;
    matches!(
        kind,
        P::ExpectedObjectValue
            | P::UnexpectedCloseBrace
            | P::UnexpectedCloseBracket
            | P::UnexpectedComma
    )
}

type Described = Option<(Place, &'static str, &'static str)>;

/// Brackets, commas and colons.
fn of_structure(kind: &ParseErrorKind) -> Described {
    use ParseErrorKind as P;
    let (place, message, hint) = match kind {
        P::ExpectedComma => (Place::Before, "a comma is missing here", "add a `,`"),
        P::ExpectedColonAfterObjectKey => (
            Place::Before,
            "a colon is missing here",
            "names and values are written `\"name\": value`",
        ),
        P::UnterminatedObject => (
            Place::Start,
            "this `{` is never closed",
            "add the missing `}`",
        ),
        P::UnterminatedArray => (
            Place::Start,
            "this `[` is never closed",
            "add the missing `]`",
        ),
        P::UnexpectedCloseBrace => (
            Place::There,
            "this `}` does not close anything",
            "a `[` in front of it is still open",
        ),
        P::UnexpectedCloseBracket => (
            Place::There,
            "this `]` does not close anything",
            "a `{` in front of it is still open",
        ),
        P::MultipleRootJsonValues => (
            Place::Start,
            "the object has ended, and more follows",
            "a closing bracket in front of this is too early",
        ),
        P::NestingDepthExceeded => (
            Place::Start,
            "this is nested too deeply",
            "a configuration is a few levels deep",
        ),
        _ => return None,
    };
    Some((place, message, hint))
}

/// Names, strings, comments.
fn of_text(kind: &ParseErrorKind) -> Described {
    use ParseErrorKind as P;
    let (place, message, hint) = match kind {
        P::UnterminatedCommentBlock => (
            Place::Start,
            "this comment is never closed",
            "add the missing `*/`",
        ),
        P::ExpectedStringObjectProperty => (
            Place::There,
            "names must be in double quotes",
            "this is JSON with comments, not JavaScript",
        ),
        P::SingleQuotedStringsNotAllowed => (
            Place::There,
            "strings must be in double quotes",
            "this is JSON with comments, not JavaScript",
        ),
        P::UnexpectedTokenInObject => (
            Place::There,
            "a name in double quotes must stand here",
            "an object is written `{ \"name\": value }`",
        ),
        P::String(ParseStringErrorKind::UnterminatedStringLiteral) => (
            Place::There,
            "this string is never closed",
            "end it with `\"` in the same line",
        ),
        P::UnexpectedWord => (
            Place::There,
            "this is neither a string nor `true`, `false` or `null`",
            "strings must be in double quotes",
        ),
        _ => return None,
    };
    Some((place, message, hint))
}

/// The place right behind the last thing before `index` that is neither blank nor a line comment.
fn end_of_previous(text: &str, index: usize) -> Span {
    let mut end = text.get(..index).unwrap_or_default().trim_end().len();
    loop {
        let before = text.get(..end).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.get(line_start..).unwrap_or_default();
        match comment_start(line) {
            Some(comment) => {
                let cut = before
                    .get(..line_start + comment)
                    .unwrap_or_default()
                    .trim_end()
                    .len();
                if cut == 0 {
                    return 0..0;
                }
                end = cut;
            }
            None => return end..end,
        }
    }
}

/// The last character before `index` that is neither blank nor in a line comment.
fn last_before(text: &str, index: usize) -> char {
    let end = end_of_previous(text, index).start;
    let before = text.get(..end).unwrap_or_default();
    before.chars().next_back().unwrap_or(' ')
}

/// Where a `//` outside of strings begins in a line.
fn comment_start(line: &str) -> Option<usize> {
    let mut in_string = false;
    let mut escaped = false;
    let bytes = line.as_bytes();
    for (index, &byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'/' if !in_string && bytes.get(index + 1) == Some(&b'/') => return Some(index),
            _ => {}
        }
    }
    None
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}
