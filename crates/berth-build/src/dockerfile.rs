//! The Dockerfile front end: text → instructions, each with the line it began on.
//!
//! Owner of the language, nothing else: no file is read here, and no variable is expanded (see
//! [`expand`]) until a build knows its value. The rules are those of BuildKit's stable frontend
//! (`frontend/dockerfile` of moby/buildkit): parser directives, comments also inside continued lines,
//! here-documents.

mod arguments;
mod directives;
pub(crate) mod expand;
mod flags;
mod healthcheck;
pub(crate) mod heredoc;
mod instruction;
mod lines;
pub(crate) mod mount;
mod parse;

pub(crate) use heredoc::Heredoc;
pub(crate) use instruction::{Command, Copy, From, Instruction, Kind, Run};
pub(crate) use parse::{parse, parse_trigger};

use crate::error::Problem;
use crate::lint::Linter;

/// A Dockerfile, parsed.
#[derive(Debug)]
pub(crate) struct Dockerfile {
    /// The character of the `escape` directive: `\` or a backtick.
    pub(crate) escape: char,
    /// In the order of the file.
    pub(crate) instructions: Vec<Instruction>,
    /// What is legal but probably not meant.
    pub(crate) lint: Linter,
}

/// A problem at a line, before anybody knows the file's path.
pub(crate) type Result<T> = std::result::Result<T, Problem>;

#[cfg(test)]
mod tests;
