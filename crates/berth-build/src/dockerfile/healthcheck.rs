//! `HEALTHCHECK`, in the form of Docker's image configuration (times in nanoseconds).

use serde_json::{Value, json};

use super::Result;
use super::flags::{Flags, Head};
use super::instruction::Command;
use super::parse::command;
use crate::error::Problem;

/// Shortest time that makes sense to Docker: a millisecond.
const SHORTEST: u64 = 1_000_000;

pub(super) fn healthcheck(head: &Head) -> Result<Value> {
    let known = [
        "interval",
        "timeout",
        "start-period",
        "start-interval",
        "retries",
    ];
    let flags = Flags::new(head, &known)?;
    let rest = head.rest.as_str();
    let (keyword, command_text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command_text = command_text.trim();
    if keyword.eq_ignore_ascii_case("none") && command_text.is_empty() && head.flags.is_empty() {
        return Ok(json!({ "Test": ["NONE"] }));
    }
    if keyword.eq_ignore_ascii_case("none") {
        return Err(Problem::new(
            "HEALTHCHECK NONE takes neither flags nor arguments",
        ));
    }
    if !keyword.eq_ignore_ascii_case("cmd") || command_text.is_empty() {
        return Err(Problem::new(
            "HEALTHCHECK is followed by `CMD <command>` or `NONE`",
        ));
    }
    let test = match command(command_text)? {
        Command::Shell(line) => vec!["CMD-SHELL".to_owned(), line],
        Command::Exec(list) if list.is_empty() => {
            return Err(Problem::new("HEALTHCHECK CMD has no command"));
        }
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
    if let Some(text) = flags.one("retries")?.filter(|text| !text.is_empty()) {
        let retries: u32 = text
            .parse()
            .ok()
            .filter(|retries| i32::try_from(*retries).is_ok())
            .ok_or_else(|| Problem::new(format!("`--retries={text}` is no number")))?;
        if retries > 0 {
            check["Retries"] = retries.into();
        }
    }
    Ok(check)
}

/// `None` is Docker's default: also 0.
fn flag_duration(flags: &Flags, name: &str) -> Result<Option<u64>> {
    let Some(text) = flags.one(name)?.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    match nanoseconds(&text) {
        Some(0) => Ok(None),
        Some(value) if value >= SHORTEST => Ok(Some(value)),
        Some(_) => Err(Problem::new(format!(
            "`--{name}={text}` is shorter than a millisecond"
        ))),
        None => Err(Problem::new(format!("`--{name}={text}` is no duration"))
            .hint("for example `30s` or `1m30s`")),
    }
}

/// `1h2m3.5s` in nanoseconds, as Go writes durations; `0` needs no unit.
fn nanoseconds(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Some(0);
    }
    let mut total = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (whole, fraction) = rest[..end].split_once('.').unwrap_or((&rest[..end], ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let unit_end = rest[end..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |next| end + next);
        let unit = UNITS
            .iter()
            .find(|(name, _)| *name == &rest[end..unit_end])?
            .1;
        let whole: u64 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        total = total.checked_add(whole.checked_mul(unit)?)?;
        let mut scale = unit;
        for digit in fraction.bytes() {
            scale /= 10;
            total = total.checked_add(u64::from(digit - b'0').checked_mul(scale)?)?;
        }
        rest = &rest[unit_end..];
    }
    (!text.is_empty() && i64::try_from(total).is_ok()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, expected) in [
            ("30s", Some(30_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            (".5ms", Some(500_000)),
            ("0", Some(0)),
            ("0.000001s", Some(1_000)),
            ("5", None),
            ("", None),
            (".s", None),
            ("-1s", None),
            ("1d", None),
            ("99999999999h", None),
        ] {
            assert_eq!(nanoseconds(text), expected, "{text}");
        }
    }
}
