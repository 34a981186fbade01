//! Keyword, `--name=value` flags and arguments of an instruction.

use super::Result;
use crate::error::{Problem, nearest};

/// A logical line, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// As written.
    pub(super) keyword: String,
    /// With their dashes, quotes removed.
    pub(super) flags: Vec<String>,
    /// Without blanks around it.
    pub(super) rest: String,
}

impl Head {
    pub(super) fn new(line: &str, escape: char) -> Result<Self> {
        let line = line.trim();
        let (keyword, rest) = match line.find(is_blank) {
            Some(end) => (&line[..end], line[end..].trim_start_matches(is_blank)),
            None => (line, ""),
        };
        let (flags, rest) = split_flags(rest, escape);
        Ok(Self {
            keyword: keyword.to_owned(),
            flags,
            rest: rest.trim().to_owned(),
        })
    }
}

/// What separates words in most places of the language.
pub(super) fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\u{b}' | '\u{c}' | '\r')
}

/// The flags in front of the arguments. `--` alone ends them.
fn split_flags(line: &str, escape: char) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = line.trim_start();
    while rest.starts_with("--") {
        let (word, after) = flag(rest, escape);
        rest = after.trim_start();
        if word == "--" {
            break;
        }
        flags.push(word);
    }
    (flags, rest)
}

/// One word; quotes and the escape character go, and keep blanks inside it.
fn flag(text: &str, escape: char) -> (String, &str) {
    let mut word = String::new();
    let mut quote = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (None, _) if character.is_whitespace() => return (word, &text[at..]),
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ if character == escape => word.extend(characters.next().map(|(_, next)| next)),
            _ => word.push(character),
        }
    }
    (word, "")
}

/// The flags of one instruction, in order, each with its value if it has one.
#[derive(Debug)]
pub(super) struct Flags(Vec<(String, Option<String>)>);

impl Flags {
    /// Only known ones are accepted. Those that may be repeated end with `*` in `known`.
    pub(super) fn new(head: &Head, known: &[&str]) -> Result<Self> {
        let instruction = head.keyword.to_ascii_uppercase();
        let names: Vec<&str> = known
            .iter()
            .map(|name| name.trim_end_matches('*'))
            .collect();
        let mut flags: Vec<(String, Option<String>)> = Vec::new();
        for flag in &head.flags {
            let flag = flag.trim_start_matches("--");
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let Some(at) = names.iter().position(|known| *known == name) else {
                return Err(unknown(name, &instruction, &names));
            };
            let repeated = flags.iter().any(|(known, _)| known == name);
            if repeated && !known[at].ends_with('*') {
                return Err(Problem::new(format!("`--{name}` is given more than once")));
            }
            flags.push((name.to_owned(), value));
        }
        Ok(Self(flags))
    }

    /// The value of a flag that may be given once.
    pub(super) fn one(&self, name: &str) -> Result<Option<String>> {
        Ok(self.all(name)?.pop())
    }

    /// The values of a flag.
    pub(super) fn all(&self, name: &str) -> Result<Vec<String>> {
        let values = self.0.iter().filter(|(flag, _)| flag == name);
        values
            .map(|(_, value)| {
                let missing = || Problem::new(format!("`--{name}` has no value"));
                value.clone().ok_or_else(missing)
            })
            .collect()
    }

    /// A flag that is there or not (`--link`, `--link=false`); `None` if it is not there.
    pub(super) fn switch(&self, name: &str) -> Result<Option<bool>> {
        let Some((_, value)) = self.0.iter().find(|(flag, _)| flag == name) else {
            return Ok(None);
        };
        match value.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            _ => Err(Problem::new(format!("`--{name}` is true or false"))),
        }
    }
}

fn unknown(name: &str, instruction: &str, known: &[&str]) -> Problem {
    let problem = Problem::new(format!("{instruction} has no flag `--{name}`"));
    if known.is_empty() {
        return problem.hint(format!("{instruction} takes no flags"));
    }
    match nearest(name, known) {
        Some(near) => problem.hint(format!("did you mean `--{near}`?")),
        None => problem.hint(format!("it has --{}", known.join(", --"))),
    }
}
