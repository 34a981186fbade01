//! JSON with comments and trailing commas, as wrangler reads `.json` and `.jsonc`.

use jsonc_parser::ast;
use jsonc_parser::common::{Range, Ranged as _};
use jsonc_parser::errors::{ParseError, ParseErrorKind};
use jsonc_parser::{CollectOptions, ParseOptions};

use super::Parsed;
use crate::Diagnostic;
use crate::source::{Source, Span};
use crate::value::{Entry, Kind, Value};

/// What JSONC allows beyond JSON, and nothing of JSON5.
const OPTIONS: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_loose_object_property_names: false,
    allow_trailing_commas: true,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

pub(super) fn parse(source: &Source) -> Result<Parsed, Box<Diagnostic>> {
    let result = jsonc_parser::parse_to_ast(source.text(), &CollectOptions::default(), &OPTIONS)
        .map_err(|error| Box::new(syntax_error(source, &error)))?;
    let Some(root) = result.value else {
        return Err(Box::new(source.error(0..0, "the file is empty").with_hint(
            "at least `name`, `main` and `compatibility_date` are needed",
        )));
    };
    let mut convert = Convert {
        source,
        warnings: Vec::new(),
    };
    let root = convert.value(root)?;
    Ok(Parsed {
        root,
        warnings: convert.warnings,
    })
}

struct Convert<'a> {
    source: &'a Source,
    warnings: Vec<Diagnostic>,
}

impl Convert<'_> {
    fn value(&mut self, value: ast::Value<'_>) -> Result<Value, Box<Diagnostic>> {
        let span = span(value.range());
        let kind = match value {
            ast::Value::NullKeyword(_) => Kind::Null,
            ast::Value::BooleanLit(literal) => Kind::Bool(literal.value),
            ast::Value::StringLit(literal) => Kind::String(literal.value.into_owned()),
            ast::Value::NumberLit(literal) => {
                Kind::Number(literal.value.parse().map_err(|_| {
                    Box::new(self.source.error(
                        span.clone(),
                        format!("`{}` is not a number that fits", literal.value),
                    ))
                })?)
            }
            ast::Value::Array(array) => Kind::Array(
                array
                    .elements
                    .into_iter()
                    .map(|element| self.value(element))
                    .collect::<Result<_, _>>()?,
            ),
            ast::Value::Object(object) => Kind::Object(self.object(object)?),
        };
        Ok(Value { kind, span })
    }

    fn object(&mut self, object: ast::Object<'_>) -> Result<Vec<Entry>, Box<Diagnostic>> {
        let mut entries: Vec<Entry> = Vec::with_capacity(object.properties.len());
        for property in object.properties {
            let key_span = span(property.name.range());
            let key = property.name.as_str().to_owned();
            let value = self.value(property.value)?;
            let entry = Entry {
                key,
                key_span,
                value,
            };
            match entries.iter().position(|other| other.key == entry.key) {
                Some(index) => {
                    let first = self.source.locate(entries[index].key_span.clone());
                    let message = format!("`{}` is given twice", entry.key);
                    self.warnings.push(
                        self.source
                            .warning(entry.key_span.clone(), message)
                            .with_hint(format!(
                                "this one wins; remove the one in line {}",
                                first.line
                            )),
                    );
                    entries[index] = entry;
                }
                None => entries.push(entry),
            }
        }
        Ok(entries)
    }
}

fn span(range: Range) -> Span {
    range.start..range.end
}

fn syntax_error(source: &Source, error: &ParseError) -> Diagnostic {
    use ParseErrorKind as P;
    let range = span(error.range());
    let text = source.text();
    let rest = text.get(range.start..).unwrap_or_default();
    let (at, message, hint): (Span, String, Option<&str>) = match error.kind() {
        P::ExpectedComma => (
            end_of_previous(text, range.start),
            "a comma is missing here".into(),
            None,
        ),
        P::UnterminatedObject => (
            first(&range),
            "this `{` is never closed".into(),
            Some("add the missing `}`"),
        ),
        P::UnterminatedArray => (
            first(&range),
            "this `[` is never closed".into(),
            Some("add the missing `]`"),
        ),
        P::UnterminatedCommentBlock => (
            first(&range),
            "this comment is never closed".into(),
            Some("add the missing `*/`"),
        ),
        P::ExpectedStringObjectProperty => (
            range,
            "names must be in double quotes".into(),
            Some("this is JSON with comments, not JavaScript"),
        ),
        P::SingleQuotedStringsNotAllowed => (
            range,
            "strings must be in double quotes".into(),
            Some("this is JSON with comments, not JavaScript"),
        ),
        P::ExpectedColonAfterObjectKey => (
            end_of_previous(text, range.start),
            "a colon and a value are missing here".into(),
            None,
        ),
        P::ExpectedObjectValue => (
            end_of_previous(text, range.start),
            "a value is missing here".into(),
            None,
        ),
        P::UnexpectedWord if rest.starts_with(|c: char| c.is_alphabetic()) => (
            range,
            "this is neither a string nor `true`, `false` or `null`".into(),
            Some("strings must be in double quotes"),
        ),
        P::MultipleRootJsonValues => (
            first(&range),
            "the object has ended, and more follows".into(),
            Some("one of the closing brackets before this is too early"),
        ),
        P::NestingDepthExceeded => (first(&range), "this is nested too deeply".into(), None),
        kind => (range, lower_first(&kind.to_string()), None),
    };
    let diagnostic = source.error(at, message);
    match hint {
        Some(hint) => diagnostic.with_hint(hint),
        None => diagnostic,
    }
}

fn first(span: &Span) -> Span {
    span.start..span.start + 1
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
