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

/// Whether a point in time is over. What cannot be read is.
pub(crate) fn is_past(text: &str) -> bool {
    !OffsetDateTime::parse(text, &Rfc3339).is_ok_and(|time| time > OffsetDateTime::now_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_back() {
        assert!(now().ends_with('Z') && now().starts_with("20"));
        assert!(is_past(&now()));
        assert!(is_past("whenever"));
        assert!(!is_past("2200-01-01T00:00:00Z"));
    }
}
