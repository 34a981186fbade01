//! Where decoders report to.

use std::cell::RefCell;

use crate::parse::Format;
use crate::source::{Source, Span};
use crate::{Diagnostic, Location, Purpose, Severity};

/// The file that is decoded, and what was found in it so far.
pub(crate) struct Cx<'a> {
    pub(crate) source: &'a Source,
    pub(crate) format: Format,
    pub(crate) purpose: Purpose,
    findings: RefCell<Vec<Diagnostic>>,
}

impl<'a> Cx<'a> {
    pub(crate) fn new(source: &'a Source, format: Format) -> Self {
        Self {
            source,
            format,
            purpose: Purpose::Dev,
            findings: RefCell::new(Vec::new()),
        }
    }

    pub(crate) fn for_purpose(self, purpose: Purpose) -> Self {
        Self { purpose, ..self }
    }

    /// A server runs it.
    pub(crate) fn is_deployed(&self) -> bool {
        self.purpose == Purpose::Deploy
    }

    /// Reports a mistake and what to do about it.
    pub(crate) fn error(&self, span: &Span, message: impl Into<String>, hint: impl Into<String>) {
        self.push(self.source.error(span.clone(), message).with_hint(hint));
    }

    /// Reports something to know, and what to do about it.
    pub(crate) fn warn(&self, span: &Span, message: impl Into<String>, hint: impl Into<String>) {
        self.push(self.source.warning(span.clone(), message).with_hint(hint));
    }

    /// Reports anything.
    pub(crate) fn push(&self, finding: Diagnostic) {
        self.findings.borrow_mut().push(finding);
    }

    /// A place that outlives the file's text.
    pub(crate) fn locate(&self, span: &Span) -> Location {
        self.source.locate(span.clone())
    }

    /// Errors and warnings, each ordered by place.
    pub(crate) fn finish(self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        let mut findings = self.findings.into_inner();
        findings.sort_by_key(|finding| {
            finding
                .location
                .as_ref()
                .map_or((0, 0), |place| (place.line, place.column))
        });
        findings.dedup();
        findings
            .into_iter()
            .partition(|finding| finding.severity == Severity::Error)
    }
}
