//! Splitting the arguments of an instruction: words with quotes, `name=value` pairs, JSON lists.

use super::Result;
use crate::error::Problem;

/// Words separated by blanks; quotes and escapes keep blanks inside a word and stay in it.
pub(super) fn words(text: &str, escape: char) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, ' ' | '\t') => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            // In single quotes the escape character is one like others.
            (None | Some('"'), _) if character == escape => {
                word.push(character);
                word.extend(characters.next());
                continue;
            }
            _ => {}
        }
        word.push(character);
    }
    if let Some(quote) = quote {
        return Err(Problem::new(format!("a quote ({quote}) is not closed")));
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

/// `name=value …`, or the old form `name the rest` if that is allowed.
pub(super) fn pairs(text: &str, escape: char, old_form: bool) -> Result<Vec<(String, String)>> {
    let words = words(text, escape)?;
    let Some(first) = words.first() else {
        return Err(Problem::new("it needs at least one `name=value`"));
    };
    if old_form && !first.contains('=') {
        let (name, value) = text.split_once([' ', '\t']).ok_or_else(|| {
            Problem::new(format!("`{first}` has no value")).hint(format!("write `{first}=value`"))
        })?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some(("", _)) => Err(Problem::new(format!("`{word}` has no name"))),
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(Problem::new(format!("`{word}` is no `name=value`"))
                .hint("put values with blanks in quotes")),
        })
        .collect()
}

/// A JSON list of strings, if the text is one.
pub(super) fn json_list(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    if !text.starts_with('[') {
        return None;
    }
    serde_json::from_str(text).ok()
}
