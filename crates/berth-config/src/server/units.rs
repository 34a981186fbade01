//! Durations and sizes: a number and a unit, as in `"30s"` and `"64GiB"`.

use std::time::Duration;

use crate::decode::{Field, nearest};

/// Units of a duration and their milliseconds.
const TIMES: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
/// Units of a size and their bytes.
const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];
/// Longest duration: a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A time, which is not zero.
pub(super) fn duration(field: &Field<'_>) -> Option<Duration> {
    let millis = quantity(
        field,
        "duration",
        &TIMES,
        "`ms`, `s`, `m`, `h` or `d`",
        "30s",
    )?;
    let duration = Duration::from_millis(millis);
    if duration <= LONGEST {
        return Some(duration);
    }
    let message = format!("`{}` is longer than a hundred years", field.path);
    field.cx.error(field.span(), message, "write less");
    None
}

/// A time, or no limit, which is written `"never"`.
pub(super) fn duration_or_never(field: &Field<'_>) -> Option<Option<Duration>> {
    if field.is_word("never") {
        return Some(None);
    }
    duration(field).map(Some)
}

/// Bytes, at least one.
pub(super) fn size(field: &Field<'_>) -> Option<u64> {
    quantity(
        field,
        "size",
        &SIZES,
        "`kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB` or `TiB`",
        "64GiB",
    )
}

/// Bytes, or no limit, which is written `"unlimited"`.
pub(super) fn size_or_unlimited(field: &Field<'_>) -> Option<Option<u64>> {
    if field.is_word("unlimited") {
        return Some(None);
    }
    size(field).map(Some)
}

fn quantity(
    field: &Field<'_>,
    what: &str,
    units: &[(&str, u64)],
    written: &str,
    example: &str,
) -> Option<u64> {
    if field.is_number() {
        let message = format!("`{}` has no unit", field.path);
        let hint =
            format!("write a number and {written} in double quotes, for example `\"{example}\"`");
        field.cx.error(field.span(), message, hint);
        return None;
    }
    let text = field.text()?;
    match parse(text.value.trim(), units) {
        Ok(0) => {
            let message = format!("`{}` must not be zero", field.path);
            field
                .cx
                .error(&text.span, message, format!("for example `\"{example}\"`"));
            None
        }
        Ok(value) => Some(value),
        Err(Wrong::Unit(unit)) => {
            let message = format!("`{}` has the unknown unit `{unit}`", field.path);
            let near = nearest(&unit, units.iter().map(|(name, _)| *name));
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("units are {written}"),
            };
            field.cx.error(&text.span, message, hint);
            None
        }
        Err(Wrong::Form) => {
            let message = format!("`{}` is no {what}: `{}`", field.path, text.value);
            let hint = format!("a number and {written}, for example `\"{example}\"`");
            field.cx.error(&text.span, message, hint);
            None
        }
    }
}

/// Why a text is no quantity.
#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    Form,
    Unit(String),
}

/// Digits with at most one point, and a unit; spaces between the two may be.
fn parse(text: &str, units: &[(&str, u64)]) -> Result<u64, Wrong> {
    let numeric = |char: char| char.is_ascii_digit() || char == '.';
    let split = text.find(|char: char| !numeric(char)).ok_or(Wrong::Form)?;
    let (number, unit) = text.split_at(split);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || part.contains('.') || part.len() > 9 || number.ends_with('.') {
        return Err(Wrong::Form);
    }
    let unit = unit.trim();
    let factor = units.iter().find(|(name, _)| *name == unit);
    let (_, factor) = factor.ok_or_else(|| Wrong::Unit(unit.to_owned()))?;
    let whole: u128 = whole.parse().map_err(|_| Wrong::Form)?;
    let scale = 10_u128.pow(u32::try_from(part.len()).map_err(|_| Wrong::Form)?);
    let part: u128 = if part.is_empty() {
        0
    } else {
        part.parse().map_err(|_| Wrong::Form)?
    };
    let factor = u128::from(*factor);
    let value = whole
        .checked_mul(factor)
        .and_then(|value| value.checked_add(part * factor / scale));
    value
        .and_then(|value| u64::try_from(value).ok())
        .ok_or(Wrong::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_a_number_and_a_unit() {
        assert_eq!(parse("30s", &TIMES), Ok(30_000));
        assert_eq!(parse("1.5h", &TIMES), Ok(5_400_000));
        assert_eq!(parse("7 d", &TIMES), Ok(604_800_000));
        assert_eq!(parse("64GiB", &SIZES), Ok(64 << 30));
        assert_eq!(parse("0.5 GB", &SIZES), Ok(500_000_000));
        assert_eq!(parse("10gb", &SIZES), Err(Wrong::Unit("gb".to_owned())));
        for wrong in [
            "",
            "1",
            ".5GB",
            "1.GB",
            "1.2.3GB",
            "-1GB",
            "99999999999999999999TB",
        ] {
            assert_eq!(parse(wrong, &SIZES), Err(Wrong::Form), "{wrong}");
        }
        assert_eq!(parse("GB", &SIZES), Err(Wrong::Form));
    }
}
