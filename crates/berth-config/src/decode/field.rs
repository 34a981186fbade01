//! Typed access to values: every wrong type and unknown name is reported once, where it stands.

use std::cell::RefCell;

use super::cx::Cx;
use super::nearest::{list, nearest};
use crate::parse::Format;
use crate::source::Span;
use crate::value::{Entry, Kind, Value};

/// A decoded value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// One value on its way to a type.
#[derive(Clone)]
pub(crate) struct Field<'a> {
    pub(crate) cx: &'a Cx<'a>,
    /// As a reader would write it: `containers[0].image`.
    pub(crate) path: String,
    /// The name in front of the value; of an array's element, the element.
    pub(crate) key_span: Span,
    pub(crate) value: &'a Value,
}

impl<'a> Field<'a> {
    pub(crate) fn span(&self) -> &'a Span {
        &self.value.span
    }

    fn wrong(&self, expected: &str) {
        let path = &self.path;
        let found = &self.value.kind;
        let message = format!("`{path}` must be {expected}, but is {found}");
        match (found, expected) {
            (Kind::Date(date), "a string") => self.cx.error(
                self.span(),
                message,
                format!("put it in double quotes: `\"{date}\"`"),
            ),
            _ => self
                .cx
                .error(self.span(), message, self.how_to_write(expected)),
        }
    }

    fn how_to_write(&self, expected: &str) -> String {
        let bare = match &self.value.kind {
            Kind::String(text) => text.as_str(),
            _ => "",
        };
        let toml = self.cx.format == Format::Toml;
        match expected {
            "a string" => "put the text in double quotes".to_owned(),
            "a number" if bare.parse::<f64>().is_ok() => {
                format!("remove the quotes: `{bare}`")
            }
            "`true` or `false`" if matches!(bare, "true" | "false") => {
                format!("remove the quotes: `{bare}`")
            }
            "a number" | "`true` or `false`" => "without quotes".to_owned(),
            "an array" => "put the elements between `[` and `]`".to_owned(),
            _ if toml => "write it as a table, or its fields between `{` and `}`".to_owned(),
            _ => "put its fields between `{` and `}`".to_owned(),
        }
    }

    /// Whether it is this word.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        matches!(&self.value.kind, Kind::String(text) if text == word)
    }

    /// Whether it is a number.
    pub(crate) fn is_number(&self) -> bool {
        matches!(self.value.kind, Kind::Number(_))
    }

    /// Whether it is an array.
    pub(crate) fn is_array(&self) -> bool {
        matches!(self.value.kind, Kind::Array(_))
    }

    /// A string, perhaps empty.
    pub(crate) fn string(&self) -> Option<Spanned<String>> {
        match &self.value.kind {
            Kind::String(text) => Some(self.spanned(text.clone())),
            _ => {
                self.wrong("a string");
                None
            }
        }
    }

    /// A string that says something.
    pub(crate) fn text(&self) -> Option<Spanned<String>> {
        let text = self.string()?;
        if text.value.trim().is_empty() {
            self.cx.error(
                &text.span,
                format!("`{}` must not be empty", self.path),
                "remove it, or say something",
            );
            return None;
        }
        Some(text)
    }

    /// A boolean.
    pub(crate) fn boolean(&self) -> Option<bool> {
        match self.value.kind {
            Kind::Bool(flag) => Some(flag),
            _ => {
                self.wrong("`true` or `false`");
                None
            }
        }
    }

    /// Any number.
    pub(crate) fn number(&self) -> Option<Spanned<f64>> {
        match &self.value.kind {
            Kind::Number(number) => number.as_f64().map(|number| self.spanned(number)),
            _ => {
                self.wrong("a number");
                None
            }
        }
    }

    /// A whole number from `least` to `most`.
    pub(crate) fn whole(&self, least: u32, most: u32) -> Option<u32> {
        let number = self.number()?;
        let fits = number.value.fract() == 0.0
            && (f64::from(least)..=f64::from(most)).contains(&number.value);
        if fits {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the range was checked"
            )]
            return Some(number.value as u32);
        }
        let range = match (least, most) {
            (0, u32::MAX) => "a whole number, 0 or more".to_owned(),
            (1, u32::MAX) => "a whole number, 1 or more".to_owned(),
            _ => format!("a whole number from {least} to {most}"),
        };
        self.cx.error(
            self.span(),
            format!("`{}` cannot be {}", self.path, number.value),
            range,
        );
        None
    }

    /// One of a few words.
    pub(crate) fn choice(&self, choices: &[&str]) -> Option<Spanned<String>> {
        let text = self.string()?;
        if choices.contains(&text.value.as_str()) {
            return Some(text);
        }
        let message = format!("`{}` cannot be `{}`", self.path, text.value);
        let hint = match nearest(&text.value, choices.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("choose one of {}", list(choices.iter().copied())),
        };
        self.cx.error(&text.span, message, hint);
        None
    }

    /// The elements of an array; of anything else, none, reported.
    pub(crate) fn items(&self) -> Vec<Field<'a>> {
        let Kind::Array(items) = &self.value.kind else {
            self.wrong("an array");
            return Vec::new();
        };
        items
            .iter()
            .enumerate()
            .map(|(index, value)| Field {
                cx: self.cx,
                path: format!("{}[{index}]", self.path),
                key_span: value.span.clone(),
                value,
            })
            .collect()
    }

    /// The elements of an array of objects.
    pub(crate) fn objects(&self) -> Vec<Fields<'a>> {
        self.items().iter().filter_map(Field::fields).collect()
    }

    /// The elements of an array of non-empty strings.
    pub(crate) fn strings(&self) -> Vec<Spanned<String>> {
        self.items().iter().filter_map(Field::text).collect()
    }

    /// The members of an object.
    pub(crate) fn fields(&self) -> Option<Fields<'a>> {
        if !matches!(self.value.kind, Kind::Object(_)) {
            self.wrong("an object");
            return None;
        }
        Some(Fields {
            cx: self.cx,
            path: self.path.clone(),
            value: self.value,
            known: RefCell::new(Vec::new()),
        })
    }

    /// The members of an object whose names are free, such as `vars`.
    pub(crate) fn members(&self) -> Vec<(&'a Entry, Field<'a>)> {
        if !matches!(self.value.kind, Kind::Object(_)) {
            self.wrong("an object");
        }
        self.value
            .entries()
            .iter()
            .map(|entry| (entry, member(self.cx, &self.path, entry)))
            .collect()
    }

    /// An object of strings.
    pub(crate) fn string_map(&self) -> Vec<(String, String)> {
        self.members()
            .into_iter()
            .filter_map(|(entry, field)| Some((entry.key.clone(), field.string()?.value)))
            .collect()
    }

    fn spanned<T>(&self, value: T) -> Spanned<T> {
        Spanned {
            value,
            span: self.span().clone(),
        }
    }
}

/// The members of one object, with a memory of what was asked for.
pub(crate) struct Fields<'a> {
    pub(crate) cx: &'a Cx<'a>,
    pub(crate) path: String,
    pub(crate) value: &'a Value,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    /// The whole file.
    pub(crate) fn root(cx: &'a Cx<'a>, value: &'a Value) -> Self {
        Self {
            cx,
            path: String::new(),
            value,
            known: RefCell::new(Vec::new()),
        }
    }

    /// A member, if it is there and not `null`.
    pub(crate) fn get(&self, key: &'static str) -> Option<Field<'a>> {
        self.known.borrow_mut().push(key);
        let entry = self.value.entry(key)?;
        Some(member(self.cx, &self.path, entry))
    }

    /// A member that must be there.
    pub(crate) fn require(&self, key: &'static str) -> Option<Field<'a>> {
        let field = self.get(key);
        if field.is_none() {
            self.cx.error(
                &self.value.span,
                format!("`{}.{key}` is missing", self.path),
                format!("add `{key}`"),
            );
        }
        field
    }

    /// A string that must be there and say something.
    pub(crate) fn require_text(&self, key: &'static str) -> Option<Spanned<String>> {
        self.require(key)?.text()
    }

    /// A string that may be there.
    pub(crate) fn text(&self, key: &'static str) -> Option<Spanned<String>> {
        self.get(key)?.text()
    }

    /// Members that mean nothing on one's own machine.
    pub(crate) fn ignore(&self, keys: &[&'static str]) {
        self.known.borrow_mut().extend(keys);
    }

    /// Refuses members that nobody asked for.
    pub(crate) fn finish_strict(self) {
        let mut known = self.known.into_inner();
        known.sort_unstable();
        known.dedup();
        for entry in self.value.entries() {
            if !known.contains(&entry.key.as_str()) {
                let (message, near) = unknown_text(&self.path, entry, &known);
                let hint = near.unwrap_or_else(|| {
                    format!("remove it; there is {}", list(known.iter().copied()))
                });
                self.cx.error(&entry.key_span, message, hint);
            }
        }
    }

    /// Warns of members that nobody asked for.
    pub(crate) fn finish(self) {
        let known = self.known.into_inner();
        for entry in self.value.entries() {
            if !known.contains(&entry.key.as_str()) {
                unknown(self.cx, &self.path, entry, &known);
            }
        }
    }
}

/// How to point at a name that means nothing, and at the one that was probably meant.
fn unknown_text(path: &str, entry: &Entry, known: &[&str]) -> (String, Option<String>) {
    let place = if path.is_empty() {
        "at the top level".to_owned()
    } else {
        format!("in `{path}`")
    };
    let near = nearest(&entry.key, known.iter().copied());
    (
        format!("unknown field `{}` {place}", entry.key),
        near.map(|near| format!("did you mean `{near}`?")),
    )
}

/// Warns of a name that means nothing.
pub(crate) fn unknown(cx: &Cx<'_>, path: &str, entry: &Entry, known: &[&str]) {
    let (message, near) = unknown_text(path, entry, known);
    let hint = near.unwrap_or_else(|| "it is ignored; remove it".to_owned());
    cx.warn(&entry.key_span, message, hint);
}

/// A member of the object at a path.
pub(crate) fn member<'a>(cx: &'a Cx<'a>, path: &str, entry: &'a Entry) -> Field<'a> {
    let path = if path.is_empty() {
        entry.key.clone()
    } else {
        format!("{path}.{}", entry.key)
    };
    Field {
        cx,
        path,
        key_span: entry.key_span.clone(),
        value: &entry.value,
    }
}
