//! One JSON object per line:
//!
//! ```json
//! {"event":"warning","rule":"JSONArgsRecommended","message":"…","line":9,"time_ms":3}
//! {"event":"started","step":3,"name":"[2/4] RUN make","time_ms":120}
//! {"event":"output","step":3,"line":"cc -c a.c","time_ms":340}
//! {"event":"finished","step":3,"outcome":"done","time_ms":900}
//! {"event":"built","id":"sha256:…","names":["app:latest"]}
//! {"event":"failed","error":"…","hint":"…","file":"/p/Dockerfile","line":3}
//! ```
//!
//! `outcome` is `done`, `cached`, `failed` (with `error`) or `canceled`; `time_ms` counts from the
//! build's beginning. The last line is `built` or `failed`, unless the build was given up.

use std::fmt::Write as _;
use std::time::Instant;

use berth_build::{BuildError, BuildEvent, Outcome};
use berth_error::Hint as _;
use berth_image::Image;
use serde_json::json;

use super::View;

pub(super) struct Json {
    began: Instant,
}

impl Json {
    pub(super) fn new(began: Instant) -> Self {
        Self { began }
    }
}

impl View for Json {
    fn event(&mut self, event: &BuildEvent, now: Instant) -> String {
        let time = u64::try_from((now - self.began).as_millis()).unwrap_or(u64::MAX);
        let value = match event {
            BuildEvent::Warning {
                rule,
                message,
                line,
            } => {
                json!({
                    "event": "warning", "rule": rule, "message": message, "line": line,
                    "time_ms": time
                })
            }
            BuildEvent::Started { step, name } => {
                json!({ "event": "started", "step": step, "name": name, "time_ms": time })
            }
            BuildEvent::Output { step, line } => {
                json!({ "event": "output", "step": step, "line": line, "time_ms": time })
            }
            BuildEvent::Finished { step, outcome } => {
                let mut value =
                    json!({ "event": "finished", "step": step, "outcome": "", "time_ms": time });
                value["outcome"] = match outcome {
                    Outcome::Done => "done",
                    Outcome::Cached => "cached",
                    Outcome::Canceled => "canceled",
                    Outcome::Failed(error) => {
                        value["error"] = error.as_str().into();
                        "failed"
                    }
                }
                .into();
                value
            }
        };
        exact(&value)
    }

    fn tick(&mut self, _: Instant) -> String {
        String::new()
    }

    fn end(&mut self, _: Instant) -> String {
        String::new()
    }
}

pub(super) fn built(image: &Image, names: &[String]) -> String {
    exact(&json!({ "event": "built", "id": image.id.to_string(), "names": names }))
}

pub(super) fn failed(error: &BuildError) -> String {
    let mut value = json!({ "event": "failed", "error": berth_error::chain(error) });
    if let Some(hint) = error.hint() {
        value["hint"] = hint.into();
    }
    if let Some(location) = error.location() {
        value["file"] = location.path.display().to_string().into();
        value["line"] = location.line.into();
    }
    exact(&value)
}

/// One line in which every control character is escaped: those above U+007E, too, which JSON would
/// allow and some terminals obey.
fn exact(value: &serde_json::Value) -> String {
    let mut text = String::new();
    for c in value.to_string().chars() {
        match c {
            '\u{7f}'..='\u{9f}' => {
                // Writing to a string does not fail.
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_exact_and_command_no_terminal() {
        let now = Instant::now();
        let line = "a\x1b[2Jb\u{9b}2J\x7f\x1b]0;title\x07 \u{e9}\\".to_owned();
        let event = BuildEvent::Output {
            step: 1,
            line: line.clone(),
        };
        let text = Json::new(now).event(&event, now);
        assert!(!text.contains(char::is_control), "{text:?}");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["line"], line);
    }
}
