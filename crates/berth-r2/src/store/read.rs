//! Bytes on their way out: from the blobs of an object, one after another.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::R2;
use crate::blobs::{BlobError, BlobStream, Lease};
use crate::index::Segment;
use crate::range::Resolved;

/// What of each blob is wanted; it cannot go meanwhile.
pub(super) type Held = VecDeque<(Lease, Range<u64>)>;

/// The parts of segments that a range wants.
pub(super) fn wanted(segments: Vec<Segment>, range: Resolved) -> Vec<(String, Range<u64>)> {
    let (from, to) = (range.offset, range.offset + range.length);
    let mut at = 0;
    let mut wanted = Vec::new();
    for Segment { blob, size } in segments {
        let (start, end) = (from.max(at), to.min(at + size));
        if start < end {
            wanted.push((blob, start - at..end - at));
        }
        at += size;
    }
    wanted
}

impl R2 {
    /// Streams what is held.
    pub(super) fn stream(&self, held: Held) -> BlobStream {
        let blobs = self.inner.blobs.clone();
        let opened = futures_util::stream::iter(held).then(move |(lease, range)| {
            let blobs = blobs.clone();
            async move {
                let stream = blobs.read(lease.name(), range).await?;
                // The lease goes with the stream.
                Ok::<_, BlobError>(stream.inspect_ok(move |_: &Bytes| {
                    let _ = &lease;
                }))
            }
        });
        opened.try_flatten().boxed()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against picking the bytes one by one.
        #[test]
        fn pieces(sizes in prop::collection::vec(0..5_u64, 0..5), from in 0..20_u64, length in 0..20_u64) {
            let segments: Vec<Segment> = sizes.iter().enumerate()
                .map(|(index, size)| Segment { blob: index.to_string(), size: *size })
                .collect();
            let all: Vec<(String, u64)> = segments.iter()
                .flat_map(|it| (0..it.size).map(|at| (it.blob.clone(), at)))
                .collect();
            let length = length.min((all.len() as u64).saturating_sub(from));
            let expected: Vec<_> =
                all.into_iter().skip(from as usize).take(length as usize).collect();
            let found: Vec<_> = wanted(segments, Resolved { offset: from, length })
                .into_iter()
                .flat_map(|(blob, range)| range.map(move |at| (blob.clone(), at)))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
