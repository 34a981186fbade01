//! Cap'n Proto text: a small tree of values and its printer.
//!
//! Only what workerd's configuration needs. A struct prints as `(name = value, …)`, one field per
//! line once it is wide, so that `berth dev --print-config` can be read.

use std::fmt::Write as _;

/// Lines up to this many characters are not broken.
const WIDTH: usize = 96;

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Capnp {
    /// Text, quoted and escaped when printed.
    Text(String),
    /// `true` or `false`.
    Bool(bool),
    /// The content of a file, by its path from the root.
    Embed(String),
    /// Named fields.
    Struct(Vec<(&'static str, Capnp)>),
    /// A list.
    List(Vec<Capnp>),
}

impl From<&str> for Capnp {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Capnp {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Capnp {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<Vec<Self>> for Capnp {
    fn from(values: Vec<Self>) -> Self {
        Self::List(values)
    }
}

impl From<serde_json::Value> for Capnp {
    /// JSON goes into the configuration as text.
    fn from(json: serde_json::Value) -> Self {
        Self::Text(json.to_string())
    }
}

/// A struct from its fields.
pub(crate) fn record<const N: usize>(fields: [(&'static str, Capnp); N]) -> Capnp {
    Capnp::Struct(fields.into())
}

/// A list of texts.
pub(crate) fn texts<S: AsRef<str>>(values: impl IntoIterator<Item = S>) -> Capnp {
    let values = values.into_iter().map(|value| value.as_ref().into());
    Capnp::List(values.collect())
}

impl Capnp {
    /// The value as text, its first line continuing one that is indented by `indent` spaces.
    pub(crate) fn print(&self, indent: usize) -> String {
        let flat = self.flat();
        if indent + flat.len() <= WIDTH {
            return flat;
        }
        let (open, close, items): (_, _, Vec<String>) = match self {
            Self::Struct(fields) => {
                let item =
                    |(name, value): &(&str, Self)| format!("{name} = {}", value.print(indent + 2));
                ('(', ')', fields.iter().map(item).collect())
            }
            Self::List(values) => {
                let item = |value: &Self| value.print(indent + 2);
                ('[', ']', values.iter().map(item).collect())
            }
            Self::Text(_) | Self::Bool(_) | Self::Embed(_) => return flat,
        };
        let margin = " ".repeat(indent);
        let mut text = String::from(open);
        for item in items {
            let _ = write!(text, "\n{margin}  {item},");
        }
        let _ = write!(text, "\n{margin}{close}");
        text
    }

    fn flat(&self) -> String {
        let joined = |items: Vec<String>| items.join(", ");
        match self {
            Self::Text(text) => quote(text),
            Self::Bool(value) => value.to_string(),
            Self::Embed(path) => format!("embed {}", quote(path)),
            Self::Struct(fields) => {
                let item = |(name, value): &(&str, Self)| format!("{name} = {}", value.flat());
                format!("({})", joined(fields.iter().map(item).collect()))
            }
            Self::List(values) => format!("[{}]", joined(values.iter().map(Self::flat).collect())),
        }
    }
}

/// A string literal.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            control if control.is_ascii_control() => {
                let _ = write!(quoted, "\\x{:02x}", control as u32);
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(quote("a\"b\\c\nd\u{1}é"), r#""a\"b\\c\nd\x01é""#);
    }

    #[test]
    fn wide_values_break_and_narrow_ones_do_not() {
        let narrow = record([("name", "a".into()), ("on", true.into())]);
        assert_eq!(narrow.print(0), "(name = \"a\", on = true)");
        let wide = record([
            ("list", texts(["x".repeat(60), "y".repeat(60)])),
            ("file", Capnp::Embed("m/index.js".to_owned())),
        ]);
        let expected = format!(
            "(\n  list = [\n    \"{}\",\n    \"{}\",\n  ],\n  file = embed \"m/index.js\",\n)",
            "x".repeat(60),
            "y".repeat(60)
        );
        assert_eq!(wide.print(0), expected);
    }
}
