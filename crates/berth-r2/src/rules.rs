//! Rules that a bucket's owner sets: who may ask from other origins, and what becomes of objects in time. In the
//! form that R2's API has them.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::R2Error;
use crate::object::StorageClass;

/// Most rules of a kind, as at Cloudflare: CORS, and lifecycle.
const MOST_CORS: usize = 100;
const MOST_LIFECYCLE: usize = 1000;
/// What may be allowed.
const METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];

/// Who may ask from another origin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CorsRule {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What may be asked.
    pub allowed: Allowed,
    /// Headers of answers that scripts may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose_headers: Vec<String>,
    /// How long a browser may remember it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u32>,
}

/// What may be asked from another origin. Origins and headers may have one `*` for anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// By whom.
    pub origins: Vec<String>,
    /// How.
    pub methods: Vec<String>,
    /// With which headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
}

impl CorsRule {
    /// Whether a page of an origin may ask like that.
    pub fn allows(&self, origin: &str, method: &str) -> bool {
        self.allowed.methods.iter().any(|one| one == method)
            && self.allowed.origins.iter().any(|one| fits(one, origin))
    }

    /// Whether it may send a header.
    pub fn allows_header(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let mut headers = self.allowed.headers.iter();
        headers.any(|one| fits(&one.to_ascii_lowercase(), &name))
    }

    /// Whether everybody may ask.
    pub fn is_for_all(&self) -> bool {
        self.allowed.origins.iter().any(|one| one == "*")
    }
}

/// Whether a text is a pattern's, in which `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((begin, end)) => {
            text.len() >= begin.len() + end.len() && text.starts_with(begin) && text.ends_with(end)
        }
    }
}

/// Checks rules for other origins.
///
/// # Errors
/// What is wrong with which.
pub(crate) fn check_cors(rules: &[CorsRule]) -> Result<(), R2Error> {
    if rules.len() > MOST_CORS {
        return Err(wrong(format!("there are more than {MOST_CORS} rules")));
    }
    for (index, rule) in rules.iter().enumerate() {
        let allowed = &rule.allowed;
        if allowed.origins.is_empty() || allowed.methods.is_empty() {
            let text = format!("rule {index} allows nothing: it needs origins and methods");
            return Err(wrong(text));
        }
        let unknown = |one: &&String| !METHODS.contains(&one.as_str());
        if let Some(method) = allowed.methods.iter().find(unknown) {
            let text = format!(
                "rule {index} has the method `{method}`: {} may be allowed",
                METHODS.join(", ")
            );
            return Err(wrong(text));
        }
        let patterns = allowed.origins.iter().chain(&allowed.headers);
        for pattern in patterns {
            if pattern.is_empty() || pattern.matches('*').count() > 1 {
                let text = format!("rule {index}: `{pattern}` is empty or has more than one `*`");
                return Err(wrong(text));
            }
        }
    }
    Ok(())
}

/// What becomes of objects in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LifecycleRule {
    /// Its name.
    pub id: String,
    /// It counts.
    pub enabled: bool,
    /// Which objects.
    #[serde(default)]
    pub conditions: Which,
    /// When they are deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_objects_transition: Option<Transition>,
    /// When uploads that are not complete are given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_multipart_uploads_transition: Option<Transition>,
    /// When they are of another class.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage_class_transitions: Vec<ClassTransition>,
}

/// Which objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Those whose keys begin like that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// When something happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transition {
    /// When.
    pub condition: When,
}

/// When objects are of another class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClassTransition {
    /// When.
    pub condition: When,
    /// Of which.
    pub storage_class: String,
}

/// When a rule takes effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub enum When {
    /// So many seconds after an object was written or an upload begun.
    Age {
        /// Seconds.
        #[serde(rename = "maxAge")]
        max_age: u64,
    },
    /// From a day on: `2026-11-30`, or a point in time of RFC 3339.
    Date {
        /// The day.
        date: String,
    },
}

impl When {
    /// What was written until then (milliseconds since 1970) is due now; `None`: nothing.
    pub(crate) fn due(&self, now: u64) -> Option<u64> {
        match self {
            Self::Age { max_age } => now.checked_sub(max_age.saturating_mul(1000)),
            Self::Date { date } => {
                let day = millis(date)?;
                (day <= now).then_some(now)
            }
        }
    }
}

fn millis(date: &str) -> Option<u64> {
    let parsed = OffsetDateTime::parse(date, &Rfc3339)
        .or_else(|_| OffsetDateTime::parse(&format!("{date}T00:00:00Z"), &Rfc3339));
    u64::try_from(parsed.ok()?.unix_timestamp_nanos() / 1_000_000).ok()
}

/// Checks rules of time.
///
/// # Errors
/// What is wrong with which.
pub(crate) fn check_lifecycle(rules: &[LifecycleRule]) -> Result<(), R2Error> {
    if rules.len() > MOST_LIFECYCLE {
        return Err(wrong(format!("there are more than {MOST_LIFECYCLE} rules")));
    }
    for (index, rule) in rules.iter().enumerate() {
        let id = &rule.id;
        if id.is_empty() || rules[..index].iter().any(|other| other.id == *id) {
            return Err(wrong(format!("the name `{id}` is empty or there twice")));
        }
        let deletion = rule.delete_objects_transition.iter();
        let abort = rule.abort_multipart_uploads_transition.iter();
        let classes = rule.storage_class_transitions.iter();
        let whens = deletion
            .chain(abort)
            .map(|one| &one.condition)
            .chain(classes.clone().map(|one| &one.condition));
        for when in whens {
            if let When::Date { date } = when
                && millis(date).is_none()
            {
                return Err(wrong(format!("the rule `{id}` has no date: `{date}`")));
            }
        }
        for one in classes {
            if StorageClass::parse(&one.storage_class).is_none() {
                let text = format!("the rule `{id}` has no class: `{}`", one.storage_class);
                return Err(wrong(text));
            }
        }
    }
    Ok(())
}

fn wrong(text: String) -> R2Error {
    R2Error::Argument(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cors(allowed: serde_json::Value) -> CorsRule {
        serde_json::from_value(json!({ "allowed": allowed })).unwrap()
    }

    #[test]
    fn patterns_have_one_star() {
        let rule = cors(json!({
            "origins": ["https://a.example", "http://*.b.example"],
            "methods": ["GET", "PUT"],
            "headers": ["x-own", "X-Amz-*"],
        }));
        for (origin, method, allowed) in [
            ("https://a.example", "GET", true),
            ("https://a.example", "DELETE", false),
            ("http://x.y.b.example", "PUT", true),
            ("http://b.example", "PUT", false),
            ("https://a.example.evil", "GET", false),
        ] {
            assert_eq!(rule.allows(origin, method), allowed, "{origin} {method}");
        }
        assert!(rule.allows_header("X-OWN") && rule.allows_header("x-amz-date"));
        assert!(!rule.allows_header("x-other"));
        assert!(!rule.is_for_all());
        check_cors(&[rule]).unwrap();
        for allowed in [
            json!({"origins": [], "methods": ["GET"]}),
            json!({"origins": ["*"], "methods": ["PATCH"]}),
            json!({"origins": ["http://*.*"], "methods": ["GET"]}),
        ] {
            let error = check_cors(&[cors(allowed.clone())]).unwrap_err();
            assert!(error.to_string().contains("rule 0"), "{allowed}: {error}");
        }
    }

    #[test]
    fn rules_are_due_by_age_and_by_day() {
        let day = 86_400_000;
        let age = When::Age { max_age: 86_400 };
        assert_eq!(age.due(5 * day), Some(4 * day));
        assert_eq!(age.due(10), None);
        let date = |text: &str| When::Date {
            date: text.to_owned(),
        };
        assert_eq!(date("1970-01-03").due(2 * day), Some(2 * day));
        assert_eq!(date("1970-01-03").due(2 * day - 1), None);
        assert_eq!(date("1970-01-03T00:00:00.000Z").due(3 * day), Some(3 * day));
        let rule = |when: serde_json::Value| -> LifecycleRule {
            serde_json::from_value(json!({
                "id": "a", "enabled": true, "conditions": {},
                "deleteObjectsTransition": { "condition": when },
            }))
            .unwrap()
        };
        let good = rule(json!({ "type": "Age", "maxAge": 1 }));
        check_lifecycle(std::slice::from_ref(&good)).unwrap();
        let twice = check_lifecycle(&[good.clone(), good]).unwrap_err();
        assert!(twice.to_string().contains("`a`"), "{twice}");
        let never = rule(json!({ "type": "Date", "date": "soon" }));
        let never = check_lifecycle(&[never]).unwrap_err();
        assert!(never.to_string().contains("`soon`"), "{never}");
    }
}
