//! Which lines of the console an invocation wrote.
//!
//! workerd prints what a Worker logs at once, but without saying in which request; the trace that comes when
//! the request has ended says it, but late. So a line is kept when it is printed, and found again when its
//! trace comes: same app, same level, same letters and digits, in the order in which they were printed. A line
//! that is not found again stays as it is.

use std::collections::VecDeque;

use crate::{Entry, Level, Source, Trace};

/// Lines that are remembered.
const MOST: usize = 8192;
/// Letters and digits that are compared.
const COMPARED: usize = 256;

#[derive(Debug)]
struct Line {
    id: u64,
    time_ms: u64,
    app: String,
    level: Level,
    /// Its letters and digits.
    text: String,
}

/// The last lines of consoles that no invocation is known of.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    lines: VecDeque<Line>,
}

impl Recent {
    pub(crate) fn add(&mut self, entry: &Entry) {
        if entry.source != Source::Worker || entry.invocation.is_some() {
            return;
        }
        if self.lines.len() >= MOST {
            self.lines.pop_front();
        }
        self.lines.push_back(Line {
            id: entry.id,
            time_ms: entry.time_ms,
            app: entry.app.clone(),
            level: entry.level,
            text: essence(&entry.text),
        });
    }

    /// Takes the lines of an invocation: their ids.
    pub(crate) fn of(&mut self, trace: &Trace) -> Vec<u64> {
        let mut found = Vec::new();
        for (level, text) in trace.lines() {
            let text = essence(&text);
            let own = self.lines.iter().position(|line| {
                line.app == trace.app
                    && line.level == level
                    && line.time_ms + 1000 >= trace.time_ms
                    // A stack or the words before an exception are only in what was printed.
                    && (line.text == text || level == Level::Error && line.text.contains(&text))
            });
            if let Some(line) = own.and_then(|own| self.lines.remove(own)) {
                found.push(line.id);
            }
        }
        found
    }
}

/// What is the same of a value when it is printed and when it is JSON.
fn essence(text: &str) -> String {
    let chars = text.chars().filter(|char| char.is_alphanumeric());
    chars.take(COMPARED).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(id: u64, level: Level, text: &str) -> Entry {
        let mut entry = Entry::new("app", Source::Worker, level, text);
        entry.id = id;
        entry.time_ms = 1000;
        entry
    }

    #[test]
    fn lines_are_found_by_what_they_say() {
        let mut recent = Recent::default();
        recent.add(&line(1, Level::Log, "log { a: 1 } [ 1, 2 ]"));
        recent.add(&line(2, Level::Error, "Error: logged\n    at f (a.js:1)"));
        recent.add(&line(3, Level::Log, "same"));
        recent.add(&line(4, Level::Log, "same"));
        recent.add(&line(
            5,
            Level::Error,
            "Uncaught (in promise): TypeError: boom\n    at g",
        ));
        let trace = Trace::read(
            "app",
            Some("v"),
            json!({
                "eventTimestamp": 990,
                "logs": [
                    {"level": "log", "message": ["log", {"a": 1}, [1, 2]]},
                    {"level": "error", "message": ["Error: logged"]},
                    {"level": "log", "message": ["same"]},
                    {"level": "log", "message": ["never printed"]},
                ],
                "exceptions": [{"name": "TypeError", "message": "boom"}],
            }),
        );
        assert_eq!(recent.of(&trace), [1, 2, 3, 5]);
        let other = Trace::read(
            "other",
            None,
            json!({
                "eventTimestamp": 990, "logs": [{"level": "log", "message": ["same"]}],
            }),
        );
        assert!(recent.of(&other).is_empty());
    }
}
