//! Progress of a deployment: each step with what came of it and how long it took.

use std::time::{Duration, Instant};

use berth_config::Project;
use berth_error::{Report, harmless};
use serde_json::{Value, json};

use crate::printer;

/// Shows steps, as lines or as JSON events.
pub(crate) struct Steps {
    json: bool,
    started: Instant,
}

impl Steps {
    pub(crate) fn start(json: bool) -> Self {
        Self {
            json,
            started: Instant::now(),
        }
    }

    /// Whether events are for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// What is deployed where.
    pub(crate) fn head(&self, project: &Project, server: &str) {
        let name = &project.name;
        if self.json {
            let event = json!({"event": "start", "worker": name, "server": server});
            printer::line(event.to_string());
        } else {
            printer::line(format!("{name} → {server}"));
        }
    }

    /// Does a step; what it returns besides its result is said of it.
    pub(crate) async fn run<T>(
        &self,
        name: &str,
        work: impl Future<Output = Result<(T, String), Report>>,
    ) -> Result<T, Report> {
        let begun = Instant::now();
        let (result, detail) = work.await?;
        self.done(name, &detail, begun.elapsed());
        Ok(result)
    }

    /// A step was done.
    pub(crate) fn done(&self, name: &str, detail: &str, took: Duration) {
        if self.json {
            let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            let event = json!({"event": "step", "name": name, "detail": detail, "took_ms": took});
            printer::line(event.to_string());
        } else {
            let detail = harmless(detail);
            printer::line(format!("  {name:10} {detail:54} {}", seconds(took)));
        }
    }

    /// A step was not needed.
    pub(crate) fn skipped(&self, name: &str, why: &str) {
        self.done(name, why, Duration::ZERO);
    }

    /// Something to know.
    pub(crate) fn warning(&self, text: &str) {
        if self.json {
            printer::line(json!({"event": "warning", "message": text}).to_string());
        } else {
            printer::note(harmless(text));
        }
    }

    /// Something is under way.
    pub(crate) fn progress(&self, name: &str, text: &str) {
        if self.json {
            let event = json!({"event": "progress", "name": name, "message": text});
            printer::line(event.to_string());
        } else {
            printer::line(format!("  {name:10} {}", harmless(text)));
        }
    }

    /// All is done.
    pub(crate) fn end(&self, worker: &str, result: &Value) {
        let took = self.started.elapsed();
        if self.json {
            let mut event = result.clone();
            event["event"] = "deployed".into();
            event["took_ms"] = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).into();
            return printer::line(event.to_string());
        }
        let took = seconds(took);
        let version = result["version_id"].as_str().unwrap_or_default();
        match result["url"].as_str() {
            Some(url) => printer::line(format!("Deployed {worker} in {took}: {url}")),
            None => printer::line(format!("Done with {worker} in {took}")),
        }
        printer::line(format!("Version {version}"));
    }

    /// Nothing was sent.
    pub(crate) fn end_dry(&self, result: &Value) {
        if self.json {
            let mut event = result.clone();
            event["event"] = "dry_run".into();
            return printer::line(event.to_string());
        }
        printer::line("It could be deployed; nothing was sent (`--dry-run`)");
        for binding in result["bindings"].as_array().into_iter().flatten() {
            let word = |name: &str| binding[name].as_str().unwrap_or_default().to_owned();
            printer::line(format!("  env.{:24} {}", word("name"), word("type")));
        }
    }
}

/// `0.05 s`.
fn seconds(took: Duration) -> String {
    format!("{:.2} s", took.as_secs_f64())
}
