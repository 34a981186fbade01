//! Times as Docker writes them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Docker's "never".
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// Unix milliseconds now.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map(|elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
        .unwrap_or_default()
}

/// RFC 3339 in UTC with nanoseconds, such as `2026-11-20T21:57:35.120000000Z`.
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    let (seconds, millis) = (unix_ms / 1000, unix_ms % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_from_days(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}000000Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// RFC 3339, or [`NEVER`].
pub(crate) fn rfc3339_or_never(unix_ms: Option<u64>) -> String {
    unix_ms.map_or_else(|| NEVER.to_owned(), rfc3339)
}

/// Year, month and day of a day since 1970-01-01, in the proleptic Gregorian calendar. Years are
/// counted from 1 March so that the leap day comes last.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(951_782_400_123), "2000-02-29T00:00:00.123000000Z");
        assert_eq!(rfc3339(1_795_211_855_000), "2026-11-20T21:57:35.000000000Z");
        assert_eq!(rfc3339_or_never(None), NEVER);
    }
}
