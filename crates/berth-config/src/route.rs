//! Route patterns as wrangler has them: `example.com/*`, `*.example.com/api/*`.
//!
//! Rules (Cloudflare's documentation of route matching): no scheme or `http(s)://`, which then has to
//! be the request's; a `*` may begin the host, and end the path; anywhere else it is refused. The
//! query is not looked at. `*.example.com` does not match `example.com`, `*example.com` does.

use std::str::FromStr;

use berth_error::Hint;

/// A pattern of host and path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePattern {
    /// Lower-case; what follows a `*`, or all of it.
    host: String,
    any_host_before: bool,
    path: String,
    any_path_after: bool,
}

/// Why a text is no pattern.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RoutePatternError {
    /// There is nothing before the path.
    #[error("the route pattern `{0}` has no host")]
    NoHost(String),
    /// A `*` in the middle.
    #[error("the route pattern `{0}` has a `*` elsewhere than at its beginning or its end")]
    Wildcard(String),
    /// A query.
    #[error("the route pattern `{0}` has a query")]
    Query(String),
    /// Another scheme than HTTP's, or a port.
    #[error("the route pattern `{0}` has a scheme or a port, which routes do not look at")]
    Scheme(String),
}

impl Hint for RoutePatternError {
    fn hint(&self) -> Option<String> {
        Some("write it like `example.com/*` or `*.example.com/api/*`".to_owned())
    }
}

impl FromStr for RoutePattern {
    type Err = RoutePatternError;

    fn from_str(text: &str) -> Result<Self, RoutePatternError> {
        let own = || text.to_owned();
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .unwrap_or(text);
        if rest.contains("://") {
            return Err(RoutePatternError::Scheme(own()));
        }
        if rest.contains(['?', '#']) {
            return Err(RoutePatternError::Query(own()));
        }
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let (any_host_before, host) = match host.strip_prefix('*') {
            Some(host) => (true, host),
            None => (false, host),
        };
        let (any_path_after, path) = match path.strip_suffix('*') {
            Some(path) => (true, path),
            None => (false, path),
        };
        if host.contains('*') || path.contains('*') {
            return Err(RoutePatternError::Wildcard(own()));
        }
        if host.contains(':') {
            return Err(RoutePatternError::Scheme(own()));
        }
        if host.is_empty() && !any_host_before {
            return Err(RoutePatternError::NoHost(own()));
        }
        Ok(Self {
            host: host.to_ascii_lowercase(),
            any_host_before,
            path: path.to_owned(),
            any_path_after,
        })
    }
}

impl RoutePattern {
    /// The host, if it is one and not any that ends like this.
    pub fn exact_host(&self) -> Option<&str> {
        (!self.any_host_before).then_some(&self.host)
    }

    /// The host without its `*`, and the dot behind that.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('.')
    }

    /// Whether a request for this host (lower-case, no port) and path (no query) is meant.
    pub fn matches(&self, host: &str, path: &str) -> bool {
        let path = path.split('?').next().unwrap_or(path);
        let host = if self.any_host_before {
            host.ends_with(&self.host)
        } else {
            host == self.host
        };
        host && if self.any_path_after {
            path.starts_with(&self.path)
        } else {
            path == self.path
        }
    }

    /// The greater wins: a whole host before one with a `*`, then the longer host, then the longer
    /// path.
    pub fn specificity(&self) -> (bool, usize, usize, bool) {
        (
            !self.any_host_before,
            self.host.len(),
            self.path.len(),
            !self.any_path_after,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, host: &str, path: &str) -> bool {
        pattern.parse::<RoutePattern>().unwrap().matches(host, path)
    }

    #[test]
    fn patterns_match_as_cloudflares_do() {
        for (pattern, host, path, expected) in [
            ("example.com/*", "example.com", "/any", true),
            ("example.com/*", "www.example.com", "/any", false),
            ("*.example.com/*", "www.example.com", "/", true),
            ("*.example.com/*", "example.com", "/", false),
            ("*example.com/*", "example.com", "/", true),
            ("*example.com/*", "myexample.com", "/", true),
            ("example.com", "example.com", "/", true),
            ("example.com", "example.com", "/a", false),
            ("example.com/a", "example.com", "/a?b=c", true),
            ("example.com/a", "example.com", "/a/", false),
            ("https://example.com/a*", "example.com", "/abc", true),
            ("*/api/*", "anything", "/api/x", true),
            ("EXAMPLE.com/*", "example.com", "/", true),
        ] {
            assert_eq!(
                matches(pattern, host, path),
                expected,
                "{pattern} {host}{path}"
            );
        }
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        for (pattern, message) in [
            ("", "has no host"),
            ("/path", "has no host"),
            ("a.*.com/", "has a `*` elsewhere"),
            ("example.com/*/x", "has a `*` elsewhere"),
            ("example.com/a?b", "has a query"),
            ("ftp://example.com/", "has a scheme"),
            ("example.com:8080/*", "has a scheme or a port"),
        ] {
            let error = pattern.parse::<RoutePattern>().unwrap_err();
            assert!(error.to_string().contains(message), "{pattern}: {error}");
        }
    }
}
