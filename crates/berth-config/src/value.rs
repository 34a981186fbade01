//! The one tree that both file formats become: every value and every key knows its bytes.

use std::fmt;

use crate::source::Span;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

/// What JSON and TOML can say.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    String(String),
    /// TOML only: a date or time literal. JSON has no such thing, so no field accepts it.
    Date(String),
    Array(Vec<Value>),
    Object(Vec<Entry>),
}

/// One member of an object. Keys are unique: a parser keeps the last of several.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Value,
}

impl Value {
    /// The member of an object; `null` counts as absent.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries()
            .iter()
            .find(|entry| entry.key == key && !matches!(entry.value.kind, Kind::Null))
    }

    /// The members of an object; of anything else, none.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Object(entries) => entries,
            _ => &[],
        }
    }

    /// The value as JSON, for variables. Dates become strings; callers report them first.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.kind {
            Kind::Null => serde_json::Value::Null,
            Kind::Bool(value) => serde_json::Value::Bool(*value),
            Kind::Number(number) => serde_json::Value::Number(number.clone()),
            Kind::String(text) | Kind::Date(text) => serde_json::Value::String(text.clone()),
            Kind::Array(items) => items.iter().map(Self::to_json).collect(),
            Kind::Object(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.value.to_json()))
                .collect(),
        }
    }

    /// Nothing is said: `[]`, `{}` or an object of such.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.kind {
            Kind::Null => true,
            Kind::Array(items) => items.is_empty(),
            Kind::Object(entries) => entries.iter().all(|entry| entry.value.is_empty()),
            _ => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Date(_) => "a date",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        })
    }
}
