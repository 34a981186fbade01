//! What goes, decided from what there is: no file is touched here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use super::survey::{Cached, Known, Piece, Survey};
use super::{Collected, Policy};
use crate::Digest;

/// What goes.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) images: BTreeSet<Digest>,
    /// Places in [`Survey::caches`].
    pub(super) caches: BTreeSet<usize>,
    pub(super) garbage: Vec<Piece>,
    /// Also the beginnings of blobs that somebody may go on with.
    pub(super) all_partials: bool,
}

/// An image or a part of a cache that may go.
#[derive(Clone, Copy, Debug)]
enum Candidate {
    Image(usize),
    Cache(usize),
}

/// How often each piece is needed, and the bytes of those that are.
struct Needed<'a> {
    survey: &'a Survey,
    counts: BTreeMap<&'a Piece, usize>,
    bytes: u64,
}

impl<'a> Needed<'a> {
    fn new(survey: &'a Survey) -> Self {
        let mut needed = Self {
            survey,
            counts: BTreeMap::new(),
            bytes: 0,
        };
        needed.add(&survey.needed);
        for image in &survey.images {
            needed.add(&image.pieces);
        }
        for cache in &survey.caches {
            needed.add(&cache.pieces);
            needed.bytes += cache.bytes;
        }
        needed
    }

    fn size(&self, piece: &Piece) -> u64 {
        self.survey.pieces.get(piece).copied().unwrap_or(0)
    }

    fn add(&mut self, pieces: &'a BTreeSet<Piece>) {
        for piece in pieces {
            let count = self.counts.entry(piece).or_default();
            *count += 1;
            if *count == 1 {
                self.bytes += self.size(piece);
            }
        }
    }

    fn remove(&mut self, pieces: &'a BTreeSet<Piece>) {
        for piece in pieces {
            if let Some(count) = self.counts.get_mut(piece) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(piece);
                    self.bytes -= self.size(piece);
                }
            }
        }
    }
}

impl Plan {
    pub(super) fn make(survey: &Survey, policy: &Policy, now: SystemTime) -> Self {
        let mut plan = Self {
            all_partials: policy.all && policy.unused_for.is_none(),
            ..Self::default()
        };
        let mut needed = Needed::new(survey);
        let old = |last_used: SystemTime| {
            let age = now.duration_since(last_used).unwrap_or_default();
            policy.unused_for.is_none_or(|least| age >= least)
        };
        let mut rest = Vec::new();
        for (place, image) in survey.images.iter().enumerate() {
            if policy.garbage_only || image.needed || !old(image.last_used) {
                continue;
            }
            if policy.all || image.names.is_empty() {
                plan.drop(Candidate::Image(place), &mut needed);
            } else {
                rest.push((image.last_used, Candidate::Image(place)));
            }
        }
        for (place, cache) in survey.caches.iter().enumerate() {
            if policy.garbage_only || cache.needed || !old(cache.last_used) {
                continue;
            }
            if policy.all || policy.caches {
                plan.drop(Candidate::Cache(place), &mut needed);
            } else {
                rest.push((cache.last_used, Candidate::Cache(place)));
            }
        }
        if let Some(most) = policy.max_bytes {
            rest.sort_by_key(|(last_used, _)| *last_used);
            for (_, candidate) in rest {
                if needed.bytes <= most {
                    break;
                }
                plan.drop(candidate, &mut needed);
            }
        }
        plan.garbage = survey
            .pieces
            .keys()
            .filter(|piece| !needed.counts.contains_key(piece))
            .cloned()
            .collect();
        plan
    }

    fn drop<'a>(&mut self, candidate: Candidate, needed: &mut Needed<'a>) {
        match candidate {
            Candidate::Image(place) => {
                let image: &'a Known = &needed.survey.images[place];
                needed.remove(&image.pieces);
                self.images.insert(image.id.clone());
            }
            Candidate::Cache(place) => {
                let cache: &'a Cached = &needed.survey.caches[place];
                needed.remove(&cache.pieces);
                needed.bytes -= cache.bytes;
                self.caches.insert(place);
            }
        }
    }

    pub(super) fn summary(&self, survey: &Survey) -> Collected {
        let mut collected = Collected::default();
        let gone = survey
            .images
            .iter()
            .filter(|image| self.images.contains(&image.id));
        collected.images = gone
            .map(|image| (image.id.clone(), image.names.clone()))
            .collect();
        for piece in &self.garbage {
            match piece {
                Piece::Blob(_) => collected.blobs += 1,
                Piece::Tree(_) => collected.layers += 1,
            }
            collected.bytes += survey.pieces.get(piece).copied().unwrap_or(0);
        }
        for cache in &self.caches {
            let cache = &survey.caches[*cache];
            if cache.pieces.is_empty() {
                collected.caches += 1;
                collected.bytes += cache.bytes;
            }
        }
        collected.left = survey.bytes() - collected.bytes;
        collected
    }
}
