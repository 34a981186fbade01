//! Lines, as `docker build --progress=plain` prints them. Output of one step stays together for a
//! while before another one that works at the same time gets its turn.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use berth_build::{BuildEvent, Outcome};

use super::{View, clean, seconds, warning};

/// How long a step that has written something keeps others waiting, if it writes no more.
const QUIET: Duration = Duration::from_millis(500);
/// How long it keeps others waiting in any case.
const TURN: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct Plain {
    steps: BTreeMap<usize, Step>,
    /// Whose lines are being printed, since when, and when the last one was.
    current: Option<(usize, Instant, Instant)>,
}

struct Step {
    name: String,
    began: Instant,
    /// Not yet printed.
    waiting: Vec<String>,
    ended: Option<String>,
}

impl Plain {
    /// Prints what may be printed now.
    fn flush(&mut self, now: Instant, everything: bool) -> String {
        let mut text = String::new();
        loop {
            if let Some((step, since, last)) = self.current {
                let last = if self.print(step, &mut text) {
                    now
                } else {
                    last
                };
                self.current = Some((step, since, last));
                if self
                    .steps
                    .get(&step)
                    .is_some_and(|step| step.ended.is_some())
                {
                    self.finish(step, &mut text);
                    self.current = None;
                }
            }
            let others = self.steps.iter().filter(|(number, step)| {
                self.current.is_none_or(|(current, ..)| current != **number) && step.has_news()
            });
            // What has ended comes before what goes on.
            let Some((next, _)) =
                others.min_by_key(|(number, step)| (step.ended.is_none(), **number))
            else {
                return text;
            };
            let next = *next;
            if let Some((step, since, last)) = self.current {
                let wait = !everything && now - last < QUIET && now - since < TURN;
                if wait {
                    return text;
                }
                let _ = writeln!(text, "#{step} ...\n");
            }
            if let Some(step) = self.steps.get(&next) {
                let _ = writeln!(text, "#{next} {}", step.name);
            }
            self.current = Some((next, now, now));
        }
    }

    fn print(&mut self, number: usize, text: &mut String) -> bool {
        let Some(step) = self.steps.get_mut(&number) else {
            return false;
        };
        let any = !step.waiting.is_empty();
        for line in step.waiting.drain(..) {
            let _ = writeln!(text, "#{number} {line}");
        }
        any
    }

    fn finish(&mut self, number: usize, text: &mut String) {
        if let Some(ended) = self.steps.remove(&number).and_then(|step| step.ended) {
            let _ = writeln!(text, "#{number} {ended}\n");
        }
    }
}

impl Step {
    fn has_news(&self) -> bool {
        !self.waiting.is_empty() || self.ended.is_some()
    }
}

impl View for Plain {
    fn event(&mut self, event: &BuildEvent, now: Instant) -> String {
        match event {
            BuildEvent::Warning {
                rule,
                message,
                line,
            } => return warning(*rule, message, *line) + "\n",
            BuildEvent::Started { step, name } => {
                let name = clean(name);
                let new = Step {
                    name: name.clone(),
                    began: now,
                    waiting: Vec::new(),
                    ended: None,
                };
                self.steps.insert(*step, new);
                if self.current.is_none() {
                    self.current = Some((*step, now, now));
                    return format!("#{step} {name}\n");
                }
            }
            BuildEvent::Output { step, line } => {
                if let Some(step) = self.steps.get_mut(step) {
                    let time = (now - step.began).as_secs_f64();
                    step.waiting.push(format!("{time:.3} {}", clean(line)));
                }
            }
            BuildEvent::Finished { step, outcome } => {
                if let Some(step) = self.steps.get_mut(step) {
                    step.ended = Some(match outcome {
                        Outcome::Done => format!("DONE {}", seconds(now - step.began)),
                        Outcome::Cached => "CACHED".to_owned(),
                        Outcome::Failed(error) => format!("ERROR: {}", clean(error)),
                        Outcome::Canceled => "CANCELED".to_owned(),
                    });
                }
            }
        }
        self.flush(now, false)
    }

    fn tick(&mut self, now: Instant) -> String {
        self.flush(now, false)
    }

    fn end(&mut self, now: Instant) -> String {
        self.flush(now, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(step: usize, name: &str) -> BuildEvent {
        BuildEvent::Started {
            step,
            name: name.to_owned(),
        }
    }

    fn output(step: usize, line: &str) -> BuildEvent {
        BuildEvent::Output {
            step,
            line: line.to_owned(),
        }
    }

    fn finished(step: usize, outcome: Outcome) -> BuildEvent {
        BuildEvent::Finished { step, outcome }
    }

    #[test]
    fn steps_that_overlap_take_turns() {
        let mut plain = Plain::default();
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut text = String::new();
        for (ms, event) in [
            (0, started(1, "[a 1/2] FROM x")),
            (0, finished(1, Outcome::Cached)),
            (100, started(2, "[a 2/2] RUN one")),
            (100, started(3, "[b 2/2] RUN two")),
            (200, output(2, "a\u{1b}[31mred\u{1b}[0m")),
            (300, output(3, "first")),
            (1400, output(3, "second")),
            (1500, finished(3, Outcome::Done)),
            (1600, finished(2, Outcome::Failed("exit code 1".to_owned()))),
        ] {
            text += &plain.event(&event, at(ms));
        }
        text += &plain.end(at(1700));
        assert_eq!(
            text,
            "#1 [a 1/2] FROM x\n#1 CACHED\n\n\
             #2 [a 2/2] RUN one\n#2 0.100 a\u{1b}[31mred\u{1b}[0m\n#2 ...\n\n\
             #3 [b 2/2] RUN two\n#3 0.200 first\n#3 1.300 second\n#3 DONE 1.4s\n\n\
             #2 [a 2/2] RUN one\n#2 ERROR: exit code 1\n\n"
        );
    }

    #[test]
    fn what_waits_is_shown_when_time_passes() {
        let mut plain = Plain::default();
        let begin = Instant::now();
        plain.event(&started(1, "one"), begin);
        plain.event(&started(2, "two"), begin);
        assert_eq!(plain.event(&output(2, "x"), begin), "");
        assert!(plain.tick(begin + QUIET).contains("#2 0.000 x\n"));
        let end = plain.end(begin + QUIET);
        assert_eq!(end, "", "nothing is left: {end}");
    }
}
