//! A file's text, and where a byte of it is for a reader.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::{Diagnostic, Location};

/// Bytes of a [`Source`], start inclusive, end exclusive.
pub(crate) type Span = Range<usize>;

/// One text file.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// A file with this text; a byte order mark in front is dropped.
    pub(crate) fn new(path: PathBuf, text: String) -> Self {
        let text = match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        };
        Self { path, text }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, or is not UTF-8.
    pub(crate) fn read(path: &Path) -> Result<Self, Box<Diagnostic>> {
        let bytes = fs_err::read(path).map_err(|error| {
            let message = format!("could not read the file: {}", io(&error));
            Box::new(
                Diagnostic::error(path, message).with_hint("check the path and its permissions"),
            )
        })?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(path.to_owned(), text)),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                let source = Self {
                    path: path.to_owned(),
                    text,
                };
                let error = source.error(valid..valid + 1, "the text is not UTF-8");
                Err(Box::new(error.with_hint("save the file as UTF-8")))
            }
        }
    }

    /// The file, absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The whole text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// An error at a place in this file.
    pub(crate) fn error(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(&self.path, message).at(self.locate(span))
    }

    /// A warning at a place in this file.
    pub(crate) fn warning(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::warning(&self.path, message).at(self.locate(span))
    }

    /// Where a span begins, and how much of that line it covers. Any span is allowed: it is cut to
    /// the text and to character boundaries.
    pub(crate) fn locate(&self, span: Span) -> Location {
        let start = self.boundary(span.start);
        let end = self.boundary(span.end).max(start);
        let before = self.text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let rest = self.text.get(line_start..).unwrap_or_default();
        let line = rest.split('\n').next().unwrap_or_default();
        let line = line.strip_suffix('\r').unwrap_or(line);
        let line_end = line_start + line.len();
        let covered = self
            .text
            .get(start.min(line_end)..end.min(line_end))
            .unwrap_or_default();
        Location {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            width: covered.chars().count().max(1),
            source_line: line.to_owned(),
        }
    }

    fn boundary(&self, mut index: usize) -> usize {
        index = index.min(self.text.len());
        while !self.text.is_char_boundary(index) {
            index -= 1;
        }
        index
    }
}

/// An I/O error without the path that `fs-err` puts in front: diagnostics name it themselves.
pub(crate) fn io(error: &std::io::Error) -> String {
    let text = error.to_string();
    match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => match text.rsplit_once("`: ") {
            Some((_, cause)) => cause.to_owned(),
            None => text,
        },
    }
}
