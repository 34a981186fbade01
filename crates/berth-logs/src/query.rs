//! Which entries are asked for.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::entry::now_ms;
use crate::{Entry, Level, Source};

/// Entries of an answer, unless the question says how many.
const LIMIT: usize = 200;
/// At most.
pub(crate) const MOST: usize = 10_000;

/// Which entries; every condition that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Of this Worker.
    pub app: Option<String>,
    /// Of this version.
    pub version: Option<String>,
    /// By one of these; none: by any.
    pub sources: Vec<Source>,
    /// Of the Durable Object whose id, or the container whose label begins like this.
    pub instance: Option<String>,
    /// At least as urgent.
    pub level: Option<Level>,
    /// Of one request.
    pub invocation: Option<String>,
    /// Has this text in it; case does not matter for letters of ASCII.
    pub text: Option<String>,
    /// Not before, Unix milliseconds.
    pub since_ms: Option<u64>,
    /// Before, Unix milliseconds.
    pub until_ms: Option<u64>,
    /// With a greater id.
    pub after: Option<u64>,
    /// Most entries: the last ones, or with `after` the first ones.
    pub limit: Option<usize>,
}

/// A question that cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{name}` is `{value}`; it must be {expected}")]
pub struct QueryError {
    /// The parameter.
    pub name: &'static str,
    /// What it says.
    pub value: String,
    /// What it may say.
    pub expected: &'static str,
}

impl Query {
    /// How many entries at most.
    pub fn most(&self) -> usize {
        self.limit.unwrap_or(LIMIT).min(MOST)
    }

    /// Whether an entry is asked for; `after` and `limit` left out.
    pub fn matches(&self, entry: &Entry) -> bool {
        let same = |wanted: &Option<String>, own: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| own == Some(wanted))
        };
        same(&self.app, Some(&entry.app))
            && same(&self.version, entry.version.as_deref())
            && same(&self.invocation, entry.invocation.as_deref())
            && (self.sources.is_empty() || self.sources.contains(&entry.source))
            && self.level.is_none_or(|least| entry.level >= least)
            && self.since_ms.is_none_or(|since| entry.time_ms >= since)
            && self.until_ms.is_none_or(|until| entry.time_ms < until)
            && self.instance.as_deref().is_none_or(|wanted| {
                let starts = |own: &Option<String>| {
                    own.as_deref().is_some_and(|own| own.starts_with(wanted))
                };
                starts(&entry.instance) || starts(&entry.label)
            })
            && self.text.as_deref().is_none_or(|wanted| {
                let text = entry.text.to_ascii_lowercase();
                text.contains(&wanted.to_ascii_lowercase())
            })
    }

    /// A point in time: RFC 3339, Unix milliseconds, or how long ago (`90s`, `10m`, `3h`, `2d`).
    ///
    /// # Errors
    /// None of these.
    pub fn time(name: &'static str, value: &str) -> Result<u64, QueryError> {
        let wrong = || QueryError {
            name,
            value: value.to_owned(),
            expected: "a time (2026-11-30T12:00:00Z), Unix milliseconds, or how long ago (90s, 10m, 3h, 2d)",
        };
        if let Ok(time_ms) = value.parse::<u64>() {
            return Ok(time_ms);
        }
        if let Ok(time) = OffsetDateTime::parse(value, &Rfc3339) {
            let milliseconds = time.unix_timestamp_nanos() / 1_000_000;
            return u64::try_from(milliseconds).map_err(|_| wrong());
        }
        let unit = value.chars().last().ok_or_else(wrong)?;
        let seconds: u64 = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(wrong()),
        };
        let count: u64 = value[..value.len() - 1].parse().map_err(|_| wrong())?;
        let ago = count.checked_mul(seconds * 1000).ok_or_else(wrong)?;
        Ok(now_ms().saturating_sub(ago))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_every_form() {
        let time = |text| Query::time("since", text);
        assert_eq!(time("1500"), Ok(1500));
        assert_eq!(time("1970-01-01T00:00:01.5Z"), Ok(1500));
        let ago = now_ms() - time("10m").unwrap();
        assert!((600_000..601_000).contains(&ago), "{ago}");
        for wrong in ["", "m", "-1s", "soon", "5µ", "99999999999999999d"] {
            let error = time(wrong).unwrap_err();
            assert!(error.to_string().starts_with("`since` is"), "{error}");
        }
    }
}
