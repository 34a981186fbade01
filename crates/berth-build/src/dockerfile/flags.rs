//! `--name=value` between an instruction and its arguments.

use super::Result;
use crate::error::{Problem, nearest};

/// The flags of one instruction, in order.
#[derive(Debug)]
pub(super) struct Flags(Vec<(String, Option<String>)>);

/// Takes the flags off the front; only known ones are accepted.
pub(super) fn take<'a>(
    text: &'a str,
    instruction: &str,
    known: &[&str],
) -> Result<(Flags, &'a str)> {
    let mut flags = Vec::new();
    let mut rest = text.trim_start();
    while let Some(flag) = rest.strip_prefix("--") {
        let end = flag.find([' ', '\t']).unwrap_or(flag.len());
        let (word, after) = flag.split_at(end);
        rest = after.trim_start();
        if word.is_empty() {
            break;
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(unquote(value).to_owned())),
            None => (word, None),
        };
        if !known.contains(&name) {
            return Err(unknown(name, instruction, known));
        }
        flags.push((name.to_owned(), value));
    }
    Ok((Flags(flags), rest))
}

fn unquote(value: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(value)
}

fn unknown(name: &str, instruction: &str, known: &[&str]) -> Problem {
    let problem = Problem::new(format!("{instruction} has no flag `--{name}`"));
    if known.is_empty() {
        return problem.hint(format!("{instruction} takes no flags"));
    }
    match nearest(name, known) {
        Some(near) => problem.hint(format!("did you mean `--{near}`?")),
        None => problem.hint(format!("it has --{}", known.join(", --"))),
    }
}

impl Flags {
    /// The value of a flag that may be given once.
    pub(super) fn one(&self, name: &str) -> Result<Option<String>> {
        let mut values = self.all(name)?;
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(Problem::new(format!("`--{name}` is given more than once"))),
        }
    }

    /// The values of a flag.
    pub(super) fn all(&self, name: &str) -> Result<Vec<String>> {
        self.0
            .iter()
            .filter(|(flag, _)| flag == name)
            .map(|(_, value)| {
                value
                    .clone()
                    .filter(|value| !value.is_empty())
                    .ok_or_else(|| Problem::new(format!("`--{name}` has no value")))
            })
            .collect()
    }

    /// A flag that is there or not (`--link`, `--link=false`).
    pub(super) fn switch(&self, name: &str) -> Result<bool> {
        match self.0.iter().rfind(|(flag, _)| flag == name) {
            None => Ok(false),
            Some((_, None)) => Ok(true),
            Some((_, Some(value))) => match value.as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(Problem::new(format!("`--{name}` is true or false"))),
            },
        }
    }
}
