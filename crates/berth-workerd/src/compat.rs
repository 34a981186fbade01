//! The newest compatibility date that the pinned workerd takes.

use std::time::{SystemTime, UNIX_EPOCH};

/// A week after its release, as far as workerd 1.20261117.1 knows; for later dates it says "This
/// Worker requires compatibility date …".
const NEWEST_KNOWN: &str = "2026-11-24";

/// The newest `compatibility_date` that the pinned workerd accepts today, `YYYY-MM-DD`: the newest
/// it knows, but no date in the future (UTC).
pub fn max_compatibility_date() -> String {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let days = since_1970.map_or(0, |time| time.as_secs() / 86_400);
    let today = date(days);
    if today.as_str() < NEWEST_KNOWN {
        today
    } else {
        NEWEST_KNOWN.to_owned()
    }
}

/// The Gregorian date so many days after 1970-01-01.
fn date(mut days: u64) -> String {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in months {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_778, "2026-11-21"),
            (20_818, "2026-12-31"),
        ] {
            assert_eq!(date(days), expected);
        }
    }
}
