//! Lint rules that need nothing but the text.

use crate::dockerfile::arguments::{pairs, plain_words};
use crate::dockerfile::flags::Head;
use crate::dockerfile::{Instruction, Kind};
use crate::lint::{Linter, Rule, names_a_secret};

/// Rules about one instruction.
pub(super) fn instruction(
    instruction: &Instruction,
    head: &Head,
    comment: Option<&str>,
    lint: &mut Linter,
) {
    let keyword = head.keyword.to_ascii_uppercase();
    let mut warn = |rule: Rule, message: String| {
        lint.warn(rule, instruction.line, instruction.checks.as_ref(), message);
    };
    if let Some(comment) = comment {
        described(&instruction.kind, &keyword, comment, &mut warn);
    }
    match &instruction.kind {
        Kind::Maintainer(_) => warn(
            Rule::MaintainerDeprecated,
            "MAINTAINER is deprecated, use a label instead".to_owned(),
        ),
        Kind::From(_) => from(head, &mut warn),
        Kind::Env(list) | Kind::Label(list) => {
            if pairs(&head.rest, '\\', &keyword).is_ok_and(|pairs| pairs.old_form) {
                warn(
                    Rule::LegacyKeyValueFormat,
                    format!(
                        "\"{keyword} key=value\" should be used instead of \"{keyword} key value\""
                    ),
                );
            }
            if matches!(instruction.kind, Kind::Env(_)) {
                secrets(&keyword, list.iter().map(|(name, _)| name), &mut warn);
            }
        }
        Kind::Arg(list) => secrets(&keyword, list.iter().map(|(name, _)| name), &mut warn),
        _ => {}
    }
}

/// A comment right before a stage or argument describes it, and begins with its name.
fn described(kind: &Kind, keyword: &str, comment: &str, warn: &mut impl FnMut(Rule, String)) {
    let names: Vec<&str> = match kind {
        Kind::From(from) => from.name.iter().map(String::as_str).collect(),
        Kind::Arg(declared) => declared.iter().map(|(name, _)| name.as_str()).collect(),
        _ => return,
    };
    let first = comment.split(' ').next().unwrap_or_default();
    if let Some(name) = names.first().filter(|_| !names.contains(&first)) {
        warn(
            Rule::InvalidDefinitionDescription,
            format!("a comment about the {keyword} should begin with `{name}`"),
        );
    }
}

fn from(head: &Head, warn: &mut impl FnMut(Rule, String)) {
    let words = plain_words(&head.rest);
    let [_, keyword, name] = words.as_slice() else {
        return;
    };
    if name.to_ascii_lowercase() != *name {
        warn(
            Rule::StageNameCasing,
            format!("stage name `{name}` should be lower case"),
        );
    }
    let is_lower = |text: &str| text == text.to_ascii_lowercase();
    let is_upper = |text: &str| text == text.to_ascii_uppercase();
    let differs = is_lower(&head.keyword) && !is_lower(keyword)
        || is_upper(&head.keyword) && !is_upper(keyword);
    if differs {
        warn(
            Rule::FromAsCasing,
            format!(
                "`{keyword}` and `{}` are not written in the same case",
                head.keyword
            ),
        );
    }
}

fn secrets<'a>(
    keyword: &str,
    names: impl Iterator<Item = &'a String>,
    warn: &mut impl FnMut(Rule, String),
) {
    for name in names.filter(|name| names_a_secret(name)) {
        warn(
            Rule::SecretsUsedInArgOrEnv,
            format!(
                "{keyword} `{name}` stays readable in the image, use `RUN --mount=type=secret`"
            ),
        );
    }
}

/// Rules that compare instructions with each other.
pub(super) fn whole_file(instructions: &[Instruction], lint: &mut Linter) {
    casing(instructions, lint);
    let mut names: Vec<&str> = Vec::new();
    for instruction in instructions {
        let Kind::From(from) = &instruction.kind else {
            continue;
        };
        let Some(name) = from.name.as_deref() else {
            continue;
        };
        let own = instruction.checks.as_ref();
        if matches!(name, "scratch" | "context") {
            let message = format!("stage name `{name}` is reserved");
            lint.warn(Rule::ReservedStageName, instruction.line, own, message);
        }
        if names.contains(&name) {
            let message = format!("there is another stage `{name}`");
            lint.warn(Rule::DuplicateStageName, instruction.line, own, message);
        }
        names.push(name);
    }
}

fn casing(instructions: &[Instruction], lint: &mut Linter) {
    let begin = instructions
        .iter()
        .position(|instruction| matches!(instruction.kind, Kind::From(_)))
        .unwrap_or(instructions.len());
    let all = &instructions[begin..];
    let is_lower = |instruction: &&Instruction| {
        instruction.keyword == instruction.keyword.to_ascii_lowercase()
    };
    let is_upper = |instruction: &&Instruction| {
        instruction.keyword == instruction.keyword.to_ascii_uppercase()
    };
    let lower = all.iter().filter(is_lower).count() > all.iter().filter(is_upper).count();
    for instruction in all {
        let fits = if lower {
            is_lower(&instruction)
        } else {
            is_upper(&instruction)
        };
        if !fits {
            let case = if lower { "lower" } else { "upper" };
            let message = format!(
                "`{}` should be in {case} case like most instructions here",
                instruction.keyword
            );
            let own = instruction.checks.as_ref();
            lint.warn(
                Rule::ConsistentInstructionCasing,
                instruction.line,
                own,
                message,
            );
        }
    }
}
