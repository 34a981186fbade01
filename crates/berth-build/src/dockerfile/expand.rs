//! Variables and quotes in a word, as a shell would see them: `$name`, `${name:-word}`,
//! `${name#pattern}`, single and double quotes, the escape character.

use std::iter::Peekable;
use std::str::Chars;

use super::Result;
use crate::error::Problem;
use crate::glob::Glob;

/// Where values come from.
pub(crate) trait Variables {
    /// The value of a variable; `None` if it is not set.
    fn get(&self, name: &str) -> Option<&str>;
}

impl Variables for std::collections::BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }
}

/// Expands variables and removes quotes.
pub(crate) fn expand(word: &str, escape: char, variables: &dyn Variables) -> Result<String> {
    run(word, escape, variables, true)
}

/// Expands variables; quotes are characters like others (here-documents).
pub(crate) fn expand_text(text: &str, escape: char, variables: &dyn Variables) -> Result<String> {
    run(text, escape, variables, false)
}

fn run(word: &str, escape: char, variables: &dyn Variables, quotes: bool) -> Result<String> {
    let mut expander = Expander {
        characters: word.chars().peekable(),
        escape,
        variables,
        quotes,
    };
    expander.until(None)
}

struct Expander<'a> {
    characters: Peekable<Chars<'a>>,
    escape: char,
    variables: &'a dyn Variables,
    quotes: bool,
}

impl Expander<'_> {
    /// Everything up to `end`, which is consumed.
    fn until(&mut self, end: Option<char>) -> Result<String> {
        let mut result = String::new();
        while let Some(character) = self.characters.next() {
            match character {
                _ if Some(character) == end => return Ok(result),
                '\'' if self.quotes => self.single(&mut result)?,
                '"' if self.quotes => self.double(&mut result)?,
                '$' => self.dollar(&mut result)?,
                _ if character == self.escape => self.escaped(&mut result),
                _ => result.push(character),
            }
        }
        match end {
            None => Ok(result),
            Some(end) => Err(Problem::new(format!("a `{end}` is missing"))),
        }
    }

    fn single(&mut self, result: &mut String) -> Result<()> {
        loop {
            match self.characters.next() {
                Some('\'') => return Ok(()),
                Some(character) => result.push(character),
                None => return Err(Problem::new("a quote (') is not closed")),
            }
        }
    }

    fn double(&mut self, result: &mut String) -> Result<()> {
        loop {
            match self.characters.next() {
                Some('"') => return Ok(()),
                Some('$') => self.dollar(result)?,
                Some(character) if character == self.escape => match self.characters.peek() {
                    Some(next) if matches!(next, '"' | '$') || *next == self.escape => {
                        result.extend(self.characters.next());
                    }
                    _ => result.push(character),
                },
                Some(character) => result.push(character),
                None => return Err(Problem::new("a quote (\") is not closed")),
            }
        }
    }

    /// Outside quotes the escape character goes; in a text it protects `$` and itself only.
    fn escaped(&mut self, result: &mut String) {
        let next = self.characters.peek().copied();
        if !self.quotes && !next.is_some_and(|next| next == '$' || next == self.escape) {
            result.push(self.escape);
            return;
        }
        result.extend(self.characters.next());
    }

    fn dollar(&mut self, result: &mut String) -> Result<()> {
        match self.characters.peek() {
            Some('{') => {
                self.characters.next();
                result.push_str(&self.braces()?);
            }
            Some(character) if character.is_ascii_alphanumeric() || *character == '_' => {
                let name = self.name();
                result.push_str(self.variables.get(&name).unwrap_or_default());
            }
            _ => result.push('$'),
        }
        Ok(())
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(character) = self
            .characters
            .next_if(|character| character.is_ascii_alphanumeric() || *character == '_')
        {
            name.push(character);
        }
        name
    }

    /// `${…}`, after the opening brace.
    fn braces(&mut self) -> Result<String> {
        let name = self.name();
        if name.is_empty() {
            return Err(Problem::new("a variable in `${…}` has no name"));
        }
        let value = self.variables.get(&name).map(str::to_owned);
        let Some(operator) = self.characters.next() else {
            return Err(Problem::new("a `}` is missing"));
        };
        match operator {
            '}' => Ok(value.unwrap_or_default()),
            ':' => {
                let operator = self.characters.next().unwrap_or('}');
                let value = value.filter(|value| !value.is_empty());
                self.default(&name, operator, value)
            }
            '-' | '+' | '?' => self.default(&name, operator, value),
            '#' | '%' => {
                let longest = self.characters.next_if_eq(&operator).is_some();
                let pattern = self.until(Some('}'))?;
                Ok(trim(
                    &value.unwrap_or_default(),
                    &pattern,
                    operator == '#',
                    longest,
                ))
            }
            '/' => {
                let all = self.characters.next_if_eq(&'/').is_some();
                let pattern = self.until_slash()?;
                let replacement = self.until(Some('}'))?;
                Ok(replace(
                    &value.unwrap_or_default(),
                    &pattern,
                    &replacement,
                    all,
                ))
            }
            _ => Err(unsupported(&name, operator)),
        }
    }

    fn default(&mut self, name: &str, operator: char, value: Option<String>) -> Result<String> {
        let word = self.until(Some('}'))?;
        match operator {
            '-' => Ok(value.unwrap_or(word)),
            '+' => Ok(value.map(|_| word).unwrap_or_default()),
            '?' => value.ok_or_else(|| {
                let problem = if word.is_empty() {
                    "it is not set"
                } else {
                    &word
                };
                Problem::new(format!("`{name}`: {problem}"))
            }),
            _ => Err(unsupported(name, operator)),
        }
    }

    /// The pattern of `${name/pattern/replacement}`; without a second slash the replacement is empty.
    fn until_slash(&mut self) -> Result<String> {
        let mut pattern = String::new();
        loop {
            match self.characters.peek() {
                Some('}') => return Ok(pattern),
                Some('/') => {
                    self.characters.next();
                    return Ok(pattern);
                }
                Some('$') => {
                    self.characters.next();
                    self.dollar(&mut pattern)?;
                }
                Some(character) => {
                    // The pattern itself knows the backslash; it also protects the slash.
                    if *character == self.escape {
                        self.characters.next();
                        pattern.push('\\');
                    }
                    pattern.extend(self.characters.next());
                }
                None => return Err(Problem::new("a `}` is missing")),
            }
        }
    }
}

fn unsupported(name: &str, operator: char) -> Problem {
    Problem::new(format!("`${{{name}{operator}…}}` is not supported"))
        .hint("`:-`, `:+`, `:?`, `-`, `+`, `?`, `#`, `##`, `%`, `%%`, `/` and `//` are")
}

/// Removes the shortest or longest match at one end.
fn trim(value: &str, pattern: &str, front: bool, longest: bool) -> String {
    let glob = Glob::shell(pattern);
    let mut cuts: Vec<usize> = value.char_indices().map(|(at, _)| at).collect();
    cuts.push(value.len());
    if front == longest {
        cuts.reverse();
    }
    for cut in cuts {
        let (head, rest) = value.split_at(cut);
        if front && glob.matches(head) {
            return rest.to_owned();
        }
        if !front && glob.matches(rest) {
            return head.to_owned();
        }
    }
    value.to_owned()
}

/// Replaces the first or every longest match.
fn replace(value: &str, pattern: &str, replacement: &str, all: bool) -> String {
    let glob = Glob::shell(pattern);
    let mut result = String::new();
    let mut rest = value;
    while !rest.is_empty() {
        let mut ends: Vec<usize> = rest.char_indices().map(|(at, _)| at).skip(1).collect();
        ends.push(rest.len());
        match ends
            .into_iter()
            .rev()
            .find(|end| glob.matches(&rest[..*end]))
        {
            Some(end) => {
                result.push_str(replacement);
                rest = &rest[end..];
                if !all {
                    break;
                }
            }
            None => {
                let next = rest.chars().next().map_or(rest.len(), char::len_utf8);
                result.push_str(&rest[..next]);
                rest = &rest[next..];
            }
        }
    }
    result + rest
}
