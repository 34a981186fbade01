//! The lines of an image's history, as BuildKit writes them, but for the remark that BuildKit did.

use serde_json::Value;

use crate::state::State;

/// `RUN`: the declared build arguments, then the command with its shell.
pub(crate) fn run(state: &State, argv: &[String]) -> String {
    use crate::dockerfile::expand::Variables as _;
    let mut args: Vec<(&str, String)> = Vec::new();
    for (name, declared) in &state.build_args {
        let value = state
            .get(name)
            .map(str::to_owned)
            .or_else(|| declared.clone());
        let value = value.unwrap_or_default();
        match args.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => args.push((name, value)),
        }
    }
    let mut parts = Vec::new();
    if !args.is_empty() {
        parts.push(format!("|{}", args.len()));
        parts.extend(args.iter().map(|(name, value)| format!("{name}={value}")));
    }
    parts.extend(argv.iter().cloned());
    format!("RUN {}", parts.join(" "))
}

/// A list of quoted words: `["a" "b c"]`.
pub(super) fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("[{}]", words.join(" "))
}

/// A list of plain words: `[a b]`.
pub(super) fn plain(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

/// `HEALTHCHECK`, as Go prints a structure.
pub(super) fn healthcheck(check: &Value) -> String {
    let words: Vec<String> = check["Test"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|word| word.as_str().map(str::to_owned))
        .collect();
    let time = |field: &str| quote(&duration(check[field].as_u64().unwrap_or(0)));
    // A number printed as a character.
    let retries = check["Retries"].as_u64().unwrap_or(0);
    let retries = u32::try_from(retries).ok().and_then(char::from_u32);
    let retries = quote(&retries.unwrap_or('\u{fffd}').to_string());
    let retries = retries.trim_matches('"');
    format!(
        "HEALTHCHECK &{{{} {} {} {} {} '{retries}'}}",
        quoted(&words),
        time("Interval"),
        time("Timeout"),
        time("StartPeriod"),
        time("StartInterval"),
    )
}

/// Go's quoted form of a text.
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            _ if character < ' ' || character == '\u{7f}' => {
                quoted.push_str(&format!("\\x{:02x}", u32::from(character)));
            }
            _ if character.is_control() || character.is_whitespace() && character != ' ' => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// Go's form of a duration of so many nanoseconds: `1m30s`, `100ms`, `1h0m0s`.
fn duration(nanoseconds: u64) -> String {
    let fraction = |value: u64, unit: u64, digits: usize| {
        let (whole, rest) = (value / unit, value % unit);
        let text = format!("{whole}.{rest:0digits$}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match nanoseconds {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(nanoseconds, 1_000, 3)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(nanoseconds, 1_000_000, 6)),
        _ => {
            let seconds = fraction(nanoseconds % 60_000_000_000, 1_000_000_000, 9);
            let minutes = nanoseconds / 60_000_000_000;
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_printed_as_by_go() {
        for (nanoseconds, expected) in [
            (0, "0s"),
            (1_000_000, "1ms"),
            (1_500_000, "1.5ms"),
            (30_000_000_000, "30s"),
            (90_000_000_000, "1m30s"),
            (1_500_000_000, "1.5s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(duration(nanoseconds), expected);
        }
    }

    #[test]
    fn words_are_quoted_as_by_go() {
        let words = ["a".to_owned(), "b \"c\"\n\u{1}é".to_owned()];
        assert_eq!(quoted(&words), "[\"a\" \"b \\\"c\\\"\\n\\x01é\"]");
    }
}
