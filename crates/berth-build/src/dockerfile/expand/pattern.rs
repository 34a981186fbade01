//! Patterns of `${name#pattern}`, `${name%pattern}` and `${name/pattern/replacement}`: `*`, `?` and the
//! backslash, over any text but newlines.

use regex::Regex;

use crate::dockerfile::Result;
use crate::error::Problem;

/// The value without the shortest or longest match at its beginning.
pub(super) fn without_prefix(value: &str, pattern: &str, longest: bool) -> Result<String> {
    let found = compile(pattern, longest, true)?.find(value);
    Ok(found
        .map_or(value, |found| &value[found.end()..])
        .to_owned())
}

/// The value without the shortest or longest match at its end. Both are reversed, because a regular
/// expression finds the leftmost match.
pub(super) fn without_suffix(value: &str, pattern: &str, longest: bool) -> Result<String> {
    let rest = without_prefix(&reversed(value), &reversed_pattern(pattern), longest)?;
    Ok(reversed(&rest))
}

/// The value with the first or every longest match replaced.
pub(super) fn replaced(value: &str, pattern: &str, replacement: &str, all: bool) -> Result<String> {
    let expression = compile(pattern, true, false)?;
    let limit = usize::from(!all);
    let literal = regex::NoExpand(replacement);
    Ok(expression.replacen(value, limit, literal).into_owned())
}

fn compile(pattern: &str, greedy: bool, anchored: bool) -> Result<Regex> {
    let mut expression = String::from(if anchored { "^" } else { "" });
    let malformed = || Problem::new(format!("the pattern `{pattern}` is malformed"));
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '*' => expression.push_str(if greedy { ".*" } else { ".*?" }),
            '?' => expression.push('.'),
            // These two end a part of `${…}`, so they are escaped there; it means nothing here.
            '\\' if matches!(characters.peek(), Some('}' | '/')) => {}
            '\\' => match characters.next() {
                Some(next @ ('*' | '?' | '\\')) => expression.push_str(&escaped(next)),
                _ => {
                    return Err(malformed()
                        .hint("a backslash may stand before `*`, `?`, `\\`, `}` and `/`"));
                }
            },
            _ => expression.push_str(&escaped(character)),
        }
    }
    Regex::new(&expression).map_err(|_| malformed())
}

fn escaped(character: char) -> String {
    regex::escape(character.encode_utf8(&mut [0; 4]))
}

fn reversed(text: &str) -> String {
    text.chars().rev().collect()
}

/// The pattern from its end, escapes kept before what they protect.
fn reversed_pattern(pattern: &str) -> String {
    let mut parts = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        let mut part = character.to_string();
        if character == '\\' {
            part.extend(characters.next());
        }
        parts.push(part);
    }
    parts.into_iter().rev().collect()
}
