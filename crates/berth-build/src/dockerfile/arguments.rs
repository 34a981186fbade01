//! Splitting the arguments of an instruction: words with quotes, `name=value` pairs, JSON lists.

use serde_json::Value;

use super::Result;
use super::flags::is_blank;
use crate::error::Problem;

/// Words separated by blanks; quotes and escapes keep blanks inside a word and stay in it. A quote
/// that is not closed ends with the text.
pub(super) fn words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, _) if character.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            // In single quotes the escape character is one like others.
            (None | Some('"'), _) if character == escape => {
                // At the end of the text it protects nothing.
                if let Some(next) = characters.next() {
                    word.extend([character, next]);
                }
                continue;
            }
            _ => {}
        }
        word.push(character);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Words separated by blanks, whatever quotes say.
pub(super) fn plain_words(text: &str) -> Vec<String> {
    let words = text.split(is_blank).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// `name=value` pairs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pairs {
    pub(super) pairs: Vec<(String, String)>,
    /// Written as `name value`.
    pub(super) old_form: bool,
}

/// `name=value …`, or the old form `name the rest`.
pub(super) fn pairs(text: &str, escape: char, keyword: &str) -> Result<Pairs> {
    let words = words(text, escape);
    let Some(first) = words.first() else {
        return Err(Problem::new("it needs at least one `name=value`"));
    };
    if !first.contains('=') {
        let (name, value) = text.split_once(is_blank).ok_or_else(|| {
            Problem::new(format!("`{first}` has no value"))
                .hint(format!("write `{keyword} {first}=value`"))
        })?;
        let value = value.trim_start_matches(is_blank).to_owned();
        return Ok(Pairs {
            pairs: vec![(name.to_owned(), value)],
            old_form: true,
        });
    }
    let pairs = words
        .iter()
        .map(|word| match word.split_once('=') {
            Some(("", _)) => Err(Problem::new(format!("`{word}` has no name"))),
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(Problem::new(format!("`{word}` is no `name=value`"))
                .hint("put values with blanks in quotes")),
        })
        .collect::<Result<_>>()?;
    Ok(Pairs {
        pairs,
        old_form: false,
    })
}

/// A JSON list of strings, if the text is a JSON list. A list of anything else is a mistake; what is
/// no JSON is something else.
pub(super) fn json_list(text: &str) -> Result<Option<Vec<String>>> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(list) = serde_json::from_str::<Vec<Value>>(text) else {
        return Ok(None);
    };
    list.into_iter()
        .map(|item| match item {
            Value::String(text) => Ok(text),
            other => Err(
                Problem::new(format!("the list holds `{other}`, which is no text"))
                    .hint("everything in the list needs double quotes"),
            ),
        })
        .collect::<Result<_>>()
        .map(Some)
}
