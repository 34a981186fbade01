//! `Content-Range` of a chunk: `<first>-<last>`, without a unit (distribution specification,
//! "Pushing a blob in chunks"). `bytes <first>-<last>/…` is understood too.

use crate::error::{ApiError, Code};

/// Both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    pub(super) start: u64,
    end: u64,
}

impl ContentRange {
    pub(super) fn parse(text: &str) -> Result<Self, ApiError> {
        parse(text).ok_or_else(|| {
            ApiError::bad(
                Code::RangeInvalid,
                "`Content-Range` must be `<first>-<last>`, both numbers of bytes",
            )
        })
    }

    pub(super) fn length(self) -> u64 {
        // Not beyond the largest number: `parse` sees to it.
        self.end - self.start + 1
    }
}

fn parse(text: &str) -> Option<ContentRange> {
    let text = text
        .strip_prefix("bytes ")
        .or_else(|| text.strip_prefix("bytes="))
        .unwrap_or(text);
    let text = text.split_once('/').map_or(text, |(range, _)| range);
    let (start, end) = text.trim().split_once('-')?;
    let digits = |text: &str| {
        let all = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        all.then(|| text.parse::<u64>().ok()).flatten()
    };
    let (start, end) = (digits(start)?, digits(end)?);
    (start <= end && end < u64::MAX).then_some(ContentRange { start, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parsed_strictly() {
        for good in ["0-9", "bytes 0-9/10", "bytes=0-9"] {
            let range = parse(good).unwrap();
            assert_eq!((range.start, range.length()), (0, 10), "{good}");
        }
        for bad in [
            "",
            "-",
            "0-",
            "-9",
            "9-0",
            "a-b",
            "0--1",
            "+0-9",
            "0-18446744073709551615",
            "0-99999999999999999999",
            "0-9-",
            "0 - 9",
            "0x0-9",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
