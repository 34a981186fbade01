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
        value.to_string()
    }

    fn tick(&mut self, _: Instant) -> String {
        String::new()
    }

    fn end(&mut self, _: Instant) -> String {
        String::new()
    }
}

pub(super) fn built(image: &Image, names: &[String]) -> String {
    json!({ "event": "built", "id": image.id.to_string(), "names": names }).to_string()
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
    value.to_string()
}
