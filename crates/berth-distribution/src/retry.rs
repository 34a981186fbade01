//! When to try again, and how long to wait before that.

use std::time::{Duration, SystemTime};

use rand::Rng as _;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// Waits between attempts: doubling, with chance, and a limit on attempts in a row without progress.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Before the second attempt.
    pub first: Duration,
    /// The longest that is waited by our own choice.
    pub most: Duration,
    /// The longest `Retry-After` that is waited for; a longer one is an error.
    pub most_asked: Duration,
    /// Attempts in a row that bring nothing, the first one included.
    pub attempts: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            most: Duration::from_secs(8),
            most_asked: Duration::from_secs(60),
            attempts: 6,
        }
    }
}

impl Backoff {
    /// The wait after `failed` attempts in a row; `None`: give up. `asked` is what the registry asks
    /// for.
    pub(crate) fn wait(&self, failed: u32, asked: Option<Duration>) -> Option<Duration> {
        if failed >= self.attempts {
            return None;
        }
        if let Some(asked) = asked {
            return (asked <= self.most_asked).then_some(asked);
        }
        let doubled = self
            .first
            .saturating_mul(1 << failed.saturating_sub(1).min(16));
        let limit = doubled.min(self.most);
        // Half of it for sure, so that many clients do not come back at once.
        Some(limit.mul_f64(rand::rng().random_range(0.5..=1.0)))
    }
}

/// Whether an answer says "later" rather than "no".
pub(crate) fn is_temporary(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_end() {
        let backoff = Backoff::default();
        let first = backoff.wait(1, None).unwrap();
        assert!(first >= backoff.first / 2 && first <= backoff.first);
        let fifth = backoff.wait(5, None).unwrap();
        assert!(fifth >= backoff.first * 8 && fifth <= backoff.most);
        assert_eq!(backoff.wait(6, None), None);
    }

    #[test]
    fn a_registry_may_ask_for_patience_but_not_for_hours() {
        let backoff = Backoff::default();
        let seconds = Duration::from_secs;
        assert_eq!(backoff.wait(1, Some(seconds(3))), Some(seconds(3)));
        assert_eq!(backoff.wait(1, Some(seconds(3600))), None);
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(seconds(7)));
        let date = httpdate::fmt_http_date(SystemTime::now() + seconds(30));
        headers.insert(RETRY_AFTER, date.parse().unwrap());
        let asked = retry_after(&headers).unwrap();
        assert!(asked > seconds(20) && asked <= seconds(30));
        headers.insert(RETRY_AFTER, "soon".parse().unwrap());
        assert_eq!(retry_after(&headers), None);
    }
}
