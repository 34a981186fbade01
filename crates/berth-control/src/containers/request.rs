//! What a client may send of an application: fields of the kinds that every client expects to read back.
//!
//! Clients compare what they would send with what is there, field by field, and stumble over a `null` or a
//! list where they look for an object (wrangler 4.164: `sortObjectRecursive`). So nothing of the kind is
//! kept. What is not known here is kept word for word.

use serde_json::{Map, Value};

use super::ApplicationError;

/// The kind of a field's value.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Object,
    Whole,
}

const FIELDS: [(&str, Kind); 10] = [
    ("name", Kind::Text),
    ("scheduling_policy", Kind::Text),
    ("configuration", Kind::Object),
    ("target_configuration", Kind::Object),
    ("constraints", Kind::Object),
    ("affinities", Kind::Object),
    ("observability", Kind::Object),
    ("durable_objects", Kind::Object),
    ("max_instances", Kind::Whole),
    ("rollout_active_grace_period", Kind::Whole),
];

/// The request without the members that are `null` below its fields: they say that there is nothing. A field
/// that is itself `null` stays: in a change, it takes the field away.
///
/// # Errors
/// A known field of another kind; `null` in a list, where it would be a place without a value.
pub(crate) fn checked(sent: &Map<String, Value>) -> Result<Map<String, Value>, ApplicationError> {
    let mut kept = Map::new();
    for (name, value) in sent {
        let known = FIELDS.iter().find(|(field, _)| field == name);
        if let Some(problem) = known.and_then(|(_, kind)| kind.problem(value)) {
            return Err(field(name, problem));
        }
        kept.insert(name.clone(), without_null(name, value)?);
    }
    Ok(kept)
}

impl Kind {
    fn problem(self, value: &Value) -> Option<&'static str> {
        let (is, problem) = match self {
            Self::Text => (value.is_string(), "must be text"),
            Self::Object => (value.is_object(), "must be an object"),
            Self::Whole => (
                value.as_u64().is_some_and(|one| u32::try_from(one).is_ok()),
                "must be a whole number, at most 4294967295",
            ),
        };
        (!is && !value.is_null()).then_some(problem)
    }
}

fn without_null(path: &str, value: &Value) -> Result<Value, ApplicationError> {
    Ok(match value {
        Value::Object(members) => {
            let members = members.iter().filter(|(_, value)| !value.is_null());
            let kept: Result<Map<String, Value>, ApplicationError> = members
                .map(|(name, value)| {
                    Ok((
                        name.clone(),
                        without_null(&format!("{path}.{name}"), value)?,
                    ))
                })
                .collect();
            kept?.into()
        }
        Value::Array(items) => {
            if items.iter().any(Value::is_null) {
                return Err(field(path, "has a `null` in its list"));
            }
            let items = items.iter();
            let kept: Result<Vec<Value>, _> = items.map(|item| without_null(path, item)).collect();
            kept?.into()
        }
        other => other.clone(),
    })
}

fn field(name: &str, problem: &str) -> ApplicationError {
    ApplicationError::Field {
        field: name.to_owned().into(),
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(json: Value) -> Result<Value, String> {
        let checked = checked(json.as_object().unwrap());
        checked
            .map(Value::Object)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_below_a_field_is_null() {
        let sent = json!({
            "constraints": {"tiers": [1, 2], "cities": null, "more": {"a": null, "b": [{"c": null}]}},
            "affinities": null, "else": {"x": null},
        });
        let kept = json!({
            "constraints": {"tiers": [1, 2], "more": {"b": [{}]}},
            "affinities": null, "else": {},
        });
        assert_eq!(check(sent), Ok(kept));
    }

    #[test]
    fn what_no_client_could_read_is_refused_by_its_name() {
        for (json, named) in [
            (
                json!({"constraints": {"tiers": [null]}}),
                "`constraints.tiers`",
            ),
            (json!({"constraints": []}), "`constraints`"),
            (json!({"configuration": "x"}), "`configuration`"),
            (json!({"affinities": 1}), "`affinities`"),
            (json!({"max_instances": -1}), "`max_instances`"),
            (json!({"max_instances": 1.5}), "`max_instances`"),
            (
                json!({"rollout_active_grace_period": "1"}),
                "`rollout_active_grace_period`",
            ),
            (json!({"name": {}}), "`name`"),
        ] {
            let refused = check(json.clone()).unwrap_err();
            assert!(refused.contains(named), "{json}: {refused}");
        }
    }
}
