//! The Dockerfile front end: text → instructions, each with the line it began on.
//!
//! Owner of the language, nothing else: no file is read here but the Dockerfile, and no variable is
//! expanded (see [`expand`]) until a build knows its value. The rules are those of Docker's reference
//! for syntax 1: parser directives, comments also inside continued lines, here-documents.

mod arguments;
pub(crate) mod expand;
mod flags;
mod healthcheck;
mod heredoc;
mod instruction;
mod lines;
mod mount;
mod parse;

pub(crate) use heredoc::Heredoc;
pub(crate) use instruction::{Command, Copy, From, Instruction, Kind, Run, RunMountKind};
pub(crate) use parse::{parse, parse_trigger};

use crate::error::Problem;

/// A Dockerfile, parsed.
#[derive(Debug)]
pub(crate) struct Dockerfile {
    /// The character of the `escape` directive: `\` or a backtick.
    pub(crate) escape: char,
    /// In the order of the file.
    pub(crate) instructions: Vec<Instruction>,
}

/// A problem at a line, before anybody knows the file's path.
pub(crate) type Result<T> = std::result::Result<T, Problem>;

#[cfg(test)]
mod tests;
