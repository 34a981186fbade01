//! Which names a container's policy allows, and the names everybody has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// A compiled list of allowed names.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    globs: GlobSet,
    /// What is no valid glob is taken literally.
    literal: Vec<String>,
}

impl Names {
    pub(crate) fn new(patterns: &[String]) -> Self {
        let mut globs = GlobSetBuilder::new();
        let mut literal = Vec::new();
        for pattern in patterns {
            let pattern = normal(pattern);
            match GlobBuilder::new(&pattern).backslash_escape(true).build() {
                Ok(glob) => {
                    globs.add(glob);
                }
                Err(_) => literal.push(pattern),
            }
        }
        let globs = globs.build().unwrap_or_else(|error| {
            // Too large to compile: nothing is allowed rather than everything.
            tracing::warn!(%error, "could not compile the allowed host names");
            GlobSet::empty()
        });
        Self { globs, literal }
    }

    /// Whether a [`normal`] name is allowed.
    pub(crate) fn matches(&self, name: &str) -> bool {
        self.globs.is_match(name) || self.literal.iter().any(|literal| literal == name)
    }
}

/// A name as it is compared: lower case, without the final dot.
pub(crate) fn normal(name: &str) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.to_ascii_lowercase()
}

/// Addresses of `localhost` and the names below it (RFC 6761 §6.3).
pub(super) fn localhost(name: &str) -> Option<[IpAddr; 2]> {
    let local = name == "localhost" || name.ends_with(".localhost");
    local.then_some([
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, name: &str) -> bool {
        Names::new(&[pattern.to_owned()]).matches(&normal(name))
    }

    #[test]
    fn globs_span_the_whole_name_without_regard_to_case_or_final_dot() {
        for (pattern, name) in [
            ("*", "anything.at.all"),
            ("*", "com"),
            ("example.com", "EXAMPLE.com."),
            ("Example.COM.", "example.com"),
            ("*.example.com", "a.b.example.com"),
            ("api-?.example.com", "api-1.example.com"),
            ("[ab].example.com", "b.example.com"),
            ("[oops.example.com", "[oops.example.com"),
        ] {
            assert!(allows(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("example.com", "sub.example.com"),
            ("example.com", "example.com.evil.org"),
            ("*.example.com", "example.com"),
            ("*.example.com", "notexample.com"),
            ("[ab].example.com", "c.example.com"),
        ] {
            assert!(!allows(pattern, name), "{pattern} {name}");
        }
        assert!(!Names::new(&[]).matches("example.com"));
    }
}
