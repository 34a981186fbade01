//! The `filters` parameter of container listings.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::ApiError;

/// Parsed filters: all keys must match, of each key any value.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Filters(BTreeMap<String, Vec<String>>);

/// What a listing entry is matched on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) image: &'a str,
    pub(crate) image_id: &'a str,
    pub(crate) status: &'a str,
    pub(crate) labels: &'a BTreeMap<String, String>,
}

/// Both forms in use: `{"label":["a"]}` and, of the docker command, `{"label":{"a":true}}`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    List(Vec<String>),
    Map(BTreeMap<String, bool>),
}

impl Filters {
    /// Parses the parameter; unknown keys are refused as Docker refuses them.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, ApiError> {
        Self::parse_known(text, &["ancestor", "id", "label", "name", "status"])
    }

    /// The same for a listing with other keys.
    pub(crate) fn parse_known(text: Option<&str>, known: &[&str]) -> Result<Self, ApiError> {
        let Some(text) = text else {
            return Ok(Self::default());
        };
        let parsed: BTreeMap<String, Values> = serde_json::from_str(text)
            .map_err(|error| ApiError::bad_request(format!("invalid filters: {error}")))?;
        if let Some(key) = parsed.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(ApiError::bad_request(format!("invalid filter '{key}'")));
        }
        let filters = parsed.into_iter().map(|(key, values)| {
            let values = match values {
                Values::List(list) => list,
                Values::Map(map) => map
                    .into_iter()
                    .filter(|(_, on)| *on)
                    .map(|(v, _)| v)
                    .collect(),
            };
            (key, values)
        });
        Ok(Self(filters.collect()))
    }

    /// Whether stopped containers were asked for by a status.
    pub(crate) fn has_status(&self) -> bool {
        self.0.contains_key("status")
    }

    /// Whether an image of this name is wanted.
    pub(crate) fn matches_reference(&self, name: &str) -> bool {
        let repository = name
            .split_once('@')
            .or_else(|| name.rsplit_once(':'))
            .map_or(name, |(repository, _)| repository);
        self.0
            .get("reference")
            .is_none_or(|wanted| wanted.iter().any(|text| text == name || text == repository))
    }

    /// Whether an entry is wanted.
    pub(crate) fn matches(&self, candidate: &Candidate<'_>) -> bool {
        self.0.iter().all(|(key, values)| match key.as_str() {
            // Every label asked for must be there.
            "label" => values
                .iter()
                .all(|wanted| has_label(candidate.labels, wanted)),
            "id" => values
                .iter()
                .any(|id| candidate.id.starts_with(id.as_str())),
            "name" => values
                .iter()
                .any(|name| candidate.name.contains(name.trim_start_matches('/'))),
            "status" => values.iter().any(|status| status == candidate.status),
            "ancestor" => values.iter().any(|image| is_ancestor(image, candidate)),
            _ => false,
        })
    }
}

fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
        None => labels.contains_key(wanted),
    }
}

fn is_ancestor(image: &str, candidate: &Candidate<'_>) -> bool {
    let id = candidate.image_id;
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    with_tag(image) == with_tag(candidate.image)
        || image == id
        || (image.len() >= 4 && hex.starts_with(image))
}

/// `name` as `name:latest`.
fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || last.contains('@') {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(filters: &str) -> bool {
        let labels = BTreeMap::from([("session".to_owned(), "one".to_owned())]);
        Filters::parse(Some(filters)).unwrap().matches(&Candidate {
            id: "abcdef0123",
            name: "workerd-hello-1",
            image: "cloudflare-dev/box:12ab",
            image_id: "sha256:feed0000",
            status: "running",
            labels: &labels,
        })
    }

    #[test]
    fn list_and_map_forms() {
        assert!(matches(r#"{"status":["running","exited"]}"#));
        assert!(matches(r#"{"status":{"running":true}}"#));
        assert!(!matches(r#"{"status":{"running":false}}"#));
        assert!(!matches(r#"{"status":["exited"]}"#));
    }

    #[test]
    fn labels_with_and_without_a_value() {
        assert!(matches(r#"{"label":["session"]}"#));
        assert!(matches(r#"{"label":["session=one"]}"#));
        assert!(!matches(r#"{"label":["session=two"]}"#));
        assert!(!matches(r#"{"label":["session","other"]}"#));
    }

    #[test]
    fn names_ids_and_ancestors() {
        assert!(matches(r#"{"name":["hello"]}"#));
        assert!(!matches(r#"{"name":["goodbye"]}"#));
        assert!(matches(r#"{"id":["abcdef"]}"#));
        assert!(matches(r#"{"ancestor":{"cloudflare-dev/box:12ab":true}}"#));
        assert!(matches(r#"{"ancestor":["feed0"]}"#));
        assert!(!matches(r#"{"ancestor":["cloudflare-dev/box"]}"#));
        assert!(!matches(r#"{"name":["hello"],"status":["exited"]}"#));
    }

    #[test]
    fn unknown_filters_and_bad_json_are_refused() {
        assert!(Filters::parse(Some(r#"{"colour":["red"]}"#)).is_err());
        assert!(Filters::parse(Some("{")).is_err());
        assert_eq!(Filters::parse(None).unwrap(), Filters::default());
    }
}
