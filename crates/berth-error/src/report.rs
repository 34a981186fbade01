//! The error type of the program's edge: a cause chain plus the hints found on the way.

use std::error::Error;
use std::fmt;

use crate::Hint;

/// An error on its way to the user: messages from the outermost to the root cause, and hints.
///
/// It is deliberately not [`Error`] itself, so that every `Error + Hint` converts with `?`.
pub struct Report {
    pub(crate) chain: Vec<String>,
    pub(crate) hints: Vec<String>,
    pub(crate) verbatim: bool,
}

impl Report {
    /// A text that is complete already, with its own labels and hints: a compiler's diagnostics.
    pub fn verbatim(text: impl Into<String>) -> Self {
        Self {
            chain: vec![text.into()],
            hints: Vec::new(),
            verbatim: true,
        }
    }

    /// A report without a cause: a message and, if there is one, what to do about it.
    pub fn new(message: impl Into<String>, hint: Option<String>) -> Self {
        Self {
            chain: vec![message.into()],
            hints: hint.into_iter().collect(),
            verbatim: false,
        }
    }

    /// A report of an error that has no hints of its own.
    pub fn from_error(error: &(dyn Error + 'static)) -> Self {
        let mut chain = vec![error.to_string()];
        let mut source = error.source();
        while let Some(cause) = source {
            chain.push(cause.to_string());
            source = cause.source();
        }
        Self {
            chain,
            hints: Vec::new(),
            verbatim: false,
        }
    }

    /// Puts a message in front: what was being done when this failed.
    #[must_use]
    pub fn context(mut self, message: impl Into<String>) -> Self {
        self.verbatim = false;
        self.chain.insert(0, message.into());
        self
    }

    /// Adds a cause at the end of the chain.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.chain.push(cause.into());
        self
    }

    /// Adds a hint unless the same one is there already.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        if !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
        self
    }

    /// The messages, outermost first. Never empty.
    pub fn chain(&self) -> &[String] {
        &self.chain
    }

    /// The hints, in the order they were found.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }
}

/// An error and its causes in one line, joined by `: `, for logs and messages to other programs.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl<E> From<E> for Report
where
    E: Error + Hint + 'static,
{
    fn from(error: E) -> Self {
        let hint = error.hint();
        let report = Self::from_error(&error);
        match hint {
            Some(hint) => report.with_hint(hint),
            None => report,
        }
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.render())
    }
}

/// Turns any `Result` into one that carries a [`Report`].
pub trait ResultExt<T> {
    /// Reports the error with a message in front of its chain.
    fn context(self, message: impl Into<String>) -> Result<T, Report>;
}

impl<T, E: Error + 'static> ResultExt<T> for Result<T, E> {
    fn context(self, message: impl Into<String>) -> Result<T, Report> {
        self.map_err(|error| Report::from_error(&error).context(message))
    }
}
