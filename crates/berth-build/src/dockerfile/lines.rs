//! Physical lines → logical lines: comments, continuations, here-documents.

use super::Result;
use super::arguments::json_list;
use super::directives::{Directives, assignment, directives};
use super::flags::Head;
use super::heredoc::{self, Heredoc};
use crate::error::Problem;
use crate::lint::{Checks, Linter, Rule};

/// One instruction's text.
#[derive(Debug)]
pub(super) struct Logical {
    /// From 1.
    pub(super) line: usize,
    /// Without the continuation characters and newlines.
    pub(super) text: String,
    /// The text, taken apart.
    pub(super) head: Head,
    pub(super) heredocs: Vec<Heredoc>,
    /// What `# check=` comments before it say.
    pub(super) checks: Option<Checks>,
    /// The last comment line before it.
    pub(super) comment: Option<String>,
}

/// Instructions that may have here-documents.
const WITH_HEREDOCS: [&str; 3] = ["RUN", "COPY", "ADD"];

/// What a file consists of.
#[derive(Debug)]
pub(super) struct Split {
    pub(super) escape: char,
    pub(super) lint: Linter,
    pub(super) logical: Vec<Logical>,
}

/// Splits a Dockerfile.
pub(super) fn split(text: &str) -> Result<Split> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let Directives {
        escape,
        checks,
        lines: at,
    } = directives(&lines)?;
    let mut splitter = Splitter {
        lines,
        at,
        escape,
        comments: Vec::new(),
        lint: Linter::new(checks),
    };
    let mut logical = Vec::new();
    while let Some(next) = splitter.next()? {
        logical.push(next);
    }
    Ok(Split {
        escape,
        lint: splitter.lint,
        logical,
    })
}

struct Splitter<'a> {
    /// Each with its newline.
    lines: Vec<&'a str>,
    /// The next one.
    at: usize,
    escape: char,
    /// Comments since the last instruction.
    comments: Vec<&'a str>,
    lint: Linter,
}

impl<'a> Splitter<'a> {
    fn next(&mut self) -> Result<Option<Logical>> {
        let Some((first, mut joined, mut ended)) = self.begin() else {
            return Ok(None);
        };
        let mut empty_line = false;
        while !ended && let Some(line) = self.take() {
            if is_comment(line) {
                continue;
            }
            let line = without_newline(line);
            if line.trim_start().is_empty() {
                empty_line = true;
                continue;
            }
            let (part, is_end) = continued(line, self.escape);
            joined.push_str(part);
            ended = is_end;
        }
        let checks = checks(&self.comments);
        let comment = self.comments.last().map(|comment| (*comment).to_owned());
        self.comments.clear();
        if empty_line {
            let message = "an empty line inside an instruction will become an error";
            self.lint
                .warn(Rule::NoEmptyContinuation, self.at, None, message);
        }
        let text = joined.trim().to_owned();
        let placed = |problem: Problem| problem.at(first, &text);
        if text.contains('\u{fffd}') {
            return Err(placed(
                Problem::new("the line is not UTF-8").hint("save the file in the UTF-8 encoding"),
            ));
        }
        let head = Head::new(&joined, self.escape).map_err(placed)?;
        let heredocs = self.heredocs(&joined, &head).map_err(placed)?;
        Ok(Some(Logical {
            line: first,
            text,
            head,
            heredocs,
            checks,
            comment,
        }))
    }

    /// The first line of an instruction: its number, what it says, and whether it is the last.
    fn begin(&mut self) -> Option<(usize, String, bool)> {
        while let Some(line) = self.take() {
            let trimmed = without_newline(line).trim_start();
            if let Some(comment) = trimmed.strip_prefix('#') {
                match comment.trim() {
                    "" => self.comments.clear(),
                    comment => self.comments.push(comment),
                }
                continue;
            }
            let (part, ended) = continued(trimmed, self.escape);
            if !(ended && part.is_empty()) {
                return Some((self.at, part.to_owned(), ended));
            }
        }
        None
    }

    fn take(&mut self) -> Option<&'a str> {
        let line = self.lines.get(self.at).copied()?;
        self.at += 1;
        Some(line)
    }

    fn heredocs(&mut self, joined: &str, head: &Head) -> Result<Vec<Heredoc>> {
        if !joined.contains("<<") || !may_have_heredocs(head, self.escape)? {
            return Ok(Vec::new());
        }
        let mut found = heredoc::find(joined)?;
        for document in &mut found {
            self.content(document)?;
        }
        Ok(found)
    }

    fn content(&mut self, document: &mut Heredoc) -> Result<()> {
        while let Some(line) = self.take() {
            let text = without_newline(line);
            let text = if document.strip_tabs {
                text.trim_start_matches('\t')
            } else {
                text
            };
            if text == document.name {
                return Ok(());
            }
            document.content.push_str(line);
        }
        let name = &document.name;
        Err(
            Problem::new(format!("the here-document `{name}` does not end"))
                .hint(format!("end it with a line that is only `{name}`")),
        )
    }
}

/// Also when it is what `ONBUILD` keeps for later.
fn may_have_heredocs(head: &Head, escape: char) -> Result<bool> {
    let keyword = head.keyword.to_ascii_uppercase();
    if keyword == "ONBUILD" {
        let inner = Head::new(&head.rest, escape)?;
        let inner_keyword = inner.keyword.to_ascii_uppercase();
        return Ok(inner_keyword != "ONBUILD" && may_have_heredocs(&inner, escape)?);
    }
    Ok(WITH_HEREDOCS.contains(&keyword.as_str()) && json_list(&head.rest)?.is_none())
}

fn checks(comments: &[&str]) -> Option<Checks> {
    comments.iter().find_map(|comment| {
        let (name, value) = assignment(comment)?;
        let value = value.split(' ').next().unwrap_or_default();
        (name == "check").then(|| Checks::parse(value).ok())?
    })
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

fn without_newline(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

/// The line without its continuation character, and whether it had none. Two of them are an escaped
/// one.
fn continued(line: &str, escape: char) -> (&str, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(part) if !part.ends_with(escape) => (part, false),
        _ => (line, true),
    }
}
