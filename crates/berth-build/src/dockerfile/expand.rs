//! Variables and quotes as a shell would see them: `$name`, `${name:-word}`, `${name#pattern}`, single
//! and double quotes, the escape character; splitting into words.
//!
//! Semantics are those of BuildKit's frontend (`frontend/dockerfile/shell`): modifiers `:-`, `:+`, `:?`,
//! `-`, `+`, `?`, `#`, `##`, `%`, `%%`, `/`, `//`; patterns know `*` and `?`. Nesting is limited, so that
//! no text can exhaust the stack.

mod pattern;

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

use super::Result;
use crate::error::Problem;

/// Deepest `${a:-${b:-…}}`.
const MAX_DEPTH: usize = 64;

/// Where values come from.
pub(crate) trait Variables {
    /// The value of a variable; `None` if it is not set.
    fn get(&self, name: &str) -> Option<&str>;

    /// All that are set, to suggest one.
    fn names(&self) -> Vec<&str> {
        Vec::new()
    }
}

impl Variables for std::collections::BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }

    fn names(&self) -> Vec<&str> {
        self.keys().map(String::as_str).collect()
    }
}

/// No variable is set.
pub(crate) struct NoVariables;

impl Variables for NoVariables {
    fn get(&self, _: &str) -> Option<&str> {
        None
    }
}

/// How a text is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lexer {
    /// The escape character.
    pub(crate) escape: char,
    /// Quotes stay in the result.
    pub(crate) raw_quotes: bool,
    /// Escape characters stay in the result.
    pub(crate) raw_escapes: bool,
    /// Quotes are characters like others.
    pub(crate) ignore_quotes: bool,
    /// A variable that is not set stays as it is written.
    pub(crate) keep_unset: bool,
}

/// What came out.
#[derive(Debug, Default)]
pub(crate) struct Expanded {
    pub(crate) text: String,
    /// The text split at blanks outside quotes; empty quotes make no word.
    pub(crate) words: Vec<String>,
    /// Variables that were used and are set.
    pub(crate) matched: BTreeSet<String>,
    /// Variables that were used and are not set.
    pub(crate) unmatched: BTreeSet<String>,
}

impl Lexer {
    /// Removes quotes and expands variables.
    pub(crate) fn new(escape: char) -> Self {
        Self {
            escape,
            raw_quotes: false,
            raw_escapes: false,
            ignore_quotes: false,
            keep_unset: false,
        }
    }

    /// For the content of a here-document: quotes are characters like others, and the escape character
    /// is always the backslash.
    pub(crate) fn document() -> Self {
        Self {
            ignore_quotes: true,
            ..Self::new('\\')
        }
    }

    /// Reads a text.
    pub(crate) fn process(self, text: &str, variables: &dyn Variables) -> Result<Expanded> {
        let mut reader = Reader {
            characters: text.chars().peekable(),
            lexer: self,
            raw_escapes: self.raw_escapes,
            variables,
            depth: 0,
            expanded: Expanded::default(),
        };
        let (text, words) = reader.until(None, self.raw_escapes)?;
        Ok(Expanded {
            text,
            words,
            ..reader.expanded
        })
    }
}

/// The words of a text so far.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
}

impl Words {
    fn character(&mut self, character: char) {
        if !character.is_whitespace() {
            self.word.push(character);
        } else if !self.word.is_empty() {
            self.done.push(std::mem::take(&mut self.word));
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

struct Reader<'a> {
    characters: Peekable<Chars<'a>>,
    lexer: Lexer,
    raw_escapes: bool,
    variables: &'a dyn Variables,
    depth: usize,
    expanded: Expanded,
}

impl Reader<'_> {
    /// Everything up to `stop`, which is consumed.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<(String, Vec<String>)> {
        if self.depth == MAX_DEPTH {
            return Err(Problem::new("`${…}` is nested too deeply"));
        }
        self.depth += 1;
        let before = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        let result = self.read(stop);
        self.raw_escapes = before;
        self.depth -= 1;
        result
    }

    fn read(&mut self, stop: Option<char>) -> Result<(String, Vec<String>)> {
        let mut result = String::new();
        let mut words = Words::default();
        while let Some(character) = self.characters.next() {
            match character {
                _ if Some(character) == stop => return Ok((result, words.finish())),
                '$' => {
                    let value = self.dollar()?;
                    result.push_str(&value);
                    value.chars().for_each(|c| words.character(c));
                }
                '<' => {
                    let operator = self.possible_heredoc();
                    result.push_str(&operator);
                    words.word.push_str(&operator);
                }
                '\'' | '"' if !self.lexer.ignore_quotes => {
                    let quoted = if character == '"' {
                        self.double()?
                    } else {
                        self.single()?
                    };
                    result.push_str(&quoted);
                    words.word.push_str(&quoted);
                }
                _ if character == self.lexer.escape => {
                    let kept = self.raw_escapes.then_some(character);
                    // At the end of the text it protects nothing.
                    for character in kept.into_iter().chain(self.characters.next()) {
                        result.push(character);
                        words.word.push(character);
                    }
                }
                _ => {
                    result.push(character);
                    words.character(character);
                }
            }
        }
        match stop {
            None => Ok((result, words.finish())),
            Some(stop) => Err(missing(stop)),
        }
    }

    fn single(&mut self) -> Result<String> {
        let mut result = String::new();
        if self.lexer.raw_quotes {
            result.push('\'');
        }
        loop {
            match self.characters.next() {
                Some('\'') => break,
                Some(character) => result.push(character),
                None => return Err(Problem::new("a quote (') is not closed")),
            }
        }
        if self.lexer.raw_quotes {
            result.push('\'');
        }
        Ok(result)
    }

    fn double(&mut self) -> Result<String> {
        let mut result = String::new();
        if self.lexer.raw_quotes {
            result.push('"');
        }
        loop {
            match self.characters.next() {
                None => return Err(Problem::new("a quote (\") is not closed")),
                Some('"') => break,
                Some('$') => result.push_str(&self.dollar()?),
                Some(character) if character == self.lexer.escape => {
                    if self.raw_escapes {
                        result.push(character);
                    }
                    let protects = |next: &char| matches!(next, '"' | '$') || *next == character;
                    match self.characters.next_if(protects) {
                        Some(next) => result.push(next),
                        None if self.characters.peek().is_none() => {}
                        None => result.push(character),
                    }
                }
                Some(character) => result.push(character),
            }
        }
        if self.lexer.raw_quotes {
            result.push('"');
        }
        Ok(result)
    }

    /// After `<`. The blanks between `<<` and its word belong to the word.
    fn possible_heredoc(&mut self) -> String {
        let mut operator = "<".to_owned();
        if self.characters.next_if_eq(&'<').is_some() {
            operator.push('<');
            while let Some(blank) = self
                .characters
                .next_if(|next| matches!(next, ' ' | '\t' | '\r'))
            {
                operator.push(blank);
            }
        }
        operator
    }

    /// After `$`.
    fn dollar(&mut self) -> Result<String> {
        if self.characters.next_if_eq(&'{').is_some() {
            return self.braces();
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        Ok(match self.value(&name) {
            None if self.lexer.keep_unset => format!("${name}"),
            value => value.unwrap_or_default(),
        })
    }

    /// Letters, digits and `_`; or digits alone; or one of the shell's special parameters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        if let Some(special) = self
            .characters
            .next_if(|next| matches!(next, '@' | '*' | '#' | '?' | '-' | '$' | '!'))
        {
            name.push(special);
            return name;
        }
        let only_digits = self
            .characters
            .peek()
            .is_some_and(|first| first.is_numeric());
        let belongs = |next: &char| {
            next.is_numeric() || !only_digits && (next.is_alphabetic() || *next == '_')
        };
        while let Some(character) = self.characters.next_if(belongs) {
            name.push(character);
        }
        name
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = self.variables.get(name).map(str::to_owned);
        let seen = match value {
            Some(_) => &mut self.expanded.matched,
            None => &mut self.expanded.unmatched,
        };
        seen.insert(name.to_owned());
        value
    }

    /// After `${`.
    fn braces(&mut self) -> Result<String> {
        match self.characters.peek() {
            None => return Err(missing('}')),
            Some('{' | '}' | ':') => {
                return Err(Problem::new("a variable in `${…}` has no name"));
            }
            Some(_) => {}
        }
        let name = self.name();
        match self.characters.next() {
            None => Err(missing('}')),
            Some('}') => Ok(match self.value(&name) {
                None if self.lexer.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            Some(':') => match self.characters.next() {
                None => Err(missing('}')),
                Some(operator @ ('-' | '+' | '?')) => self.choice(&name, operator, true),
                Some(other) => Err(unsupported(&name, &format!(":{other}"))),
            },
            Some(operator @ ('-' | '+' | '?')) => self.choice(&name, operator, false),
            Some(operator @ ('#' | '%')) => self.trimmed(&name, operator),
            Some('/') => self.replaced(&name),
            Some(other) => Err(unsupported(&name, &other.to_string())),
        }
    }

    /// `${name-word}`, `${name+word}`, `${name?word}`; with a colon an empty value counts as none.
    fn choice(&mut self, name: &str, operator: char, empty_is_unset: bool) -> Result<String> {
        let (word, _) = self.until(Some('}'), false)?;
        let value = self.value(name);
        if value.is_none() && self.lexer.keep_unset {
            let colon = if empty_is_unset { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{operator}{word}}}"));
        }
        let is_set = value.is_some();
        let value = value.filter(|value| !(empty_is_unset && value.is_empty()));
        match operator {
            '-' => Ok(value.unwrap_or(word)),
            '+' => Ok(value.map(|_| word).unwrap_or_default()),
            _ => value.ok_or_else(|| {
                let problem = match (word.as_str(), is_set) {
                    ("", true) => "it is empty",
                    ("", false) => "it is not set",
                    (message, _) => message,
                };
                Problem::new(format!("`{name}`: {problem}"))
            }),
        }
    }

    fn trimmed(&mut self, name: &str, operator: char) -> Result<String> {
        let (word, _) = self.until(Some('}'), true)?;
        match self.value(name) {
            None if self.lexer.keep_unset => Ok(format!("${{{name}{operator}{word}}}")),
            value => {
                let value = value.unwrap_or_default();
                let longest = word.strip_prefix(operator);
                let pattern = longest.unwrap_or(&word);
                if operator == '#' {
                    pattern::without_prefix(&value, pattern, longest.is_some())
                } else {
                    pattern::without_suffix(&value, pattern, longest.is_some())
                }
            }
        }
    }

    fn replaced(&mut self, name: &str) -> Result<String> {
        let all = self.characters.next_if_eq(&'/').is_some();
        let (pattern, _) = self.until(Some('/'), true)?;
        let (replacement, _) = self.until(Some('}'), true)?;
        match self.value(name) {
            None if self.lexer.keep_unset => Ok(format!("${{{name}/{pattern}/{replacement}}}")),
            value => pattern::replaced(&value.unwrap_or_default(), &pattern, &replacement, all),
        }
    }
}

fn missing(character: char) -> Problem {
    Problem::new(format!("a `{character}` is missing in `${{…}}`"))
}

fn unsupported(name: &str, operator: &str) -> Problem {
    Problem::new(format!("`${{{name}{operator}…}}` is not supported"))
        .hint("`:-`, `:+`, `:?`, `-`, `+`, `?`, `#`, `##`, `%`, `%%`, `/` and `//` are")
}
