//! `.dockerignore`: the last pattern that matches a path, or a directory above it, decides.
//!
//! Matching is that of Docker's own library (moby/patternmatcher): patterns are cleaned paths, `**`
//! crosses directories, `!` takes back, and what a directory's patterns said holds for what is in it.
//!
//! That library comes to two results where patterns take back: by the path alone, and by walking from the
//! top, when a pattern is not looked at for a directory that is excluded already. Docker walks, and then
//! sends no content of a file that is excluded by its path, so that an empty file is left. Here such a
//! file is left out: nothing that Docker would have kept back comes along.

use regex::Regex;

use crate::dockerfile::Result;
use crate::error::Problem;
use crate::glob::{self, Glob, Token};

/// The patterns, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    /// Cleaned, without `!`.
    text: String,
    matcher: Matcher,
    /// `!`: what matches is not excluded after all.
    keep: bool,
}

/// How a pattern is compared with a path. The simple forms are not only faster, they are defined apart.
#[derive(Clone, Debug)]
enum Matcher {
    Exact,
    /// `text**`.
    Prefix(String),
    /// `**text`; `**/text` also means `text` at the top.
    Suffix(String),
    Expression(Regex),
}

/// What a directory's patterns said, for what is in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Above(Option<Vec<bool>>);

impl Ignore {
    /// Reads a `.dockerignore`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let trimmed = line.trim();
            if line.starts_with('#') || trimmed.is_empty() {
                continue;
            }
            let (keep, path) = match trimmed.strip_prefix('!') {
                Some(path) => (true, path.trim()),
                None => (false, trimmed),
            };
            let cleaned = clean(path);
            let relative = match cleaned.strip_prefix('/') {
                Some(rest) if !rest.is_empty() => rest,
                _ => &cleaned,
            };
            let pattern = if path.is_empty() { "" } else { relative };
            patterns
                .push(Pattern::new(pattern, keep).map_err(|problem| problem.at(number + 1, line))?);
        }
        Ok(Self { patterns })
    }

    /// The patterns of `--exclude`, or those that `--parents` includes.
    pub(crate) fn from_patterns(lines: &[String]) -> Result<Self> {
        let mut patterns = Vec::new();
        for line in lines {
            let trimmed = line.trim();
            if trimmed.is_empty() {
                continue;
            }
            let cleaned = clean(trimmed);
            let (keep, pattern) = match cleaned.strip_prefix('!') {
                Some(pattern) => (true, pattern),
                None => (false, cleaned.as_str()),
            };
            patterns.push(Pattern::new(pattern, keep)?);
        }
        Ok(Self { patterns })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether there is a `!`.
    pub(crate) fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.keep)
    }

    /// Whether everything at the top is excluded.
    pub(crate) fn excludes_everything(&self) -> bool {
        let all = |pattern: &Pattern| matches!(pattern.text.as_str(), "*" | "**" | "**/*");
        self.patterns
            .iter()
            .any(|pattern| !pattern.keep && all(pattern))
    }

    /// Whether a path (relative, with `/`) is excluded, by itself.
    pub(crate) fn excludes(&self, path: &str) -> bool {
        self.excludes_below(path, &Above::default()).0
    }

    /// Whether a file that a walk has come to is excluded all the same, by its path alone.
    pub(crate) fn keeps_back(&self, path: &str) -> bool {
        self.has_exceptions() && self.excludes(path)
    }

    /// Whether a path is excluded where what the directory above said is known; and what this path says for those
    /// below it.
    pub(crate) fn excludes_below(&self, path: &str, above: &Above) -> (bool, Above) {
        let mut excluded = false;
        let mut said = vec![false; self.patterns.len()];
        for (index, pattern) in self.patterns.iter().enumerate() {
            let mut matches = above.0.as_ref().is_some_and(|above| above[index]);
            if !matches {
                if pattern.keep != excluded {
                    continue;
                }
                matches = pattern.matches(path);
                if !matches && above.0.is_none() {
                    let mut ends = path.match_indices('/').map(|(at, _)| at);
                    matches = ends.any(|end| pattern.matches(&path[..end]));
                }
            }
            said[index] = matches;
            if matches {
                excluded = !pattern.keep;
            }
        }
        (excluded, Above(Some(said)))
    }

    /// What the directories of a path say together.
    pub(crate) fn above(&self, directory: &str) -> Above {
        if directory.is_empty() {
            return Above::default();
        }
        let ends = directory.match_indices('/').map(|(at, _)| at);
        let mut above = Above::default();
        for end in ends.chain([directory.len()]) {
            above = self.excludes_below(&directory[..end], &above).1;
        }
        above
    }

    /// Whether something below an excluded directory may be kept, so that it must be walked.
    pub(crate) fn may_keep_below(&self, directory: &str) -> bool {
        let mut exceptions = self.patterns.iter().filter(|pattern| pattern.keep);
        exceptions.any(|pattern| pattern.may_match_below(directory))
    }

    /// Whether something below a directory that does not match may match.
    pub(crate) fn may_match_below(&self, directory: &str) -> bool {
        let mut all = self.patterns.iter();
        all.any(|pattern| pattern.may_match_below(directory))
    }
}

impl Pattern {
    fn new(text: &str, keep: bool) -> Result<Self> {
        if text.is_empty() {
            return Err(Problem::new("`!` alone keeps nothing"));
        }
        let matcher = matcher(text)
            .ok_or_else(|| Problem::new("the pattern is malformed").hint("a `[` needs its `]`"))?;
        Ok(Self {
            text: text.to_owned(),
            matcher,
            keep,
        })
    }

    fn matches(&self, path: &str) -> bool {
        match &self.matcher {
            Matcher::Exact => path == self.text,
            Matcher::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Matcher::Suffix(suffix) => {
                path.ends_with(suffix.as_str()) || suffix.strip_prefix('/') == Some(path)
            }
            Matcher::Expression(expression) => expression.is_match(path),
        }
    }

    /// Patterns with wildcards before their end may match anywhere.
    fn may_match_below(&self, directory: &str) -> bool {
        let text = self.text.strip_suffix("/**").unwrap_or(&self.text);
        let text = text.strip_suffix("/*").unwrap_or(text);
        if text.contains(['*', '[', ']', '?', '^', '\\']) {
            return true;
        }
        let Some(rest) = text.strip_prefix(directory) else {
            return false;
        };
        rest.is_empty() || rest.starts_with('/')
    }
}

/// `None` if the pattern is malformed.
fn matcher(text: &str) -> Option<Matcher> {
    Glob::new(text)?;
    let mut expression = "^".to_owned();
    let mut simple = Some(Matcher::Exact);
    let mut characters = text.chars().peekable();
    let mut first = true;
    while let Some(character) = characters.next() {
        match character {
            '*' if characters.next_if_eq(&'*').is_some() => {
                characters.next_if_eq(&'/');
                if characters.peek().is_some() {
                    expression.push_str("(?:.*/)?");
                    simple = None;
                } else if matches!(simple, Some(Matcher::Exact)) {
                    simple = Some(Matcher::Prefix(
                        text.strip_suffix("**").unwrap_or(text).to_owned(),
                    ));
                } else {
                    expression.push_str(".*");
                    simple = None;
                }
                if first {
                    simple = Some(Matcher::Suffix(text[2..].to_owned()));
                }
            }
            '*' => {
                expression.push_str("[^/]*");
                simple = None;
            }
            '?' => {
                expression.push_str("[^/]");
                simple = None;
            }
            '[' => {
                push_class(&mut expression, &glob::class(&mut characters)?)?;
                simple = None;
            }
            '\\' => {
                push_literal(&mut expression, characters.next()?);
                simple = None;
            }
            _ => push_literal(&mut expression, character),
        }
        first = false;
    }
    match simple {
        Some(simple) => Some(simple),
        None => Regex::new(&format!("(?s){expression}$"))
            .ok()
            .map(Matcher::Expression),
    }
}

fn push_literal(expression: &mut String, character: char) {
    expression.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
}

fn push_class(expression: &mut String, class: &Token) -> Option<()> {
    let Token::Class { negated, ranges } = class else {
        return None;
    };
    expression.push_str(if *negated { "[^" } else { "[" });
    for (from, to) in ranges {
        if from > to {
            return None;
        }
        let (from, to) = (u32::from(*from), u32::from(*to));
        expression.push_str(&format!("\\x{{{from:x}}}-\\x{{{to:x}}}"));
    }
    expression.push(']');
    Some(())
}

/// Go's `path.Clean`: without empty and `.` components, `..` resolved as far as it can be.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            _ => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

#[cfg(test)]
mod tests;
