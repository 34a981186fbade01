//! `HEALTHCHECK`, in the form of Docker's image configuration (times in nanoseconds).

use serde_json::{Value, json};

use super::Result;
use super::flags::{self, Flags};
use super::instruction::Command;
use super::parse::command;
use crate::error::Problem;

pub(super) fn healthcheck(rest: &str) -> Result<Value> {
    let known = [
        "interval",
        "timeout",
        "start-period",
        "start-interval",
        "retries",
    ];
    let (flags, rest) = flags::take(rest, "HEALTHCHECK", &known)?;
    if rest.eq_ignore_ascii_case("none") {
        return Ok(json!({ "Test": ["NONE"] }));
    }
    let (keyword, command_text) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
    if !keyword.eq_ignore_ascii_case("cmd") || command_text.trim().is_empty() {
        return Err(Problem::new(
            "HEALTHCHECK is followed by `CMD <command>` or `NONE`",
        ));
    }
    let test = match command(command_text.trim()) {
        Command::Shell(line) => vec!["CMD-SHELL".to_owned(), line],
        Command::Exec(list) => std::iter::once("CMD".to_owned()).chain(list).collect(),
    };
    let mut check = json!({ "Test": test });
    for (flag, field) in [
        ("interval", "Interval"),
        ("timeout", "Timeout"),
        ("start-period", "StartPeriod"),
        ("start-interval", "StartInterval"),
    ] {
        if let Some(value) = flag_duration(&flags, flag)? {
            check[field] = value.into();
        }
    }
    if let Some(retries) = flags.one("retries")? {
        let retries: u32 = retries
            .parse()
            .map_err(|_| Problem::new(format!("`--retries={retries}` is no number")))?;
        check["Retries"] = retries.into();
    }
    Ok(check)
}

fn flag_duration(flags: &Flags, name: &str) -> Result<Option<u64>> {
    let Some(text) = flags.one(name)? else {
        return Ok(None);
    };
    match nanoseconds(&text) {
        Some(value) => Ok(Some(value)),
        None => Err(Problem::new(format!("`--{name}={text}` is no duration"))
            .hint("for example `30s` or `1m30s`")),
    }
}

/// `1h2m3.5s` in nanoseconds, as Go writes durations.
fn nanoseconds(text: &str) -> Option<u64> {
    const UNITS: [(&str, f64); 7] = [
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 6e10),
        ("h", 3.6e12),
    ];
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit_end = rest[end..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |next| end + next);
        let unit = &rest[end..unit_end];
        total += number * UNITS.iter().find(|(name, _)| *name == unit)?.1;
        rest = &rest[unit_end..];
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "finite, positive and far below 2^53 for any sensible time; `as` saturates"
    )]
    (!text.is_empty()).then_some(total as u64)
}
