//! Pages of a bucket's keys, in the order of their bytes, with those that share a prefix as one.

use crate::R2Error;
use crate::object::Object;

/// Of one page.
const MOST: usize = 1000;

/// What to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOptions {
    /// Of every key.
    pub prefix: String,
    /// Keys that have it after the prefix are listed up to and with it, once.
    pub delimiter: Option<String>,
    /// Where to go on.
    pub after: Option<Position>,
    /// Objects and prefixes of the page, 1 to 1,000.
    pub limit: usize,
    /// Bytes of what is known about the page's objects, about.
    pub budget: usize,
}

impl Default for ListOptions {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            delimiter: None,
            after: None,
            limit: MOST,
            budget: usize::MAX,
        }
    }
}

/// A place between keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// After this key.
    Key(String),
    /// After every key that begins so.
    Prefix(String),
}

/// A page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Objects, by key.
    pub objects: Vec<Object>,
    /// Prefixes, in order.
    pub prefixes: Vec<String>,
    /// Where the next page begins, if there is one.
    pub next: Option<Position>,
}

impl ListOptions {
    /// Takes a limit as clients say it.
    ///
    /// # Errors
    /// [`R2Error::MaxKeys`].
    pub fn limited(mut self, limit: Option<u64>) -> Result<Self, R2Error> {
        if let Some(limit) = limit {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            if !(1..=MOST).contains(&limit) {
                return Err(R2Error::MaxKeys);
            }
            self.limit = limit;
        }
        Ok(self)
    }
}

/// The least bytes that are greater than everything that begins with these; `None`: there are none.
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = prefix.to_vec();
    while let Some(last) = bytes.pop() {
        if last < u8::MAX {
            bytes.push(last + 1);
            return Some(bytes);
        }
    }
    None
}

/// Part of the keys' order.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    /// Of the first key.
    pub(crate) from: Vec<u8>,
    /// Whether a key may be `from` itself.
    pub(crate) inclusive: bool,
    /// Keys are less; `None`: up to the end.
    pub(crate) to: Option<Vec<u8>>,
}

/// Something about an object, roughly in bytes as it is told.
fn weight(object: &Object) -> usize {
    let custom = object.metadata.custom.iter();
    let custom: usize = custom
        .map(|(key, value)| key.len() + value.len() + 20)
        .sum();
    let http = &object.metadata.http;
    let http = [
        &http.content_type,
        &http.content_language,
        &http.content_disposition,
        &http.content_encoding,
        &http.cache_control,
    ];
    let http: usize = http.into_iter().flatten().map(|text| text.len() + 30).sum();
    // A control character is six of JSON's.
    400 + object.key.len() * 6 + custom * 2 + http
}

/// One page. `read` gives the first objects of a span, at most so many.
pub(crate) fn page<E>(
    options: &ListOptions,
    mut read: impl FnMut(&Span, usize) -> Result<Vec<Object>, E>,
) -> Result<Listing, E> {
    let prefix = options.prefix.as_bytes();
    let mut span = Span {
        from: prefix.to_vec(),
        inclusive: true,
        to: after_prefix(prefix),
    };
    let mut listing = Listing::default();
    match &options.after {
        Some(Position::Key(key)) if key.as_bytes() >= prefix => {
            span.from = key.clone().into_bytes();
            span.inclusive = false;
        }
        Some(Position::Prefix(skipped)) => match after_prefix(skipped.as_bytes()) {
            Some(from) if from.as_slice() > prefix => span.from = from,
            Some(_) => {}
            None => return Ok(listing),
        },
        _ => {}
    }
    let delimiter = options.delimiter.as_deref().filter(|text| !text.is_empty());
    let (mut last, mut bytes) = (None, 0);
    // With a delimiter the next key may be the last that is looked at for a while.
    let mut batch = if delimiter.is_some() { 16 } else { usize::MAX };
    loop {
        let room = options.limit - listing.objects.len() - listing.prefixes.len();
        let most = batch.min(room + 1);
        let found = read(&span, most)?;
        let complete = found.len() < most;
        let mut skipped = false;
        for object in found {
            let full = listing.objects.len() + listing.prefixes.len() == options.limit;
            if full || bytes > options.budget {
                listing.next = last;
                return Ok(listing);
            }
            let rest = &object.key[options.prefix.len()..];
            let shared = delimiter.and_then(|text| Some(rest.find(text)? + text.len()));
            if let Some(shared) = shared {
                let group = object.key[..options.prefix.len() + shared].to_owned();
                bytes += group.len();
                let Some(from) = after_prefix(group.as_bytes()) else {
                    listing.prefixes.push(group);
                    return Ok(listing);
                };
                (span.from, span.inclusive) = (from, true);
                last = Some(Position::Prefix(group.clone()));
                listing.prefixes.push(group);
                // What has been read of the group is not looked at.
                skipped = true;
                break;
            }
            bytes += weight(&object);
            (span.from, span.inclusive) = (object.key.clone().into_bytes(), false);
            last = Some(Position::Key(object.key.clone()));
            listing.objects.push(object);
        }
        if complete && !skipped {
            return Ok(listing);
        }
        batch = if skipped { 2 } else { batch.saturating_mul(2) };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::object::Metadata;

    fn object(key: &str) -> Object {
        Object {
            key: key.to_owned(),
            version: String::new(),
            size: 0,
            etag: String::new(),
            uploaded: 0,
            metadata: Metadata::default(),
            sums: crate::Sums::default(),
        }
    }

    fn read(keys: &BTreeSet<String>, span: &Span, most: usize) -> Result<Vec<Object>, ()> {
        let inside = |key: &&String| {
            let key = key.as_bytes();
            (key > span.from.as_slice() || span.inclusive && key == span.from.as_slice())
                && span.to.as_ref().is_none_or(|to| key < to.as_slice())
        };
        Ok(keys
            .iter()
            .filter(inside)
            .take(most)
            .map(|key| object(key))
            .collect())
    }

    /// Every page together: what is listed, in the order in which it comes.
    fn pages(keys: &BTreeSet<String>, mut options: ListOptions) -> Vec<(bool, String)> {
        let mut all = Vec::new();
        for _ in 0..100 {
            let page = page(&options, |span, most| read(keys, span, most)).unwrap();
            let count = page.objects.len() + page.prefixes.len();
            assert!(count <= options.limit);
            assert!(
                page.next.is_none() || count > 0,
                "a page that goes on has something"
            );
            let mut items: Vec<_> = page.objects.into_iter().map(|it| (false, it.key)).collect();
            items.extend(page.prefixes.into_iter().map(|it| (true, it)));
            items.sort_by(|one, other| one.1.cmp(&other.1));
            all.extend(items);
            options.after = page.next;
            if options.after.is_none() {
                return all;
            }
        }
        panic!("pages without end");
    }

    fn word() -> impl Strategy<Value = String> {
        "[a/\u{10ffff}é]{0,4}"
    }

    proptest! {
        /// Against looking at every key.
        #[test]
        fn pages_are_the_whole(
            keys in prop::collection::btree_set(word(), 0..30),
            prefix in word(),
            delimiter in prop::option::of("[a/]{0,2}"),
            start in prop::option::of(word()),
            limit in 1..5_usize,
            budget in prop_oneof![Just(0_usize), Just(usize::MAX)],
        ) {
            let mut expected = Vec::new();
            for key in &keys {
                if !key.starts_with(&prefix) || start.as_ref().is_some_and(|start| key <= start) {
                    continue;
                }
                let rest = &key[prefix.len()..];
                let found = delimiter.as_ref().filter(|text| !text.is_empty());
                let found = found.and_then(|text| Some(rest.find(text.as_str())? + text.len()));
                let item = match found {
                    Some(shared) => (true, key[..prefix.len() + shared].to_owned()),
                    None => (false, key.clone()),
                };
                if expected.last() != Some(&item) {
                    expected.push(item);
                }
            }
            let after = start.map(Position::Key);
            let options = ListOptions { prefix, delimiter, after, limit, budget };
            prop_assert_eq!(pages(&keys, options), expected);
        }

        /// Everything that begins with a prefix is before what is after the prefix.
        #[test]
        fn after_a_prefix(prefix in prop::collection::vec(prop_oneof![Just(0_u8), Just(254), Just(255)], 0..4),
            rest in prop::collection::vec(any::<u8>(), 0..3), other in prop::collection::vec(prop_oneof![Just(0_u8), Just(254), Just(255)], 0..5)) {
            let after = after_prefix(&prefix);
            let mut longer = prefix.clone();
            longer.extend(rest);
            prop_assert!(after.as_ref().is_none_or(|after| *after > longer));
            if other > prefix && !other.starts_with(&prefix) {
                prop_assert!(after.is_some_and(|after| after <= other));
            }
        }
    }
}
