//! Whether an object is as its reader or writer wants it: RFC 9110 §13, as R2 and S3 apply it.

/// What an entity tag is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EtagMatch {
    /// Any object.
    Any,
    /// One with this tag.
    Strong(String),
    /// The same; never matches where the comparison is strong.
    Weak(String),
}

/// What must hold. The default always does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `If-Match`: one of these.
    pub etag_matches: Option<Vec<EtagMatch>>,
    /// `If-None-Match`: none of these.
    pub etag_differs: Option<Vec<EtagMatch>>,
    /// `If-Unmodified-Since`, in milliseconds since 1970.
    pub uploaded_before: Option<u64>,
    /// `If-Modified-Since`, in milliseconds since 1970.
    pub uploaded_after: Option<u64>,
    /// Times are compared in whole seconds.
    pub seconds: bool,
}

/// Which kind of condition does not hold: readers are told differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmet {
    /// `If-Match` or `If-Unmodified-Since`.
    Wanted,
    /// `If-None-Match` or `If-Modified-Since`: what the client has is still good.
    Unchanged,
}

fn includes(tags: &[EtagMatch], etag: &str, weakly: bool) -> bool {
    tags.iter().any(|tag| match tag {
        EtagMatch::Any => true,
        EtagMatch::Strong(tag) => tag == etag,
        EtagMatch::Weak(tag) => weakly && tag == etag,
    })
}

impl Conditions {
    /// Whether they hold for an object with this tag, uploaded at this time, or for none.
    pub(crate) fn check(&self, object: Option<(&str, u64)>) -> Result<(), Unmet> {
        let Some((etag, uploaded)) = object else {
            return match (&self.etag_matches, self.uploaded_after) {
                (None, None) => Ok(()),
                _ => Err(Unmet::Wanted),
            };
        };
        let time = |time: u64| if self.seconds { time / 1000 } else { time };
        let matches = self
            .etag_matches
            .as_ref()
            .map(|tags| includes(tags, etag, false));
        let differs = self
            .etag_differs
            .as_ref()
            .map(|tags| !includes(tags, etag, true));
        let unmodified = self.uploaded_before.is_none_or(|before| {
            time(uploaded) < time(before) || self.seconds && time(uploaded) == time(before)
        });
        let modified = self
            .uploaded_after
            .is_none_or(|after| time(uploaded) > time(after));
        // A tag says more than a time: where it holds, the time is not asked.
        if matches == Some(false) || !unmodified && matches.is_none() {
            return Err(Unmet::Wanted);
        }
        if differs == Some(false) || !modified && differs.is_none() {
            return Err(Unmet::Unchanged);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn strong(tag: &str) -> Option<Vec<EtagMatch>> {
        Some(vec![EtagMatch::Strong(tag.to_owned())])
    }

    #[test]
    fn tags_and_times() {
        let object = Some(("a", 1500));
        let check = |conditions: Conditions| conditions.check(object);
        let none = Conditions::default;
        assert_eq!(check(none()), Ok(()));
        assert_eq!(
            check(Conditions {
                etag_matches: strong("a"),
                ..none()
            }),
            Ok(())
        );
        assert_eq!(
            check(Conditions {
                etag_matches: strong("b"),
                ..none()
            }),
            Err(Unmet::Wanted)
        );
        let weak = Some(vec![EtagMatch::Weak("a".to_owned())]);
        assert_eq!(
            check(Conditions {
                etag_matches: weak.clone(),
                ..none()
            }),
            Err(Unmet::Wanted)
        );
        assert_eq!(
            check(Conditions {
                etag_differs: weak,
                ..none()
            }),
            Err(Unmet::Unchanged)
        );
        assert_eq!(
            check(Conditions {
                etag_differs: strong("b"),
                ..none()
            }),
            Ok(())
        );
        assert_eq!(
            check(Conditions {
                uploaded_before: Some(1500),
                ..none()
            }),
            Err(Unmet::Wanted)
        );
        assert_eq!(
            check(Conditions {
                uploaded_before: Some(1501),
                ..none()
            }),
            Ok(())
        );
        assert_eq!(
            check(Conditions {
                uploaded_after: Some(1500),
                ..none()
            }),
            Err(Unmet::Unchanged)
        );
        assert_eq!(
            check(Conditions {
                uploaded_after: Some(1499),
                ..none()
            }),
            Ok(())
        );
        // As headers have them: the time that a client was told is neither before nor after.
        let headers = Conditions {
            uploaded_before: Some(1000),
            seconds: true,
            ..none()
        };
        assert_eq!(check(headers), Ok(()));
        let headers = Conditions {
            uploaded_after: Some(1000),
            seconds: true,
            ..none()
        };
        assert_eq!(check(headers), Err(Unmet::Unchanged));
    }

    #[test]
    fn what_is_not_there() {
        let any = Some(vec![EtagMatch::Any]);
        let if_there = Conditions {
            etag_matches: any.clone(),
            ..Conditions::default()
        };
        let unless_there = Conditions {
            etag_differs: any,
            ..Conditions::default()
        };
        assert_eq!(if_there.check(None), Err(Unmet::Wanted));
        assert_eq!(unless_there.check(None), Ok(()));
        assert_eq!(unless_there.check(Some(("a", 0))), Err(Unmet::Unchanged));
    }

    fn tags() -> impl Strategy<Value = Option<Vec<EtagMatch>>> {
        let tag = prop_oneof![
            Just(EtagMatch::Any),
            "[ab]".prop_map(EtagMatch::Strong),
            "[ab]".prop_map(EtagMatch::Weak),
        ];
        prop::option::of(prop::collection::vec(tag, 1..3))
    }

    proptest! {
        /// Of a condition and its opposite exactly one holds, and a tag that matches makes times void.
        #[test]
        fn opposites(tags in tags(), time in 0..4_u64, uploaded in 0..4_u64, etag in "[ab]") {
            let object = Some((etag.as_str(), uploaded));
            let after = Conditions { uploaded_after: Some(time), ..Conditions::default() };
            let not_after = Conditions { uploaded_before: Some(time + 1), ..Conditions::default() };
            prop_assert_ne!(after.check(object).is_ok(), not_after.check(object).is_ok());
            let only_strong = tags.as_ref().is_none_or(|tags| {
                tags.iter().all(|tag| !matches!(tag, EtagMatch::Weak(_)))
            });
            if let (Some(tags), true) = (tags, only_strong) {
                let matches = Conditions { etag_matches: Some(tags.clone()), ..Conditions::default() };
                let differs = Conditions { etag_differs: Some(tags), ..Conditions::default() };
                prop_assert_ne!(matches.check(object).is_ok(), differs.check(object).is_ok());
                let both = Conditions { uploaded_before: Some(time), ..matches.clone() };
                prop_assert_eq!(matches.check(object), both.check(object));
            }
        }
    }
}
