//! Which invocations a tail shows, in wrangler's words: a list of objects, each with one condition.

use serde::Deserialize;
use serde_json::Value;

/// Every condition must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filters(Vec<Filter>);

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Filter {
    Sampling {
        sampling_rate: f64,
    },
    Outcome {
        outcome: Vec<String>,
    },
    Method {
        method: Vec<String>,
    },
    Header {
        header: Header,
    },
    ClientIp {
        client_ip: Vec<String>,
    },
    Query {
        query: String,
    },
    #[serde(rename_all = "camelCase")]
    Version {
        script_version: String,
    },
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    key: String,
    query: Option<String>,
}

/// What wrangler sends for "my own address".
const SELF: &str = "self";

impl Filters {
    /// Reads a list of filters. `own` is the address of whoever asks, for `self`.
    ///
    /// # Errors
    /// Which filter is none, in words.
    pub fn read(filters: &Value, own: &str) -> Result<Self, String> {
        let list = match filters {
            Value::Null => return Ok(Self::default()),
            Value::Array(list) => list,
            _ => return Err("`filters` must be a list".to_owned()),
        };
        let filters = list.iter().map(|filter| {
            let mut read: Filter = serde_json::from_value(filter.clone())
                .map_err(|_| format!("`{filter}` in `filters` is not a filter"))?;
            match &mut read {
                Filter::Sampling { sampling_rate } if !(0.0..=1.0).contains(sampling_rate) => {
                    return Err(format!(
                        "`sampling_rate` is {sampling_rate}, not between 0 and 1"
                    ));
                }
                Filter::ClientIp { client_ip } => {
                    for address in client_ip.iter_mut().filter(|address| *address == SELF) {
                        own.clone_into(address);
                    }
                }
                _ => {}
            }
            Ok(read)
        });
        filters.collect::<Result<_, _>>().map(Self)
    }

    /// Whether an invocation is shown. A condition on requests holds for none that is no request.
    pub(super) fn admit(&self, trace: &Value) -> bool {
        self.0.iter().all(|filter| filter.admits(trace))
    }
}

impl Filter {
    fn admits(&self, trace: &Value) -> bool {
        let request = &trace["event"]["request"];
        let is_one_of = |list: &[String], value: &Value| {
            let value = value.as_str();
            value.is_some_and(|value| list.iter().any(|one| one.eq_ignore_ascii_case(value)))
        };
        let header = |name: &str| {
            let headers = request["headers"].as_object()?;
            let mut found = headers
                .iter()
                .filter(|(key, _)| key.eq_ignore_ascii_case(name));
            found.next().map(|(_, value)| value.clone())
        };
        match self {
            Self::Sampling { sampling_rate } => rand::random::<f64>() < *sampling_rate,
            Self::Outcome { outcome } => is_one_of(outcome, &trace["outcome"]),
            Self::Method { method } => is_one_of(method, &request["method"]),
            Self::Header { header: wanted } => header(&wanted.key).is_some_and(|value| {
                let wanted = wanted.query.as_deref().unwrap_or_default();
                value.as_str().is_some_and(|value| value.contains(wanted))
            }),
            Self::ClientIp { client_ip } => {
                header("cf-connecting-ip").is_some_and(|value| is_one_of(client_ip, &value))
            }
            Self::Query { query } => says(trace, query),
            Self::Version { script_version } => trace["scriptVersion"]["id"] == **script_version,
        }
    }
}

/// Whether something that was logged or thrown has this text in it.
fn says(trace: &Value, text: &str) -> bool {
    let has = |value: &Value| match value {
        Value::String(own) => own.contains(text),
        other => other.to_string().contains(text),
    };
    let any = |list: &str, test: &dyn Fn(&Value) -> bool| {
        trace[list]
            .as_array()
            .is_some_and(|list| list.iter().any(test))
    };
    any("logs", &|log| match &log["message"] {
        Value::Array(values) => values.iter().any(has),
        other => has(other),
    }) || any("exceptions", &|exception| has(&exception["message"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request() -> Value {
        json!({
            "outcome": "exception",
            "scriptVersion": {"id": "v1"},
            "logs": [{"message": ["the end", {"deep": "text"}]}],
            "exceptions": [{"message": "boom"}],
            "event": {"request": {
                "method": "GET", "url": "http://a/",
                "headers": {"x-a": "some value", "cf-connecting-ip": "10.0.0.1"},
            }},
        })
    }

    #[test]
    fn conditions_hold_or_not() {
        let admits = |filters: Value| {
            let filters = Filters::read(&filters, "10.0.0.1").unwrap();
            filters.admit(&request())
        };
        let yes = [
            json!(null),
            json!([]),
            json!([{"sampling_rate": 1.0}]),
            json!([{"outcome": ["ok", "exception"]}]),
            json!([{"method": ["get"]}]),
            json!([{"header": {"key": "X-A"}}]),
            json!([{"header": {"key": "x-a", "query": "val"}}]),
            json!([{"client_ip": ["self"]}]),
            json!([{"query": "deep"}]),
            json!([{"query": "boom"}, {"scriptVersion": "v1"}]),
        ];
        for filters in yes {
            assert!(admits(filters.clone()), "{filters}");
        }
        let no = [
            json!([{"sampling_rate": 0.0}]),
            json!([{"outcome": ["ok"]}]),
            json!([{"method": ["POST"]}]),
            json!([{"header": {"key": "x-b"}}]),
            json!([{"header": {"key": "x-a", "query": "other"}}]),
            json!([{"client_ip": ["10.0.0.2"]}]),
            json!([{"query": "nowhere"}]),
            json!([{"query": "boom"}, {"scriptVersion": "v2"}]),
        ];
        for filters in no {
            assert!(!admits(filters.clone()), "{filters}");
        }
        let alarm = json!({"outcome": "ok", "event": {"scheduledTime": "x"}});
        let method = Filters::read(&json!([{"method": ["GET"]}]), "").unwrap();
        assert!(!method.admit(&alarm), "it is no request");
    }

    #[test]
    fn what_is_no_filter_is_said() {
        for (filters, said) in [
            (json!({}), "`filters` must be a list"),
            (json!([{"shape": "round"}]), "{\"shape\":\"round\"}"),
            (json!([{"sampling_rate": 2.0}]), "`sampling_rate` is 2"),
        ] {
            let error = Filters::read(&filters, "").unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
