//! One finding about a file, and how it is shown: message, `file:line:column`, the line, a caret, the hint.
//!
//! Invariant: texts that come from the file are free of control characters, so a file cannot move
//! the reader's cursor or colour their terminal.

use std::fmt;
use std::path::{Path, PathBuf};

use berth_error::Hint;

mod render;

/// Whether a finding stops the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The project cannot run like this.
    Error,
    /// The project runs, perhaps not as its author thinks.
    Warning,
}

/// A place in a text file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// Characters to underline, at least 1, never past the end of the line.
    pub width: usize,
    /// The text of the line, without its end.
    pub source_line: String,
}

/// One finding about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The file, absolute.
    pub file: PathBuf,
    /// Where in the file; `None`: the file as a whole.
    pub location: Option<Location>,
    /// What is wrong: lower-case, no full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error about a whole file; see [`Diagnostic::at`] and [`Diagnostic::with_hint`].
    pub fn error(file: &Path, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, file, message)
    }

    /// A warning about a whole file.
    pub fn warning(file: &Path, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, file, message)
    }

    fn new(severity: Severity, file: &Path, message: impl Into<String>) -> Self {
        Self {
            severity,
            file: file.to_owned(),
            location: None,
            message: render::clean(&message.into()),
            hint: None,
        }
    }

    /// The same finding at a place in its file.
    #[must_use]
    pub fn at(mut self, location: Location) -> Self {
        self.location = Some(location);
        self
    }

    /// The same finding with advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(render::clean(&hint.into()));
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = render::shown(&self.file);
        match &self.location {
            Some(place) => write!(
                formatter,
                "{}:{}:{}: {}",
                file.display(),
                place.line,
                place.column,
                self.message
            ),
            None => write!(formatter, "{}: {}", file.display(), self.message),
        }
    }
}

impl std::error::Error for Diagnostic {}

impl Hint for Diagnostic {
    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

/// Every mistake of a project, and the warnings found on the way.
#[derive(Clone, Debug)]
pub struct ConfigErrors {
    /// Never empty; ordered by place.
    pub errors: Vec<Diagnostic>,
    /// Ordered by place. Print them too: a misspelt field often explains an error.
    pub warnings: Vec<Diagnostic>,
}

impl ConfigErrors {
    /// Warnings, then errors, as they are shown on a terminal, coloured; strip the escapes elsewhere.
    pub fn render(&self) -> String {
        self.warnings
            .iter()
            .chain(&self.errors)
            .map(Diagnostic::render)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// [`ConfigErrors::render`] without colour.
    pub fn render_plain(&self) -> String {
        anstream::adapter::strip_str(&self.render()).to_string()
    }
}

impl From<Diagnostic> for ConfigErrors {
    fn from(error: Diagnostic) -> Self {
        Self {
            errors: vec![error],
            warnings: Vec::new(),
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors.as_slice() {
            [] => formatter.write_str("the configuration is not usable"),
            [only] => only.fmt(formatter),
            [first, rest @ ..] => write!(formatter, "{first} (and {} more)", rest.len()),
        }
    }
}

impl std::error::Error for ConfigErrors {}

impl Hint for ConfigErrors {
    fn hint(&self) -> Option<String> {
        match self.errors.as_slice() {
            [only] => only.hint.clone(),
            _ => None,
        }
    }
}
