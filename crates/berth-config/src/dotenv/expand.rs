//! References between the variables of `.env` files, as npm's `dotenv-expand` resolves them, but in
//! one pass: what a reference brings in is not looked at again. (dotenv-expand 12.0 does, and so
//! expands an escaped `\$` after all, or never ends.)

use std::collections::BTreeMap;

/// Defaults inside defaults inside defaults: beyond this the text is kept as it is.
const DEPTH: usize = 32;

/// A value with `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:+other}` and
/// `${NAME+other}` replaced; `\$` is a plain `$`. Unknown and empty names become the default, or
/// nothing. `known` holds values that are expanded already, so nothing refers to itself.
pub(crate) fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    expand_to(text, known, DEPTH)
}

fn expand_to(text: &str, known: &BTreeMap<String, String>, depth: usize) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['$', '\\']) {
        result.push_str(rest.get(..at).unwrap_or_default());
        let tail = rest.get(at..).unwrap_or_default();
        if let Some(after) = tail.strip_prefix("\\$") {
            result.push('$');
            rest = after;
        } else if let Some((value, after)) = reference(tail, known, depth) {
            result.push_str(&value);
            rest = after;
        } else {
            let (first, after) = tail.split_at(1);
            result.push_str(first);
            rest = after;
        }
    }
    result.push_str(rest);
    result
}

/// The value of the reference that `text` begins with, and what follows it.
fn reference<'a>(
    text: &'a str,
    known: &BTreeMap<String, String>,
    depth: usize,
) -> Option<(String, &'a str)> {
    let after = text.strip_prefix('$')?;
    let lookup = |name: &str| known.get(name).filter(|value| !value.is_empty());
    let Some(braced) = after.strip_prefix('{') else {
        let end = after
            .find(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
            .unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        return Some((lookup(name).cloned().unwrap_or_default(), after));
    };
    let end = closing_brace(braced)?;
    let depth = depth.checked_sub(1)?;
    let expression = braced.get(..end).filter(|inner| !inner.is_empty())?;
    let after = braced.get(end + 1..).unwrap_or_default();
    let (name, operator, word) = split(expression);
    let value = match (operator, lookup(name)) {
        ('+', Some(_)) | ('-', None) => expand_to(word, known, depth),
        ('+', None) => String::new(),
        (_, Some(value)) => value.clone(),
        (_, None) => String::new(),
    };
    Some((value, after))
}

/// `NAME:-word` → its parts; the operator is `-`, `+`, or a space if there is none.
fn split(expression: &str) -> (&str, char, &str) {
    let Some(at) = expression.find(['-', '+']) else {
        return (expression, ' ', "");
    };
    let operator = if expression.get(at..).is_some_and(|it| it.starts_with('+')) {
        '+'
    } else {
        '-'
    };
    let name = expression.get(..at).unwrap_or_default();
    let name = name.strip_suffix(':').unwrap_or(name);
    (name, operator, expression.get(at + 1..).unwrap_or_default())
}

/// The brace that closes the one in front of `text`.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' if open == 0 => return Some(index),
            b'}' => open -= 1,
            _ => {}
        }
    }
    None
}
