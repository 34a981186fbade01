//! What takes how much room: the figures of `berth images df`.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::survey::{CacheKind, Piece, Survey};
use crate::Digest;

/// What is in a store.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Bytes of everything: blobs, files of unpacked layers, caches.
    pub bytes: u64,
    /// The images of the index.
    pub images: Vec<ImageUsage>,
    /// Bytes of all images together; what they share counts once.
    pub image_bytes: u64,
    /// Bytes that removing all images that nothing uses would free.
    pub reclaimable_image_bytes: u64,
    /// Layers of build caches that no image needs.
    pub cached_layers: usize,
    /// Directories that builds have had mounted as caches.
    pub cache_directories: usize,
    /// Bytes of both; what images need is not in it.
    pub cache_bytes: u64,
    /// Bytes of caches that nothing uses now.
    pub reclaimable_cache_bytes: u64,
    /// Bytes of what nothing needs at all: any collection removes it.
    pub garbage_bytes: u64,
}

/// One image.
#[derive(Clone, Debug)]
pub struct ImageUsage {
    /// Its id.
    pub id: Digest,
    /// Its names; without one it goes with the next collection.
    pub names: Vec<String>,
    /// Unix seconds, from its configuration.
    pub created: u64,
    /// Bytes of its blobs and unpacked layers.
    pub bytes: u64,
    /// Those that no other image has too.
    pub unique_bytes: u64,
    /// When it was pulled, built, built upon or started last.
    pub last_used: SystemTime,
    /// A container, a build, a pull or a kept version needs it.
    pub in_use: bool,
}

impl Survey {
    pub(super) fn bytes(&self) -> u64 {
        let caches: u64 = self.caches.iter().map(|cache| cache.bytes).sum();
        self.pieces.values().sum::<u64>() + caches
    }

    fn size<'a>(&self, pieces: impl IntoIterator<Item = &'a Piece>) -> u64 {
        let bytes = |piece| self.pieces.get(piece).copied().unwrap_or(0);
        pieces.into_iter().map(bytes).sum()
    }
}

pub(super) fn usage(survey: &Survey) -> Usage {
    let all = |wanted: &dyn Fn(usize) -> bool| -> BTreeSet<&Piece> {
        let images = survey.images.iter().enumerate();
        images
            .filter(|(place, _)| wanted(*place))
            .flat_map(|(_, image)| &image.pieces)
            .collect()
    };
    let of_images = all(&|_| true);
    let in_use = all(&|place| survey.images[place].needed);
    let idle = of_images
        .iter()
        .filter(|piece| !in_use.contains(*piece) && !survey.needed.contains(*piece));
    let mut usage = Usage {
        bytes: survey.bytes(),
        image_bytes: survey.size(of_images.iter().copied()),
        reclaimable_image_bytes: survey.size(idle.copied()),
        ..Usage::default()
    };
    for (place, image) in survey.images.iter().enumerate() {
        let others = all(&|other| other != place);
        let unique = image.pieces.iter().filter(|piece| !others.contains(piece));
        usage.images.push(ImageUsage {
            id: image.id.clone(),
            names: image.names.clone(),
            created: image.created,
            bytes: survey.size(&image.pieces),
            unique_bytes: survey.size(unique),
            last_used: image.last_used,
            in_use: image.needed,
        });
    }
    let mut reachable = of_images;
    for cache in &survey.caches {
        let own: Vec<&Piece> = cache
            .pieces
            .iter()
            .filter(|piece| !reachable.contains(piece))
            .collect();
        let bytes = cache.bytes + survey.size(own.iter().copied());
        match cache.kind {
            CacheKind::Layer if own.is_empty() => {}
            CacheKind::Layer => usage.cached_layers += 1,
            CacheKind::Directory(_) => usage.cache_directories += 1,
        }
        reachable.extend(own);
        usage.cache_bytes += bytes;
        if !cache.needed {
            usage.reclaimable_cache_bytes += bytes;
        }
    }
    reachable.extend(&survey.needed);
    let reached = survey.size(reachable.iter().copied());
    usage.garbage_bytes = survey.pieces.values().sum::<u64>() - reached;
    usage
}
