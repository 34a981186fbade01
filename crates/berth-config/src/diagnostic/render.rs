//! How a [`Diagnostic`] looks.

use std::fmt::Write as _;
use std::path::Path;

use owo_colors::OwoColorize as _;

use super::{Diagnostic, Location, Severity};

/// Longest part of a line that is shown, in characters.
const WINDOW: usize = 120;

impl Diagnostic {
    /// As it is shown on a terminal, coloured; strip the escapes for other outputs. Ends in a newline.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let colon = ":".bold().to_string();
        let _ = match self.severity {
            Severity::Error => writeln!(text, "{}{colon} {}", "error".red().bold(), self.message),
            Severity::Warning => {
                writeln!(
                    text,
                    "{}{colon} {}",
                    "warning".yellow().bold(),
                    self.message
                )
            }
        };
        let file = shown(&self.file);
        let arrow = "-->".blue().to_string();
        match &self.location {
            Some(place) => {
                let gutter = place.line.to_string().len();
                let _ = writeln!(
                    text,
                    "{:gutter$}{arrow} {}:{}:{}",
                    "",
                    file.display(),
                    place.line,
                    place.column
                );
                self.excerpt(&mut text, place, gutter);
            }
            None => {
                let _ = writeln!(text, " {arrow} {}", file.display());
            }
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "{}{colon} {hint}", "hint".cyan().bold());
        }
        text
    }

    /// [`Diagnostic::render`] without colour.
    pub fn render_plain(&self) -> String {
        anstream::adapter::strip_str(&self.render()).to_string()
    }

    fn excerpt(&self, text: &mut String, place: &Location, gutter: usize) {
        let window = Window::around(place);
        let bar = "|".blue().to_string();
        let line = place.line.to_string();
        let carets = "^".repeat(window.width);
        let carets = match self.severity {
            Severity::Error => carets.red().bold().to_string(),
            Severity::Warning => carets.yellow().bold().to_string(),
        };
        let _ = writeln!(text, "{:gutter$} {bar}", "");
        let _ = writeln!(text, "{} {bar} {}", line.blue(), window.text.trim_end());
        let _ = writeln!(text, "{:gutter$} {bar} {}{carets}", "", window.padding);
    }
}

/// The part of a line that is shown, and the space in front of its carets.
struct Window {
    text: String,
    padding: String,
    width: usize,
}

impl Window {
    fn around(place: &Location) -> Self {
        let line: Vec<char> = clean(&place.source_line).chars().collect();
        let target = place.column.saturating_sub(1).min(line.len());
        let (start, end) = if line.len() <= WINDOW {
            (0, line.len())
        } else {
            let start = target.saturating_sub(WINDOW / 3).min(line.len() - WINDOW);
            (start, start + WINDOW)
        };
        let mut text = String::new();
        let mut padding = String::new();
        if start > 0 {
            text.push('…');
            padding.push(' ');
        }
        for (index, &character) in line.iter().enumerate().take(end).skip(start) {
            text.push(character);
            if index < target {
                padding.push(if character == '\t' { '\t' } else { ' ' });
            }
        }
        if end < line.len() {
            text.push('…');
        }
        Self {
            text,
            padding,
            width: place.width.min(end.saturating_sub(target)).max(1),
        }
    }
}

/// The path as it is shown: relative to the current directory if it lies inside.
pub(super) fn shown(file: &Path) -> &Path {
    let current = std::env::current_dir().unwrap_or_default();
    match file.strip_prefix(&current) {
        Ok(relative) if !relative.as_os_str().is_empty() => relative,
        _ => file,
    }
}

/// The text without control characters but tab and newline.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\t' | '\n' => character,
            control if control.is_control() => char::REPLACEMENT_CHARACTER,
            other => other,
        })
        .collect()
}
