//! `triggers.crons`: five fields, in the ranges and with the extensions that Cloudflare documents.

use super::field::{Field, Spanned};
use super::root::Root;

/// One field of an expression.
struct Part {
    name: &'static str,
    least: u32,
    most: u32,
    /// Words for values, the first of which stands for the number in front.
    words: (u32, &'static [&'static str]),
    /// Letters with a special meaning: `L`ast, nearest `W`eekday, `#` n-th.
    special: &'static str,
}

const PARTS: [Part; 5] = [
    Part {
        name: "minute",
        least: 0,
        most: 59,
        words: (0, &[]),
        special: "",
    },
    Part {
        name: "hour",
        least: 0,
        most: 23,
        words: (0, &[]),
        special: "",
    },
    Part {
        name: "day of the month",
        least: 1,
        most: 31,
        words: (0, &[]),
        special: "LW",
    },
    Part {
        name: "month",
        least: 1,
        most: 12,
        words: (
            1,
            &[
                "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
            ],
        ),
        special: "",
    },
    // 1 is Sunday on Cloudflare; 0 and 7 are accepted for those who count otherwise.
    Part {
        name: "day of the week",
        least: 0,
        most: 7,
        words: (1, &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]),
        special: "L#",
    },
];

/// The expressions of `triggers.crons`.
pub(crate) fn crons(root: &Root<'_>) -> Vec<String> {
    let Some(fields) = root.get("triggers").and_then(|field| field.fields()) else {
        return Vec::new();
    };
    let crons = fields.get("crons").map(|field| check_all(&field));
    if let Some(events) = fields.get("events")
        && !events.value.is_empty()
    {
        root.cx.error(
            &events.key_span,
            "Berth does not run event triggers yet",
            "remove it, or keep it in an `env.<name>` that you do not run here",
        );
    }
    fields.finish();
    crons.unwrap_or_default()
}

/// The valid expressions of an array; the others are reported.
fn check_all(field: &Field<'_>) -> Vec<String> {
    field
        .strings()
        .into_iter()
        .filter(|cron| check(field, cron))
        .map(|cron| cron.value)
        .collect()
}

/// Whether an expression is valid; if not, it has been reported.
pub(crate) fn check(field: &Field<'_>, cron: &Spanned<String>) -> bool {
    match check_cron(&cron.value) {
        Ok(()) => true,
        Err(reason) => {
            field.cx.error(
                &cron.span,
                format!("`{}` is not a cron expression: {reason}", cron.value),
                "the five fields are minute, hour, day of the month, month, day of the week; for example `*/5 * * * *`",
            );
            false
        }
    }
}

/// Whether an expression is one.
///
/// # Errors
/// What is wrong with it, as it follows "is not a cron expression: ".
pub fn check_cron(expression: &str) -> Result<(), String> {
    let fields: Vec<&str> = expression.split_whitespace().collect();
    if fields.len() != PARTS.len() {
        return Err(format!("it has {} fields, not 5", fields.len()));
    }
    for (part, field) in PARTS.iter().zip(fields) {
        for item in field.split(',') {
            if !part.accepts(item) {
                return Err(format!("`{item}` is no {}", part.name));
            }
        }
    }
    Ok(())
}

impl Part {
    fn accepts(&self, item: &str) -> bool {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let step_fits = step.is_none_or(|step| {
            number(step).is_some_and(|step| (1..=self.most.max(1)).contains(&step))
        });
        step_fits && self.accepts_range(range, step.is_some())
    }

    fn accepts_range(&self, range: &str, stepped: bool) -> bool {
        if range == "*" {
            return true;
        }
        if let Some((from, to)) = range.split_once('-') {
            return match (self.value(from), self.value(to)) {
                (Some(from), Some(to)) => from <= to,
                _ => false,
            };
        }
        self.value(range).is_some() || (!stepped && self.accepts_special(range))
    }

    fn accepts_special(&self, item: &str) -> bool {
        let upper = item.to_ascii_uppercase();
        if self.special.contains('#')
            && let Some((day, nth)) = upper.split_once('#')
        {
            return self.value(day).is_some()
                && number(nth).is_some_and(|nth| (1..=5).contains(&nth));
        }
        if self.special.is_empty() {
            return false;
        }
        if upper == "L" || (upper == "LW" && self.special.contains('W')) {
            return true;
        }
        let suffix = if self.special.contains('W') { 'W' } else { 'L' };
        upper
            .strip_suffix(suffix)
            .is_some_and(|day| self.value(day).is_some())
    }

    fn value(&self, text: &str) -> Option<u32> {
        let (first, words) = self.words;
        let word = words
            .iter()
            .position(|word| word.eq_ignore_ascii_case(text))
            .and_then(|index| u32::try_from(index).ok())
            .map(|index| index + first);
        word.or_else(|| number(text))
            .filter(|value| (self.least..=self.most).contains(value))
    }
}

/// Digits only: `parse` alone would take a sign.
fn number(text: &str) -> Option<u32> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::check_cron;

    #[test]
    fn what_cloudflare_documents_is_accepted() {
        for good in [
            "* * * * *",
            "*/30 * * * *",
            "45 * * * *",
            "0 17 * * sun",
            "10 7 * * mon-fri",
            "0 15 1 * *",
            "0 18 * * 6L",
            "59 23 LW * *",
            "0,15,30 1-5/2 15W JAN,mar 2#1",
            "0 2 * * 7",
        ] {
            assert_eq!(check_cron(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (bad, reason) in [
            ("* * * *", "it has 4 fields, not 5"),
            ("60 * * * *", "`60` is no minute"),
            ("* 24 * * *", "`24` is no hour"),
            ("* * 0 * *", "`0` is no day of the month"),
            ("* * * 13 *", "`13` is no month"),
            ("* * * * funday", "`funday` is no day of the week"),
            ("*/0 * * * *", "`*/0` is no minute"),
            ("+5 * * * *", "`+5` is no minute"),
            ("5-1 * * * *", "`5-1` is no minute"),
            (", * * * *", "`` is no minute"),
        ] {
            assert_eq!(check_cron(bad), Err(reason.to_owned()), "{bad}");
        }
    }
}
