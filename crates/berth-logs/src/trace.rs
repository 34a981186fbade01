//! What workerd tells of one invocation, in the form that tail Workers get it (workerd 1.20261117.1:
//! `outcome`, `event`, `logs`, `exceptions`, `entrypoint`, `durableObjectId`, `wallTime`, `cpuTime`).

use serde_json::{Value, json};

use crate::{Entry, Level, Source};

/// One invocation.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Name of the Worker.
    pub app: String,
    /// Of this server's making: workerd has none that is told.
    pub invocation: String,
    /// Id of the Durable Object that ran.
    pub instance: Option<String>,
    /// When it began, Unix milliseconds.
    pub time_ms: u64,
    /// Everything, with the Worker's name and version: what `wrangler tail` shows.
    pub value: Value,
}

impl Trace {
    /// Reads one. What is missing in it is taken for nothing.
    pub fn read(app: &str, version: Option<&str>, mut value: Value) -> Self {
        if let Some(fields) = value.as_object_mut() {
            fields.insert("scriptName".to_owned(), app.into());
            if let Some(version) = version {
                fields.insert("scriptVersion".to_owned(), json!({"id": version}));
            }
            for list in ["logs", "exceptions"] {
                if !fields.get(list).is_some_and(Value::is_array) {
                    fields.insert(list.to_owned(), json!([]));
                }
            }
            fields.entry("event").or_insert(Value::Null);
        }
        Self {
            app: app.to_owned(),
            invocation: uuid::Uuid::new_v4().simple().to_string(),
            instance: value["durableObjectId"].as_str().map(str::to_owned),
            time_ms: value["eventTimestamp"]
                .as_u64()
                .unwrap_or_else(crate::entry::now_ms),
            value,
        }
    }

    /// `ok`, `exception` and so on.
    pub fn outcome(&self) -> &str {
        self.value["outcome"].as_str().unwrap_or("unknown")
    }

    /// The Durable Object class or other entrypoint, if it was not the default one.
    pub fn entrypoint(&self) -> Option<&str> {
        self.value["entrypoint"].as_str()
    }

    /// An alarm that did what it should and said nothing. The class of containers sets one every few seconds,
    /// which tells nobody anything.
    pub fn is_quiet_alarm(&self) -> bool {
        let is_empty = |list: &str| self.value[list].as_array().is_none_or(Vec::is_empty);
        self.is_alarm() && self.outcome() == "ok" && is_empty("logs") && is_empty("exceptions")
    }

    fn is_alarm(&self) -> bool {
        let event = &self.value["event"];
        event["scheduledTime"].is_string() && event.get("cron").is_none()
    }

    /// What it printed: level and text.
    pub(crate) fn lines(&self) -> Vec<(Level, String)> {
        let list = |name: &str| self.value[name].as_array().cloned().unwrap_or_default();
        let logs = list("logs").into_iter().map(|log| {
            let level = log["level"].as_str().and_then(Level::named);
            (level.unwrap_or(Level::Log), message(&log["message"]))
        });
        let exceptions = list("exceptions").into_iter().map(|exception| {
            let word = |name: &str| exception[name].as_str().unwrap_or_default().to_owned();
            (
                Level::Error,
                format!("{}: {}", word("name"), word("message")),
            )
        });
        logs.chain(exceptions).collect()
    }

    /// The invocation itself as an entry.
    pub fn entry(&self) -> Entry {
        let failed = !matches!(
            self.outcome(),
            "ok" | "canceled" | "responseStreamDisconnected"
        );
        let level = if failed { Level::Error } else { Level::Info };
        let mut text = self.summary();
        if self.outcome() != "ok" {
            text.push_str(&format!(" ({})", self.outcome()));
        }
        let mut entry = Entry::new(&self.app, Source::Invocation, level, text);
        entry.time_ms = self.time_ms;
        entry.version = self.value["scriptVersion"]["id"]
            .as_str()
            .map(str::to_owned);
        entry.instance = self.instance.clone();
        entry.invocation = Some(self.invocation.clone());
        entry.data = Some(json!({
            "outcome": self.outcome(),
            "entrypoint": self.entrypoint(),
            "wall_ms": self.value["wallTime"],
            "cpu_ms": self.value["cpuTime"],
            "status": self.value["event"]["response"]["status"],
        }));
        entry
    }

    /// `GET http://… 200`, `alarm of Room`.
    fn summary(&self) -> String {
        let event = &self.value["event"];
        let of = self
            .entrypoint()
            .map(|class| format!(" of {class}"))
            .unwrap_or_default();
        if let Some(request) = event.get("request") {
            let word = |name: &str| request[name].as_str().unwrap_or_default();
            let status = event["response"]["status"].as_u64();
            let status = status
                .map(|status| format!(" {status}"))
                .unwrap_or_default();
            let (method, url) = (word("method"), without_query(word("url")));
            return format!("{method} {url}{of}{status}");
        }
        if let Some(cron) = event["cron"].as_str() {
            return format!("cron `{cron}`");
        }
        if let Some(queue) = event["queue"].as_str() {
            let count = event["batchSize"].as_u64().unwrap_or_default();
            return format!("queue `{queue}`: {count} messages");
        }
        if let Some(method) = event["rpcMethod"].as_str() {
            return format!("call of {method}(){of}");
        }
        if let Some(consumed) = event["consumedEvents"].as_array() {
            return tail_of(consumed);
        }
        if self.is_alarm() {
            return format!("alarm{of}");
        }
        let kind = event["type"].as_str().unwrap_or("event");
        format!("{kind}{of}")
    }
}

/// `tail of a, b: 3 invocations`.
fn tail_of(consumed: &[Value]) -> String {
    let names = consumed.iter().filter_map(|one| one["scriptName"].as_str());
    let names: std::collections::BTreeSet<&str> = names.collect();
    let names: Vec<&str> = names.into_iter().collect();
    format!(
        "tail of {}: {} invocations",
        names.join(", "),
        consumed.len()
    )
}

/// Queries often have tokens in them.
fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}

/// The arguments of one call of the console, as text.
fn message(message: &Value) -> String {
    let word = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match message {
        Value::Array(values) => values.iter().map(word).collect::<Vec<_>>().join(" "),
        other => word(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(value: Value) -> Entry {
        Trace::read("app", Some("v1"), value).entry()
    }

    #[test]
    fn invocations_in_words() {
        let request = json!({
            "outcome": "ok", "eventTimestamp": 5, "entrypoint": "Room", "durableObjectId": "ab",
            "event": {"request": {"method": "GET", "url": "http://a/b?token=c"}, "response": {"status": 201}},
        });
        let entry = entry(request);
        assert_eq!(entry.text, "GET http://a/b of Room 201");
        assert_eq!((entry.time_ms, entry.level), (5, Level::Info));
        assert_eq!(
            (entry.instance.as_deref(), entry.version.as_deref()),
            (Some("ab"), Some("v1"))
        );
        let others = [
            (
                json!({"event": {"cron": "* * * * *", "scheduledTime": 1}}),
                "cron `* * * * *` (unknown)",
            ),
            (
                json!({"outcome": "exception", "event": {"rpcMethod": "hi"}}),
                "call of hi() (exception)",
            ),
            (
                json!({"outcome": "ok", "event": {"queue": "q", "batchSize": 3}}),
                "queue `q`: 3 messages",
            ),
            (
                json!({"outcome": "ok", "event": {"scheduledTime": "2026"}}),
                "alarm",
            ),
            (json!({"outcome": "ok"}), "event"),
            (
                json!({"outcome": "ok", "event": {"consumedEvents": [
                    {"scriptName": "b"}, {"scriptName": "a"}, {"scriptName": "b"},
                ]}}),
                "tail of a, b: 3 invocations",
            ),
        ];
        for (value, text) in others {
            assert_eq!(self::entry(value).text, text);
        }
    }

    #[test]
    fn only_alarms_that_say_nothing_are_quiet() {
        let quiet = |value| Trace::read("app", None, value).is_quiet_alarm();
        let event = json!({"scheduledTime": "2026-11-30T00:00:00Z"});
        assert!(quiet(json!({"outcome": "ok", "event": event})));
        assert!(!quiet(json!({"outcome": "exception", "event": event})));
        assert!(!quiet(
            json!({"outcome": "ok", "event": event, "logs": [{}]})
        ));
        assert!(!quiet(
            json!({"outcome": "ok", "event": {"cron": "x", "scheduledTime": 1}})
        ));
    }
}
