//! Times as Docker writes them.

use std::time::{SystemTime, UNIX_EPOCH};

use ::time::OffsetDateTime;

/// Docker's "never".
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// Unix milliseconds now.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map(|elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
        .unwrap_or_default()
}

/// RFC 3339 in UTC with nanoseconds, such as `2026-11-20T21:57:35.120000000Z`. A time that no
/// calendar has is 1970.
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX);
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}000000Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        unix_ms % 1000
    )
}

/// RFC 3339, or [`NEVER`].
pub(crate) fn rfc3339_or_never(unix_ms: Option<u64>) -> String {
    unix_ms.map_or_else(|| NEVER.to_owned(), rfc3339)
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
