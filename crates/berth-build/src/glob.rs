//! Wildcards of `COPY` and `ADD`: `*`, `?`, `[a-z]`, `[^a]`, `\`, as Go's `filepath.Match` knows them.
//!
//! Matching takes at most pattern × text steps.

/// A compiled pattern for one name of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Literal(char),
    /// `?`: one character, not `/`.
    One,
    /// `*`: any characters, not `/`.
    Many,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Glob {
    /// `None` if the pattern is malformed.
    pub(crate) fn new(pattern: &str) -> Option<Self> {
        let mut tokens = Vec::new();
        let mut characters = pattern.chars().peekable();
        while let Some(character) = characters.next() {
            let token = match character {
                '*' => Token::Many,
                '?' => Token::One,
                '[' => class(&mut characters)?,
                '\\' => Token::Literal(characters.next()?),
                _ => Token::Literal(character),
            };
            if token != Token::Many || tokens.last() != Some(&Token::Many) {
                tokens.push(token);
            }
        }
        Some(Self { tokens })
    }

    /// Whether the whole text matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut token, mut at) = (0, 0);
        // Where to go on if what follows the last `*` does not fit.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match (self.tokens.get(token), text.get(at)) {
                (None, None) => return true,
                (Some(Token::Many), _) => {
                    retry = Some((token + 1, at));
                    token += 1;
                    continue;
                }
                (Some(wanted), Some(next)) if wanted.matches(*next) => {
                    token += 1;
                    at += 1;
                    continue;
                }
                _ => {}
            }
            let Some((after, from)) = retry else {
                return false;
            };
            if text.get(from).is_none_or(|next| *next == '/') {
                return false;
            }
            retry = Some((after, from + 1));
            (token, at) = (after, from + 1);
        }
    }
}

impl Token {
    fn matches(&self, next: char) -> bool {
        match self {
            Self::Literal(wanted) => next == *wanted,
            Self::One => next != '/',
            Self::Many => false,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(from, to)| (from..=to).contains(&&next)) != *negated
            }
        }
    }
}

/// Whether a name has wildcards.
pub(crate) fn has_wildcards(name: &str) -> bool {
    let mut characters = name.chars();
    while let Some(character) = characters.next() {
        match character {
            '*' | '?' | '[' => return true,
            '\\' => drop(characters.next()),
            _ => {}
        }
    }
    false
}

/// What follows `[`; `None` if it is malformed.
pub(crate) fn class(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Token> {
    let negated = characters.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    let one = |characters: &mut std::iter::Peekable<std::str::Chars<'_>>| match characters.next()? {
        ']' | '-' => None,
        '\\' => characters.next(),
        character => Some(character),
    };
    loop {
        if !ranges.is_empty() && characters.next_if_eq(&']').is_some() {
            return Some(Token::Class { negated, ranges });
        }
        let from = one(characters)?;
        let to = match characters.next_if_eq(&'-') {
            Some(_) => one(characters)?,
            None => from,
        };
        ranges.push((from, to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_go() {
        for (pattern, name, expected) in [
            ("*.md", "README.md", true),
            ("*.md", "docs/README.md", false),
            ("**", "ab", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("?at", "cat", true),
            ("?at", "/at", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[!a]x", "!x", true),
            ("[\\]]", "]", true),
            ("arr[[]0].txt", "arr[0].txt", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("*", "", true),
        ] {
            let glob = Glob::new(pattern).unwrap();
            assert_eq!(glob.matches(name), expected, "{pattern} {name}");
        }
        for bad in ["[", "[a", "[a-]", "[]a]", "[-a]", "\\"] {
            assert!(Glob::new(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn patterns_made_to_be_slow_are_not() {
        let glob = Glob::new(&"*a".repeat(50)).unwrap();
        assert!(!glob.matches(&("a".repeat(20_000) + "b")));
    }
}
