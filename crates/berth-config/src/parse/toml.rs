//! TOML.

use toml_edit::{Document, Item, Key, Table, TableLike, TomlError};

use super::Parsed;
use crate::Diagnostic;
use crate::source::{Source, Span};
use crate::value::{Entry, Kind, Value};

pub(super) fn parse(source: &Source) -> Result<Parsed, Box<Diagnostic>> {
    let document = Document::parse(source.text().to_owned())
        .map_err(|error| Box::new(syntax_error(source, &error)))?;
    let root = Value {
        kind: table(source, document.as_table(), &(0..0))?,
        span: 0..0,
    };
    Ok(Parsed {
        root,
        warnings: Vec::new(),
    })
}

/// `outer`: where to point for what has no place of its own, such as the `a` of `[a.b]`.
fn table(source: &Source, table: &dyn TableLike, outer: &Span) -> Result<Kind, Box<Diagnostic>> {
    let mut entries = Vec::new();
    for (name, item) in table.iter() {
        if item.is_none() {
            continue;
        }
        let key_span = table
            .key(name)
            .and_then(Key::span)
            .unwrap_or_else(|| outer.clone());
        let value = value(source, item, &key_span)?;
        entries.push(Entry {
            key: name.to_owned(),
            key_span,
            value,
        });
    }
    Ok(Kind::Object(entries))
}

fn value(source: &Source, item: &Item, outer: &Span) -> Result<Value, Box<Diagnostic>> {
    let span = item.span().unwrap_or_else(|| outer.clone());
    let kind = match item {
        Item::None => Kind::Null,
        Item::Value(inner) => scalar(source, inner, &span)?,
        Item::Table(inner) => table(source, inner, &span)?,
        Item::ArrayOfTables(tables) => Kind::Array(
            tables
                .iter()
                .map(|inner| one_of_tables(source, inner, &span))
                .collect::<Result<_, _>>()?,
        ),
    };
    Ok(Value { kind, span })
}

fn one_of_tables(source: &Source, inner: &Table, outer: &Span) -> Result<Value, Box<Diagnostic>> {
    let span = inner.span().unwrap_or_else(|| outer.clone());
    Ok(Value {
        kind: table(source, inner, &span)?,
        span,
    })
}

fn scalar(source: &Source, value: &toml_edit::Value, span: &Span) -> Result<Kind, Box<Diagnostic>> {
    use toml_edit::Value as T;
    Ok(match value {
        T::String(text) => Kind::String(text.value().clone()),
        T::Integer(number) => Kind::Number((*number.value()).into()),
        T::Float(number) => match serde_json::Number::from_f64(*number.value()) {
            Some(number) => Kind::Number(number),
            None => {
                let message = "`inf` and `nan` mean nothing here";
                let error = source.error(span.clone(), message);
                return Err(Box::new(error.with_hint("write a number")));
            }
        },
        T::Boolean(flag) => Kind::Bool(*flag.value()),
        T::Datetime(date) => Kind::Date(date.value().to_string()),
        T::Array(array) => Kind::Array(
            array
                .iter()
                .map(|element| {
                    let span = element.span().unwrap_or_else(|| span.clone());
                    Ok(Value {
                        kind: scalar(source, element, &span)?,
                        span,
                    })
                })
                .collect::<Result<_, Box<Diagnostic>>>()?,
        ),
        T::InlineTable(inner) => table(source, inner, span)?,
    })
}

fn syntax_error(source: &Source, error: &TomlError) -> Diagnostic {
    let span = error.span().unwrap_or(0..0);
    let message = error.message().trim().replace('\n', ", ");
    let text = source.text().get(span.clone()).unwrap_or_default();
    let (message, hint) = match message.as_str() {
        "duplicate key" => (
            format!("`{}` is given twice", text.trim()),
            "remove one of them",
        ),
        it if it.contains("recurs") => (
            "this is nested too deeply".to_owned(),
            "a configuration is a few levels deep",
        ),
        it if it.starts_with("string values must be quoted") => (
            "text must be in quotes".to_owned(),
            "put it in double quotes",
        ),
        it if it.starts_with("invalid basic string") && it.ends_with("expected `\"`") => (
            "a string is never closed here".to_owned(),
            "end it with `\"` in the same line",
        ),
        _ => (
            message,
            "TOML is made of `name = value`, `[table]` and `[[element]]`",
        ),
    };
    source.error(span, message).with_hint(hint)
}
