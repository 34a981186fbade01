//! Patterns of `.dockerignore`, `COPY` and `${name#pattern}`: `*`, `?`, `[a-z]`, `[^a]`, `**`, `\`.
//!
//! The rules are those of Go's `filepath.Match`, plus `**` for any number of directories as in
//! `.dockerignore`. Matching takes at most pattern × text steps.

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// `?`: one character, not `/`.
    One,
    /// `*`: any characters, not `/`.
    Many,
    /// `**`: any characters.
    Deep,
    /// `**/`: nothing, or any characters up to and with a `/`.
    Directories,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Glob {
    /// A pattern over paths. `None` if it is malformed.
    pub(crate) fn path(pattern: &str) -> Option<Self> {
        Self::compile(pattern, true)
    }

    /// A pattern over any text, where `*` and `?` match `/` too. What is malformed stands for itself.
    pub(crate) fn shell(pattern: &str) -> Self {
        Self::compile(pattern, false).unwrap_or_else(|| Self {
            tokens: pattern.chars().map(Token::Literal).collect(),
        })
    }

    fn compile(pattern: &str, path: bool) -> Option<Self> {
        let mut tokens = Vec::new();
        let mut characters = pattern.chars().peekable();
        while let Some(character) = characters.next() {
            tokens.push(match character {
                '*' if characters.next_if_eq(&'*').is_some() => {
                    if path && characters.next_if_eq(&'/').is_some() {
                        Token::Directories
                    } else {
                        Token::Deep
                    }
                }
                '*' if path => Token::Many,
                '*' => Token::Deep,
                '?' if path => Token::One,
                '?' => Token::Class {
                    negated: true,
                    ranges: Vec::new(),
                },
                '[' => class(&mut characters)?,
                '\\' => Token::Literal(characters.next()?),
                _ => Token::Literal(character),
            });
        }
        Some(Self { tokens })
    }

    /// Whether a pattern has anything but literal characters.
    pub(crate) fn is_literal(&self) -> bool {
        self.tokens
            .iter()
            .all(|token| matches!(token, Token::Literal(_)))
    }

    /// Whether the whole text matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        // For each token, whether the rest of the pattern matches the text from each place on;
        // computed from the pattern's end.
        let mut after = vec![false; text.len() + 1];
        after[text.len()] = true;
        for token in self.tokens.iter().rev() {
            after = token.step(&text, &after);
        }
        after[0]
    }
}

impl Token {
    fn step(&self, text: &[char], after: &[bool]) -> Vec<bool> {
        let mut here = vec![false; text.len() + 1];
        for at in (0..=text.len()).rev() {
            let next = text.get(at);
            here[at] = match self {
                Self::Literal(wanted) => next == Some(wanted) && after[at + 1],
                Self::One => next.is_some_and(|c| *c != '/') && after[at + 1],
                Self::Class { negated, ranges } => {
                    next.is_some_and(|c| {
                        ranges.iter().any(|(from, to)| (from..=to).contains(&c)) != *negated
                    }) && after[at + 1]
                }
                Self::Many => after[at] || next.is_some_and(|c| *c != '/') && here[at + 1],
                Self::Deep => after[at] || next.is_some() && here[at + 1],
                Self::Directories => {
                    after[at]
                        || (at..text.len()).any(|slash| text[slash] == '/' && after[slash + 1])
                }
            };
        }
        here
    }
}

fn class(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Token> {
    let negated = characters.next_if(|c| matches!(c, '^' | '!')).is_some();
    let mut ranges = Vec::new();
    loop {
        let from = match characters.next()? {
            ']' if !ranges.is_empty() => return Some(Token::Class { negated, ranges }),
            '\\' => characters.next()?,
            character => character,
        };
        let to = if characters.next_if_eq(&'-').is_some() {
            match characters.next()? {
                '\\' => characters.next()?,
                ']' => return None,
                character => character,
            }
        } else {
            from
        };
        ranges.push((from, to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_as_in_dockerignore() {
        for (pattern, path, expected) in [
            ("*.md", "README.md", true),
            ("*.md", "docs/README.md", false),
            ("**/*.md", "README.md", true),
            ("**/*.md", "a/b/README.md", true),
            ("**", "a/b", true),
            ("a/**", "a/b/c", true),
            ("a/**/c", "a/c", true),
            ("a/**/c", "a/b/x/c", true),
            ("a/**/c", "abc", false),
            ("?at", "cat", true),
            ("?at", "/at", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("node_modules", "node_modules", true),
            ("node_modules", "x/node_modules", false),
        ] {
            assert_eq!(
                Glob::path(pattern).unwrap().matches(path),
                expected,
                "{pattern} {path}"
            );
        }
        for bad in ["[", "[a", "[a-]", "\\"] {
            assert!(Glob::path(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn patterns_made_to_be_slow_are_not() {
        let glob = Glob::path(&"*a".repeat(50)).unwrap();
        assert!(!glob.matches(&"a".repeat(2000).replace("aaaa", "aaa/")));
    }
}
