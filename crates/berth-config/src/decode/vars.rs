//! `vars` and `secrets`.

use indexmap::IndexMap;

use super::field::Spanned;
use super::root::Root;
use crate::source::Span;
use crate::value::{Kind, Value};

/// The variables of the file, each with the place of its name.
pub(crate) fn vars(root: &Root<'_>) -> IndexMap<String, (serde_json::Value, Span)> {
    let Some(field) = root.get("vars") else {
        return IndexMap::new();
    };
    let mut vars = IndexMap::new();
    for (entry, member) in field.members() {
        if let Some(date) = date_in(member.value) {
            field.cx.error(
                &member.value.span,
                format!("`{}` holds a date, which variables cannot", member.path),
                format!("put it in double quotes: `\"{date}\"`"),
            );
        }
        vars.insert(
            entry.key.clone(),
            (member.value.to_json(), entry.key_span.clone()),
        );
    }
    vars
}

fn date_in(value: &Value) -> Option<&str> {
    match &value.kind {
        Kind::Date(date) => Some(date),
        Kind::Array(items) => items.iter().find_map(date_in),
        Kind::Object(entries) => entries.iter().find_map(|entry| date_in(&entry.value)),
        _ => None,
    }
}

/// `secrets.required`; `None`: every secret of the secret files is wanted.
pub(crate) fn required_secrets(root: &Root<'_>) -> Option<Vec<Spanned<String>>> {
    let fields = root.get("secrets")?.fields()?;
    let required = fields
        .get("required")
        .map(|field| field.strings())
        .unwrap_or_default();
    fields.finish();
    Some(required)
}
