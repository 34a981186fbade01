//! Traces on their way to Workers that consume them, and traces of those Workers.

use std::sync::Arc;

use berth_workerd::{CONSUMED_HEADER, TAIL_ENTRYPOINT};
use serde_json::{Value, json};

/// What only consumers get of a trace.
const EXTRAS: &str = "extras";
/// What a trace has whose event is a call of `tail()`.
const CONSUMED: &str = "consumedEvents";

/// Takes out of a trace what only consumers get. The trace of a call of our own module, which calls `tail()`, becomes
/// what the trace of such a call is.
pub(super) fn read(event: &mut Value) -> Option<Value> {
    let fields = event.as_object_mut()?;
    let extras = fields.remove(EXTRAS);
    if fields
        .get("entrypoint")
        .is_none_or(|of| of != TAIL_ENTRYPOINT)
    {
        return extras;
    }
    fields.remove("entrypoint");
    let of = fields.get("event")?["request"]["headers"][CONSUMED_HEADER].as_str();
    let of = of.unwrap_or_default().split(',');
    let consumed: Vec<Value> = of.map(|name| json!({"scriptName": name})).collect();
    fields.insert("event".to_owned(), json!({ CONSUMED: consumed }));
    None
}

/// Whether the event is a call of `tail()`.
pub(super) fn is_tail(trace: &Value) -> bool {
    trace["event"].get(CONSUMED).is_some()
}

/// A trace as it goes to consumers.
pub(super) fn write(trace: &Value, extras: Option<&Value>) -> Arc<str> {
    let mut whole = trace.clone();
    if let (Some(fields), Some(extras)) = (whole.as_object_mut(), extras) {
        fields.insert(EXTRAS.to_owned(), extras.clone());
    }
    whole.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_the_handler_is_shown_as_one() {
        let headers = json!({"host": "berth", "consumed-events": "a,a,b"});
        let mut event = json!({
            "entrypoint": "berth:tail", "outcome": "ok", "extras": {"unredacted": {}},
            "event": {"request": {"headers": headers, "method": "POST"}, "response": {"status": 200}},
        });
        assert_eq!(read(&mut event), None);
        let names = json!([{"scriptName": "a"}, {"scriptName": "a"}, {"scriptName": "b"}]);
        assert_eq!(
            event,
            json!({"outcome": "ok", "event": {"consumedEvents": names}})
        );
        assert!(is_tail(&event));

        let mut event = json!({"event": {"request": {"url": "u"}}, "extras": {"unredacted": 1}});
        let extras = read(&mut event);
        assert_eq!(event, json!({"event": {"request": {"url": "u"}}}));
        assert!(!is_tail(&event));
        let written: Value = serde_json::from_str(&write(&event, extras.as_ref())).unwrap();
        assert_eq!(written["extras"]["unredacted"], 1);
    }
}
