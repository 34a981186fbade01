//! Parser directives: `# name=value` lines before anything else in the file.

use super::Result;
use crate::error::{Problem, nearest};
use crate::lint::Checks;

/// The directives of a file.
#[derive(Debug)]
pub(super) struct Directives {
    /// `escape`.
    pub(super) escape: char,
    /// `check`.
    pub(super) checks: Checks,
    /// Lines that they take.
    pub(super) lines: usize,
}

/// Images of Docker's own frontend, whose language this is.
const FRONTENDS: [&str; 2] = ["docker/dockerfile", "docker/dockerfile-upstream"];

/// Reads the directives at the beginning of a file.
pub(super) fn directives(lines: &[&str]) -> Result<Directives> {
    let mut found = Directives {
        escape: '\\',
        checks: Checks::default(),
        lines: 0,
    };
    let mut seen: Vec<String> = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        // A first line for the kernel is none for us.
        if number == 0 && line.starts_with("#!") {
            break;
        }
        let Some((name, value)) = directive(line) else {
            break;
        };
        let placed = |problem: Problem| problem.at(number + 1, line.trim_end());
        if seen.contains(&name) {
            return Err(placed(Problem::new(format!(
                "there may be only one `{name}` directive"
            ))));
        }
        match name.as_str() {
            "escape" => found.escape = escape(value).map_err(placed)?,
            "check" => found.checks = Checks::parse(value).map_err(placed)?,
            "syntax" => syntax(value).map_err(placed)?,
            _ => break,
        }
        seen.push(name);
        found.lines = number + 1;
    }
    Ok(found)
}

/// Name, in lower case, and value.
pub(super) fn directive(line: &str) -> Option<(String, &str)> {
    assignment(line.trim_start().strip_prefix('#')?)
}

/// `name=value`, blanks around both allowed.
pub(super) fn assignment(text: &str) -> Option<(String, &str)> {
    let (name, value) = text.trim().split_once('=')?;
    let (name, value) = (name.trim_end(), value.trim_start());
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_name = starts && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_name && !value.is_empty()).then(|| (name.to_ascii_lowercase(), value))
}

fn escape(value: &str) -> Result<char> {
    match value {
        "\\" => Ok('\\'),
        "`" => Ok('`'),
        _ => Err(Problem::new(
            "the escape character must be `\\` or a backtick",
        )),
    }
}

/// Docker would run the named image to read the file; the language of Docker's own is ours.
fn syntax(value: &str) -> Result<()> {
    let image = value.split_whitespace().next().unwrap_or_default();
    let name = image.split('@').next().unwrap_or_default();
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    // A mirror's copy is the same.
    let name = match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => rest,
        _ => name,
    };
    if FRONTENDS.contains(&name) {
        return Ok(());
    }
    let problem = Problem::new(format!("the syntax `{image}` is not supported"));
    Err(match nearest(name, &FRONTENDS) {
        Some(near) => problem.hint(format!("did you mean `{near}:1`?")),
        None => problem.hint("only the language of `docker/dockerfile` is"),
    })
}
