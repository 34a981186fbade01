//! The only place that writes to the terminal: everything else goes through these functions.

use std::io::Write as _;
use std::process::ExitCode;

use berth_error::{Report, ResultExt as _};

/// Prints a line on standard output. A closed pipe ends nothing: there is just nobody to read.
pub(crate) fn line(text: impl AsRef<str>) {
    let mut out = anstream::stdout().lock();
    let _ = writeln!(out, "{}", text.as_ref());
    let _ = out.flush();
}

/// Prints what a command found as JSON, for programs.
pub(crate) fn json(value: &serde_json::Value) -> Result<ExitCode, Report> {
    line(serde_json::to_string_pretty(value).context("could not write JSON")?);
    Ok(ExitCode::SUCCESS)
}

/// Prints a line on standard error.
pub(crate) fn note(text: impl AsRef<str>) {
    let _ = writeln!(anstream::stderr().lock(), "{}", text.as_ref());
}

/// Prints text with its own ends of lines on standard error.
pub(crate) fn text(text: &str) {
    let mut out = anstream::stderr().lock();
    let _ = write!(out, "{text}");
    let _ = out.flush();
}

/// Prints bytes as they are on standard output.
pub(crate) fn raw(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Prints bytes as they are on standard error.
pub(crate) fn raw_error(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stderr().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Prints an error with its causes and hints on standard error.
pub(crate) fn error(report: &Report) {
    let _ = write!(anstream::stderr().lock(), "{}", report.render());
}
