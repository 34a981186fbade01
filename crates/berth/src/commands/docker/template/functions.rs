//! The functions of templates.

use serde_json::Value;

use super::{TemplateError, print, truth};

/// The names there are, for the parser.
pub(super) const NAMES: [&str; 9] = [
    "json", "len", "index", "join", "lower", "upper", "eq", "ne", "not",
];

/// Calls a function.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, TemplateError> {
    let wrong = || {
        let arguments: Vec<_> = arguments.iter().map(Value::to_string).collect();
        TemplateError::Evaluation(format!(
            "{name} cannot be called with ({})",
            arguments.join(", ")
        ))
    };
    match (name, arguments) {
        ("json", [value]) => Ok(value.to_string().into()),
        ("len", [value]) => length(value).map(Value::from).ok_or_else(wrong),
        ("index", [value, keys @ ..]) => keys
            .iter()
            .try_fold(value, |value, key| element(value, key))
            .cloned()
            .ok_or_else(wrong),
        ("join", [Value::Array(items), Value::String(separator)]) => {
            let texts: Vec<String> = items.iter().map(printed).collect();
            Ok(texts.join(separator).into())
        }
        ("lower", [Value::String(text)]) => Ok(text.to_lowercase().into()),
        ("upper", [Value::String(text)]) => Ok(text.to_uppercase().into()),
        ("eq", [first, others @ ..]) if !others.is_empty() => Ok(others.contains(first).into()),
        ("ne", [first, second]) => Ok((first != second).into()),
        ("not", [value]) => Ok((!truth(value)).into()),
        _ => Err(wrong()),
    }
}

fn length(value: &Value) -> Option<usize> {
    match value {
        // An absent list or map is empty in Go.
        Value::Null => Some(0),
        Value::String(text) => Some(text.len()),
        Value::Array(items) => Some(items.len()),
        Value::Object(fields) => Some(fields.len()),
        Value::Bool(_) | Value::Number(_) => None,
    }
}

fn element<'v>(value: &'v Value, key: &Value) -> Option<&'v Value> {
    match (value, key) {
        (Value::Array(items), Value::Number(index)) => {
            items.get(usize::try_from(index.as_u64()?).ok()?)
        }
        (Value::Object(fields), Value::String(key)) => {
            Some(fields.get(key).unwrap_or(&Value::Null))
        }
        _ => None,
    }
}

fn printed(value: &Value) -> String {
    let mut text = String::new();
    print(value, &mut text);
    text
}
