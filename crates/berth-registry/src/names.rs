//! Names that come out of request paths: repositories, tags, references.
//!
//! Invariant: whatever is held here matched the grammar of the distribution specification, so it is
//! safe as a part of a storage key: no empty part, no `..`, nothing that begins with `_` (the keys of
//! the storage do), no byte outside the grammar.

use std::fmt;

use crate::digest::Digest;

/// Longest repository name: what Docker accepts, and a file name's limit.
const MAX_NAME: usize = 255;
/// Longest tag, by the specification.
const MAX_TAG: usize = 128;

/// `team/app`: lower-case parts joined by slashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(String);

impl RepositoryName {
    /// The name, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.len() <= MAX_NAME && text.split('/').all(is_component);
        fits.then(|| Self(text.to_owned()))
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Letters and digits, joined by `.`, `_`, `__` or dashes.
fn is_component(component: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    plain(*first)
        && plain(*last)
        && component
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|run| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-'))
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// The tag, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = text.bytes();
        let first = bytes.next()?;
        let fits = text.len() <= MAX_TAG
            && (first.is_ascii_alphanumeric() || first == b'_')
            && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        fits.then(|| Self(text.to_owned()))
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What stands after `/manifests/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A tag.
    Tag(Tag),
    /// A digest.
    Digest(Digest),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_names_follow_the_grammar() {
        for good in [
            "a",
            "a/b",
            "a-b",
            "a--b",
            "a__b",
            "a.b_c/d0",
            "0",
            &"a".repeat(255),
        ] {
            assert!(RepositoryName::parse(good).is_some(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "", "/", "a/", "/a", "a//b", "A", "a/B", "..", "a/..", "a/../b", ".a", "a.", "_a",
            "a_", "-a", "a-", "a..b", "a___b", "a._b", "a b", "a\0", "ä", "a%2fb", "_uploads",
            &long,
        ] {
            assert!(RepositoryName::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn tags_follow_the_grammar() {
        for good in ["latest", "1.0", "_x", "A-b.c", &"x".repeat(128)] {
            assert!(Tag::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            ".x",
            "-x",
            "a/b",
            "..",
            "a:b",
            "a b",
            "ä",
            &"x".repeat(129),
        ] {
            assert!(Tag::parse(bad).is_none(), "{bad:?}");
        }
    }
}
