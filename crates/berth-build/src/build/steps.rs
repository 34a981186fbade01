//! Steps as they are shown: numbers, names, how each ended.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::BuildError;
use crate::{BuildEvent, Outcome};

/// The steps of one build.
pub(super) struct Steps<'a> {
    callback: &'a (dyn Fn(BuildEvent) + Send + Sync),
    last: AtomicUsize,
}

impl<'a> Steps<'a> {
    pub(super) fn new(callback: &'a (dyn Fn(BuildEvent) + Send + Sync)) -> Self {
        Self {
            callback,
            last: AtomicUsize::new(0),
        }
    }

    /// Tells of something that concerns no step.
    pub(super) fn tell(&self, event: BuildEvent) {
        (self.callback)(event);
    }

    /// Begins a step.
    pub(super) fn start(&self, name: String) -> Step<'a> {
        let step = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        (self.callback)(BuildEvent::Started { step, name });
        Step {
            number: step,
            callback: self.callback,
            ended: false,
        }
    }
}

/// A step that has begun. Dropped before its end, it was cancelled.
pub(super) struct Step<'a> {
    number: usize,
    callback: &'a (dyn Fn(BuildEvent) + Send + Sync),
    ended: bool,
}

impl Step<'_> {
    /// A line of its output.
    pub(super) fn line(&self, line: String) {
        (self.callback)(BuildEvent::Output {
            step: self.number,
            line,
        });
    }

    /// Its end: whether its result came from the cache, or why it failed.
    pub(super) fn end<E: EndsStep>(mut self, result: &Result<bool, E>) {
        let outcome = match result {
            Ok(true) => Outcome::Cached,
            Ok(false) => Outcome::Done,
            Err(error) => error.outcome(),
        };
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: Outcome) {
        self.ended = true;
        (self.callback)(BuildEvent::Finished {
            step: self.number,
            outcome,
        });
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.tell(Outcome::Canceled);
        }
    }
}

/// What can end a step.
pub(super) trait EndsStep {
    fn outcome(&self) -> Outcome;
}

impl EndsStep for BuildError {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Canceled => Outcome::Canceled,
            other => Outcome::Failed(other.summary()),
        }
    }
}

impl EndsStep for String {
    fn outcome(&self) -> Outcome {
        Outcome::Failed(self.clone())
    }
}

/// The names of a stage's steps: `[build 2/4] RUN make`.
pub(super) struct Numbering {
    /// The stage's name with a space after it, or nothing if the file has one stage.
    stage: String,
    total: usize,
    last: usize,
}

impl Numbering {
    /// `name` is `None` for the only stage of a file.
    pub(super) fn new(name: Option<String>, total: usize) -> Self {
        Self {
            stage: name.map(|name| name + " ").unwrap_or_default(),
            total,
            last: 0,
        }
    }

    pub(super) fn next(&mut self, text: &str) -> String {
        self.last += 1;
        let width = self.total.to_string().len();
        format!(
            "[{}{:>width$}/{}] {text}",
            self.stage, self.last, self.total
        )
    }
}
