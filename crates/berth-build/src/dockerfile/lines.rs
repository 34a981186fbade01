//! Physical lines → logical lines: directives, comments, continuations, here-documents.

use super::Result;
use super::heredoc::{self, Heredoc};
use crate::error::Problem;

/// One instruction's text.
#[derive(Debug)]
pub(super) struct Logical {
    /// From 1.
    pub(super) line: usize,
    /// Without the continuation characters and newlines.
    pub(super) text: String,
    pub(super) heredocs: Vec<Heredoc>,
}

/// Instructions that may have here-documents.
const WITH_HEREDOCS: [&str; 3] = ["RUN", "COPY", "ADD"];

/// Splits a Dockerfile. Returns the escape character, too.
pub(super) fn split(text: &str) -> Result<(char, Vec<Logical>)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text.lines().collect();
    let escape = directives(&lines)?;
    let mut logical = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if is_blank_or_comment(lines[at]) {
            at += 1;
            continue;
        }
        let first = at;
        let mut joined = String::new();
        loop {
            let line = if at == first {
                lines[at].trim_start()
            } else {
                lines[at]
            };
            at += 1;
            if at > first + 1 && is_blank_or_comment(line) {
                if at < lines.len() {
                    continue;
                }
                break;
            }
            match continued(line, escape) {
                Some(part) if at < lines.len() => joined.push_str(part),
                Some(part) => {
                    joined.push_str(part);
                    break;
                }
                None => {
                    joined.push_str(line);
                    break;
                }
            }
        }
        let heredocs =
            heredocs(&joined, &lines, &mut at).map_err(|problem| problem.at(first + 1, &joined))?;
        logical.push(Logical {
            line: first + 1,
            text: joined.trim_end().to_owned(),
            heredocs,
        });
    }
    Ok((escape, logical))
}

/// `# name=value` lines before anything else.
fn directives(lines: &[&str]) -> Result<char> {
    let mut escape = '\\';
    for (number, line) in lines.iter().enumerate() {
        let directive = line
            .trim()
            .strip_prefix('#')
            .and_then(|comment| comment.split_once('='))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim()));
        let Some((name, value)) = directive else {
            break;
        };
        match name.as_str() {
            "escape" => {
                escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    _ => {
                        let problem =
                            Problem::new("the escape character must be `\\` or a backtick");
                        return Err(problem.at(number + 1, line));
                    }
                }
            }
            "syntax" | "check" => {}
            _ => break,
        }
    }
    Ok(escape)
}

fn is_blank_or_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// The line without its continuation character, if it ends with one.
fn continued(line: &str, escape: char) -> Option<&str> {
    line.trim_end_matches([' ', '\t', '\r'])
        .strip_suffix(escape)
}

fn heredocs(joined: &str, lines: &[&str], at: &mut usize) -> Result<Vec<Heredoc>> {
    let keyword = joined
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_ascii_uppercase();
    if !WITH_HEREDOCS.contains(&keyword.as_str()) {
        return Ok(Vec::new());
    }
    let mut found = heredoc::find(joined);
    for document in &mut found {
        loop {
            let Some(line) = lines.get(*at) else {
                return Err(Problem::new(format!(
                    "the here-document `{}` does not end",
                    document.name
                ))
                .hint(format!(
                    "end it with a line that is only `{}`",
                    document.name
                )));
            };
            *at += 1;
            let line = if document.strip_tabs {
                line.trim_start_matches('\t')
            } else {
                line
            };
            if line == document.name {
                break;
            }
            document.content.push_str(line);
            document.content.push('\n');
        }
    }
    Ok(found)
}
