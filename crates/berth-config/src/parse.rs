//! Text → [`Value`]. The format follows from the file's name.

use crate::Diagnostic;
use crate::source::Source;
use crate::value::{Kind, Value};

mod jsonc;
mod toml;

/// The two file formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Jsonc,
    Toml,
}

impl Format {
    /// By extension; wrangler reads `.json` with comments and trailing commas too.
    pub(crate) fn of(source: &Source) -> Option<Self> {
        match source.path().extension()?.to_str()? {
            "json" | "jsonc" => Some(Self::Jsonc),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }
}

/// A parsed file, and the warnings of parsing.
pub(crate) struct Parsed {
    pub(crate) root: Value,
    pub(crate) warnings: Vec<Diagnostic>,
}

/// Parses a file. The root is always an object.
///
/// # Errors
/// One syntax error, or a root which is no object.
pub(crate) fn parse(source: &Source, format: Format) -> Result<Parsed, Box<Diagnostic>> {
    let parsed = match format {
        Format::Jsonc => jsonc::parse(source)?,
        Format::Toml => toml::parse(source)?,
    };
    match parsed.root.kind {
        Kind::Object(_) => Ok(parsed),
        other => Err(Box::new(
            source
                .error(
                    parsed.root.span,
                    format!("the file must hold an object, but holds {other}"),
                )
                .with_hint("put the fields between `{` and `}`"),
        )),
    }
}

#[cfg(test)]
mod tests;
