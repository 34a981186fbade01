//! The progress of a build, as BuildKit shows it: redrawn in place on a terminal, as lines, or as
//! JSON events.

mod json;
mod plain;
mod screen;

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use berth_build::{BuildError, BuildEvent};
use berth_error::harmless;
use berth_image::Image;

use crate::printer;

/// How often times on a terminal move on, and lines that were held back are looked at.
const TICK: Duration = Duration::from_millis(100);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Redrawn in place, on standard error.
    Screen,
    /// Lines, on standard error.
    Plain,
    /// One object per line, on standard output.
    Json,
    /// Not at all.
    Quiet,
}

impl Mode {
    /// What fits standard error.
    pub(crate) fn fitting() -> Self {
        match std::io::stderr().is_terminal() {
            true => Self::Screen,
            false => Self::Plain,
        }
    }
}

/// What becomes of the events: text to write out.
trait View: Send {
    /// Takes an event in.
    fn event(&mut self, event: &BuildEvent, now: Instant) -> String;
    /// Time has passed.
    fn tick(&mut self, now: Instant) -> String;
    /// Nothing comes any more.
    fn end(&mut self, now: Instant) -> String;
}

/// Shows one build.
pub(crate) struct Progress {
    mode: Mode,
    view: Arc<Mutex<Box<dyn View>>>,
    ticker: Option<Ticker>,
}

/// A thread that lets the view know that time passes; it ends when this is dropped.
struct Ticker {
    _stop: std::sync::mpsc::Sender<()>,
}

impl Progress {
    pub(crate) fn start(mode: Mode) -> Self {
        let now = Instant::now();
        let view: Box<dyn View> = match mode {
            Mode::Screen => Box::new(screen::Screen::new(now)),
            Mode::Plain => Box::new(plain::Plain::default()),
            Mode::Json => Box::new(json::Json::new(now)),
            Mode::Quiet => Box::new(Nothing),
        };
        let view = Arc::new(Mutex::new(view));
        let ticker =
            matches!(mode, Mode::Screen | Mode::Plain).then(|| Ticker::start(view.clone()));
        Self {
            mode,
            view,
            ticker: ticker.flatten(),
        }
    }

    /// Shows an event.
    #[expect(clippy::needless_pass_by_value, reason = "it is a callback's argument")]
    pub(crate) fn show(&self, event: BuildEvent) {
        self.with(|view| view.event(&event, Instant::now()));
    }

    /// The build was given up.
    pub(crate) fn end(mut self) {
        self.close();
    }

    /// There is an image.
    pub(crate) fn built(mut self, image: &Image, names: &[String]) {
        self.close();
        match self.mode {
            Mode::Quiet => printer::line(image.id.to_string()),
            Mode::Json => printer::line(json::built(image, names)),
            Mode::Screen | Mode::Plain => {}
        }
    }

    /// The build failed: shows where. The error itself is the caller's to report.
    pub(crate) fn failed(mut self, error: &BuildError) {
        self.close();
        let excerpt = error.location().map_or("", |location| &location.excerpt);
        match self.mode {
            Mode::Json => printer::line(json::failed(error)),
            Mode::Screen | Mode::Plain if !excerpt.is_empty() => printer::note(harmless(excerpt)),
            _ => {}
        }
    }

    fn close(&mut self) {
        self.ticker = None;
        self.with(|view| view.end(Instant::now()));
    }

    fn with(&self, act: impl FnOnce(&mut dyn View) -> String) {
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let text = act(view.as_mut());
        write_out(self.mode, &text);
    }
}

fn write_out(mode: Mode, text: &str) {
    if !text.is_empty() {
        match mode {
            Mode::Json => printer::line(text),
            _ => printer::text(text),
        }
    }
}

impl Ticker {
    fn start(view: Arc<Mutex<Box<dyn View>>>) -> Option<Self> {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let run = move || {
            use std::sync::mpsc::RecvTimeoutError::Timeout;
            while stopped.recv_timeout(TICK) == Err(Timeout) {
                let mut view = view.lock().unwrap_or_else(PoisonError::into_inner);
                // Dropped while this waited for the lock: the last word is said.
                if stopped.recv_timeout(Duration::ZERO) != Err(Timeout) {
                    return;
                }
                let text = view.tick(Instant::now());
                write_out(Mode::Plain, &text);
            }
        };
        let thread = std::thread::Builder::new().name("progress".to_owned());
        // Without it, times stand still; nothing is lost.
        thread.spawn(run).ok().map(|_| Self { _stop: stop })
    }
}

/// Shows nothing.
struct Nothing;

impl View for Nothing {
    fn event(&mut self, _: &BuildEvent, _: Instant) -> String {
        String::new()
    }
    fn tick(&mut self, _: Instant) -> String {
        String::new()
    }
    fn end(&mut self, _: Instant) -> String {
        String::new()
    }
}

/// `1.2s`, `83.0s`.
fn seconds(time: Duration) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write!(text, "{:.1}s", time.as_secs_f64());
    text
}

/// A warning as a line.
pub(crate) fn warning(rule: Option<&str>, message: &str, line: Option<usize>) -> String {
    let line = line
        .map(|line| format!("line {line}: "))
        .unwrap_or_default();
    let rule = rule.map(|rule| format!(" ({rule})")).unwrap_or_default();
    format!("warning: {line}{}{rule}", clean(message))
}

/// A line of a program's output as it may be shown: of what terminals obey only colours stay.
fn clean(line: &str) -> String {
    harmless(line).replace('\t', " ").replace('\n', "")
}

/// The same without colours, for a line that is coloured and cut to fit.
fn bare(line: &str) -> String {
    anstream::adapter::strip_str(&clean(line)).to_string()
}

#[cfg(test)]
mod tests {
    use super::{bare, clean};

    #[test]
    fn lines_command_no_terminal() {
        let line = "\x1b[32m5\ttests\x1b[0m pass\x1b[1A\x1b[2K\x1b]0;title\x07ed\n\u{9b}2J";
        assert_eq!(clean(line), "\x1b[32m5 tests\x1b[0m passed2J");
        assert_eq!(bare(line), "5 tests passed2J");
    }
}
