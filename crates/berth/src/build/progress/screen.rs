//! A terminal: the steps, redrawn in place, with the last lines of those that work.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use berth_build::{BuildEvent, Outcome};
use owo_colors::OwoColorize as _;

use super::{View, bare, seconds, warning};
use crate::terminal::{self, cut, width};

/// Lines of output shown below a step that works.
const TAIL: usize = 6;
/// Without a known size.
const SIZE: (u16, u16) = (24, 80);
/// Drawing more often than this flickers.
const REDRAW: Duration = Duration::from_millis(40);

pub(super) struct Screen {
    began: Instant,
    drawn: Option<Instant>,
    /// Lines on the terminal that the next frame replaces.
    lines: usize,
    steps: BTreeMap<usize, Step>,
}

struct Step {
    name: String,
    began: Instant,
    ended: Option<(Instant, Outcome)>,
    tail: VecDeque<String>,
}

impl Screen {
    pub(super) fn new(began: Instant) -> Self {
        Self {
            began,
            drawn: None,
            lines: 0,
            steps: BTreeMap::new(),
        }
    }

    /// What replaces the last frame on the terminal.
    fn redraw(&mut self, now: Instant, size: (u16, u16), last: bool) -> String {
        let frame = self.frame(now, size, last);
        let mut text = String::new();
        if self.lines > 0 {
            let _ = write!(text, "\x1b[{}A", self.lines);
        }
        for line in &frame {
            let _ = writeln!(text, "\r\x1b[2K{line}");
        }
        // The frame before was longer.
        text.push_str("\x1b[0J");
        self.lines = frame.len();
        self.drawn = Some(now);
        text
    }

    /// The lines of a frame: at most as many as the terminal has, unless it is the last one.
    fn frame(&self, now: Instant, size: (u16, u16), last: bool) -> Vec<String> {
        let (rows, columns) = (usize::from(size.0), usize::from(size.1));
        let over = |step: &&Step| step.ended.is_some();
        let done = self.steps.values().filter(over).count();
        let finished = if last && done == self.steps.len() {
            " FINISHED"
        } else {
            ""
        };
        let head = format!(
            "[+] Building {} ({done}/{}){finished}",
            seconds(now - self.began),
            self.steps.len()
        );
        let room = rows.saturating_sub(2).max(4);
        let working = self.steps.len() - done;
        let tail = room.saturating_sub(self.steps.len()) / working.max(1);
        let mut lines: Vec<String> = Vec::new();
        for step in self.steps.values() {
            lines.push(step.line(now, columns));
            if step.ended.is_none() {
                let shown = step.tail.len().min(tail.min(TAIL));
                for line in step.tail.iter().skip(step.tail.len() - shown) {
                    let line = format!(" => => # {line}");
                    lines.push(cut(&line, columns).dimmed().to_string());
                }
            }
        }
        if !last && lines.len() > room {
            // The newest steps are the interesting ones.
            lines.drain(..lines.len() - room);
        }
        lines.insert(0, cut(&head, columns).to_owned());
        lines
    }
}

impl Step {
    fn line(&self, now: Instant, columns: usize) -> String {
        let (end, mark) = match &self.ended {
            None => (now, ""),
            Some((end, Outcome::Cached)) => (*end, "CACHED "),
            Some((end, Outcome::Failed(_))) => (*end, "ERROR "),
            Some((end, Outcome::Canceled)) => (*end, "CANCELED "),
            Some((end, Outcome::Done)) => (*end, ""),
        };
        let time = seconds(end - self.began);
        let room = columns.saturating_sub(time.len() + 2);
        let text = format!(" => {mark}{}", self.name);
        let text = cut(&text, room);
        let gap = room.saturating_sub(width(text)) + 1;
        let line = format!("{text}{:gap$}{time}", "");
        match &self.ended {
            None => line,
            Some((_, Outcome::Failed(_))) => line.red().to_string(),
            Some((_, Outcome::Canceled)) => line.yellow().to_string(),
            Some(_) => line.blue().to_string(),
        }
    }
}

impl View for Screen {
    fn event(&mut self, event: &BuildEvent, now: Instant) -> String {
        match event {
            BuildEvent::Warning {
                rule,
                message,
                line,
            } => {
                // Above everything that is redrawn: warnings come before the first step.
                let text = warning(*rule, message, *line);
                return format!("{}\n", text.yellow());
            }
            BuildEvent::Started { step, name } => {
                let new = Step {
                    name: bare(name),
                    began: now,
                    ended: None,
                    tail: VecDeque::new(),
                };
                self.steps.insert(*step, new);
            }
            BuildEvent::Output { step, line } => {
                if let Some(step) = self.steps.get_mut(step) {
                    step.tail.push_back(bare(line));
                    if step.tail.len() > TAIL {
                        step.tail.pop_front();
                    }
                }
            }
            BuildEvent::Finished { step, outcome } => {
                if let Some(step) = self.steps.get_mut(step) {
                    step.ended = Some((now, outcome.clone()));
                }
            }
        }
        if self.drawn.is_some_and(|drawn| now - drawn < REDRAW) {
            return String::new();
        }
        self.redraw(now, terminal::error_size().unwrap_or(SIZE), false)
    }

    fn tick(&mut self, now: Instant) -> String {
        self.redraw(now, terminal::error_size().unwrap_or(SIZE), false)
    }

    fn end(&mut self, now: Instant) -> String {
        self.redraw(now, terminal::error_size().unwrap_or(SIZE), true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(lines: &[String]) -> Vec<String> {
        lines
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect()
    }

    #[test]
    fn frames_replace_each_other_and_fit() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut screen = Screen::new(begin);
        let start = |screen: &mut Screen, step, name: &str| {
            let name = name.to_owned();
            screen.event(&BuildEvent::Started { step, name }, at(0))
        };
        start(&mut screen, 1, "[1/3] FROM base");
        let outcome = Outcome::Cached;
        screen.event(&BuildEvent::Finished { step: 1, outcome }, at(0));
        start(
            &mut screen,
            2,
            "[2/3] RUN a very long line that does not fit",
        );
        for n in 0..9 {
            let line = format!("line {n}");
            screen.event(&BuildEvent::Output { step: 2, line }, at(1));
        }
        let frame = plain(&screen.frame(at(1200), (8, 30), false));
        assert_eq!(
            frame,
            [
                "[+] Building 1.2s (1/2)",
                " => CACHED [1/3] FROM ba 0.0s",
                " => [2/3] RUN a very lon 1.2s",
                " => => # line 5",
                " => => # line 6",
                " => => # line 7",
                " => => # line 8",
            ]
            .map(str::to_owned)
        );
        let first = screen.redraw(at(1200), (8, 30), false);
        let second = screen.redraw(at(1300), (8, 30), false);
        assert!(second.starts_with("\x1b[7A"), "{second:?}");
        assert_eq!(first.matches('\n').count(), 7);
        for step in 3..20 {
            start(&mut screen, step, "more");
        }
        assert!(screen.frame(at(1300), (8, 30), false).len() <= 8);
        assert!(
            screen.frame(at(1300), (8, 30), true).len() > 18,
            "the last one has all"
        );
    }
}
