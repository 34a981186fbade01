//! Paths and query strings as Docker clients write them.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::error::ApiError;

/// Decoded query parameters, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses `a=b&c`; invalid UTF-8 is replaced.
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (!key.is_empty()).then(|| (decode_query(key), decode_query(value)))
        });
        Self(pairs.collect())
    }

    /// The first value of a parameter, unless it is empty.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(name, _)| name == key)?;
        (!value.is_empty()).then_some(value)
    }

    /// A boolean as Docker reads it: workerd says `true`, the docker command `1`.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| {
            let value = value.trim().to_ascii_lowercase();
            !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
        })
    }

    /// A number; anything else is a bad request.
    pub(crate) fn number<N: std::str::FromStr>(&self, key: &str) -> Result<Option<N>, ApiError> {
        self.get(key)
            .map(|value| {
                value.parse().map_err(|_| {
                    ApiError::bad_request(format!("the parameter {key}={value} is not a number"))
                })
            })
            .transpose()
    }
}

/// The decoded segments of a path without its `/v1.xx` prefix.
pub(crate) fn segments(path: &str) -> Vec<String> {
    let mut segments = path.split('/').skip(1).peekable();
    if segments.peek().is_some_and(|first| is_version(first)) {
        segments.next();
    }
    segments
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect()
}

/// `v1.41`.
fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|version| {
        !version.is_empty() && version.chars().all(|c| c.is_ascii_digit() || c == '.')
    })
}

fn decode_query(text: &str) -> String {
    let text: Cow<'_, str> = if text.contains('+') {
        text.replace('+', " ").into()
    } else {
        text.into()
    };
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_prefix_is_optional() {
        assert_eq!(segments("/v1.41/containers/json"), ["containers", "json"]);
        assert_eq!(segments("/containers/json"), ["containers", "json"]);
        assert_eq!(segments("/_ping"), ["_ping"]);
        assert_eq!(segments("/volumes"), ["volumes"]);
    }

    #[test]
    fn encoded_slashes_stay_inside_a_segment() {
        assert_eq!(
            segments("/images/docker.io%2Flibrary%2Fnode%3A24%40sha256%3Aab/json"),
            ["images", "docker.io/library/node:24@sha256:ab", "json"]
        );
    }

    #[test]
    fn booleans_of_workerd_and_of_the_docker_command() {
        let query = Query::parse(Some("force=true&v=1&link=0&all=False&x"));
        assert!(query.flag("force"));
        assert!(query.flag("v"));
        assert!(!query.flag("link"));
        assert!(!query.flag("all"));
        assert!(!query.flag("x"));
        assert!(!query.flag("absent"));
    }

    #[test]
    fn values_are_decoded() {
        let query = Query::parse(Some("path=%2Fetc&repo=a+b&t="));
        assert_eq!(query.get("path"), Some("/etc"));
        assert_eq!(query.get("repo"), Some("a b"));
        assert_eq!(query.get("t"), None);
        assert_eq!(query.number::<u16>("t"), Ok(None));
        assert!(query.number::<u16>("path").is_err());
    }
}
