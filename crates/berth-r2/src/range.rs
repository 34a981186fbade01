//! Which bytes of an object are wanted: `Range` of RFC 9110 §14, and R2's own form.

use crate::R2Error;

/// Wanted bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Range {
    /// All.
    #[default]
    All,
    /// From here, at most so many.
    From {
        /// The first.
        offset: u64,
        /// How many; `None`: to the end.
        length: Option<u64>,
    },
    /// The last so many.
    Last(u64),
}

/// Bytes that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The first.
    pub offset: u64,
    /// How many.
    pub length: u64,
}

impl Range {
    /// Of a header's value. `None` if it is no range of bytes or several: such a header is ignored.
    pub fn parse(header: &str) -> Option<Self> {
        let spec = header.trim().strip_prefix("bytes=")?.trim();
        let (first, last) = spec.split_once('-')?;
        let number = |text: &str| -> Option<u64> {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            // More than there are numbers for is more than an object has.
            plain.then(|| text.parse().unwrap_or(u64::MAX))
        };
        match (first.trim(), last.trim()) {
            ("", last) => Some(Self::Last(number(last)?)),
            (first, "") => Some(Self::From {
                offset: number(first)?,
                length: None,
            }),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then(|| Self::From {
                    offset: first,
                    length: Some((last - first).saturating_add(1)),
                })
            }
        }
    }

    /// The bytes of an object of this size.
    ///
    /// # Errors
    /// [`R2Error::Range`] if there are none.
    pub fn resolve(self, size: u64) -> Result<Resolved, R2Error> {
        let none = Err(R2Error::Range { size });
        match self {
            Self::All => Ok(Resolved {
                offset: 0,
                length: size,
            }),
            Self::Last(0)
            | Self::From {
                length: Some(0), ..
            } => none,
            Self::Last(length) if size > 0 => {
                let length = length.min(size);
                Ok(Resolved {
                    offset: size - length,
                    length,
                })
            }
            Self::From { offset, length } if offset < size => {
                let rest = size - offset;
                Ok(Resolved {
                    offset,
                    length: length.map_or(rest, |length| length.min(rest)),
                })
            }
            Self::Last(_) | Self::From { .. } => none,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers() {
        let from = |offset, length| Some(Range::From { offset, length });
        assert_eq!(Range::parse("bytes=0-0"), from(0, Some(1)));
        assert_eq!(Range::parse("bytes=5-"), from(5, None));
        assert_eq!(Range::parse("bytes=-5"), Some(Range::Last(5)));
        assert_eq!(
            Range::parse("bytes=2-99999999999999999999"),
            from(2, Some(u64::MAX - 1))
        );
        for bad in [
            "",
            "bytes=",
            "bytes=-",
            "bytes=5-4",
            "bytes=1-2,4-5",
            "lines=1-2",
            "bytes=a-",
        ] {
            assert_eq!(Range::parse(bad), None, "{bad}");
        }
    }

    fn range() -> impl Strategy<Value = Range> {
        let number = || prop_oneof![0..12_u64, Just(u64::MAX)];
        prop_oneof![
            Just(Range::All),
            number().prop_map(Range::Last),
            (number(), prop::option::of(number()))
                .prop_map(|(offset, length)| Range::From { offset, length }),
        ]
    }

    proptest! {
        /// Against picking the bytes one by one.
        #[test]
        fn bytes(range in range(), size in 0..10_u64) {
            let wanted: Vec<u64> = (0..size).filter(|at| match range {
                Range::All => true,
                Range::Last(length) => size - at <= length,
                Range::From { offset, length } => {
                    *at >= offset && length.is_none_or(|length| at - offset < length)
                }
            }).collect();
            match range.resolve(size) {
                Ok(Resolved { offset, length }) => {
                    prop_assert_eq!((offset..offset + length).collect::<Vec<_>>(), wanted);
                }
                Err(R2Error::Range { size: told }) => {
                    prop_assert!(wanted.is_empty() && told == size && range != Range::All);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}
