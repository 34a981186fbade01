//! Points in time as the API writes them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Now, in RFC 3339, UTC, with microseconds.
pub fn now() -> String {
    let now = OffsetDateTime::now_utc();
    let micros = now.nanosecond() / 1000 * 1000;
    let now = now.replace_nanosecond(micros).unwrap_or(now);
    // Only years that this cannot be do not format.
    now.format(&Rfc3339).unwrap_or_default()
}

/// A point in time that is counted in milliseconds since 1970.
pub fn of_unix_ms(milliseconds: u64) -> String {
    let nanoseconds = i128::from(milliseconds) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds);
    let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}

/// Whether a point in time is over. What cannot be read is.
pub fn is_past(text: &str) -> bool {
    !OffsetDateTime::parse(text, &Rfc3339).is_ok_and(|time| time > OffsetDateTime::now_utc())
}

/// Whether a point in time comes before so long from now. What cannot be read does.
pub fn is_within(text: &str, time: std::time::Duration) -> bool {
    let limit = OffsetDateTime::now_utc() + time;
    !OffsetDateTime::parse(text, &Rfc3339).is_ok_and(|time| time > limit)
}

/// Whether a point in time is longer ago than so many seconds. What cannot be read is.
pub(crate) fn is_older(text: &str, seconds: i64) -> bool {
    let limit = OffsetDateTime::now_utc() - time::Duration::seconds(seconds);
    !OffsetDateTime::parse(text, &Rfc3339).is_ok_and(|time| time > limit)
}

/// How long ago a point in time is. `None`: it cannot be read, or is to come.
pub(crate) fn age(text: &str) -> Option<std::time::Duration> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    (OffsetDateTime::now_utc() - time).try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_back() {
        assert!(now().ends_with('Z') && now().starts_with("20"));
        assert!(is_past(&now()));
        assert_eq!(of_unix_ms(1_500), "1970-01-01T00:00:01.5Z");
        assert!(is_past("whenever"));
        assert!(!is_past("2200-01-01T00:00:00Z"));
        let day = std::time::Duration::from_secs(86_400);
        assert!(is_within(&now(), day) && !is_within("2200-01-01T00:00:00Z", day));
    }
}
