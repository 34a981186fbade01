//! What is in a store, and who needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fs_err as fs;

use super::super::lease::{Item, Leases};
use super::super::{ImageStore, Manifest, pair_layers, pins, usage};
use super::digests_in;
use crate::{Digest, ImageError, Reference};

/// Something that takes room and can be removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) enum Piece {
    Blob(Digest),
    /// By its diff id.
    Tree(Digest),
}

impl Piece {
    pub(super) fn path(&self, root: &Path) -> PathBuf {
        match self {
            Self::Blob(digest) => root.join("blobs/sha256").join(digest.hex()),
            Self::Tree(diff_id) => root.join("layers").join(diff_id.hex()),
        }
    }
}

/// An image of the index.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) id: Digest,
    pub(super) names: Vec<String>,
    pub(super) created: u64,
    pub(super) pieces: BTreeSet<Piece>,
    pub(super) last_used: SystemTime,
    /// A lease or a pin needs it.
    pub(super) needed: bool,
}

/// Something of a cache.
#[derive(Debug)]
pub(super) struct Cached {
    pub(super) kind: CacheKind,
    pub(super) pieces: BTreeSet<Piece>,
    /// Of a directory.
    pub(super) bytes: u64,
    pub(super) last_used: SystemTime,
    pub(super) needed: bool,
}

#[derive(Debug)]
pub(super) enum CacheKind {
    /// A layer that a builder made.
    Layer,
    /// A directory, by its path below the cache directory.
    Directory(String),
}

/// Everything in a store.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) images: Vec<Known>,
    pub(super) caches: Vec<Cached>,
    /// What leases and pins need besides images of the index.
    pub(super) needed: BTreeSet<Piece>,
    /// All there is, with its bytes.
    pub(super) pieces: BTreeMap<Piece, u64>,
}

impl Survey {
    /// Complete only with the gate held alone. Makes no holds: that would wait for the gate.
    pub(super) fn take(
        store: &ImageStore,
        cache_sizes: &BTreeMap<String, u64>,
    ) -> Result<Self, ImageError> {
        let held = Leases::read(&store.inner.root)?.held;
        let mut survey = Self::default();
        let mut manifests: BTreeSet<Digest> = held.iter().filter_map(held_manifest).collect();
        for record in pins::read_all(&store.inner.root)? {
            manifests.extend(record.images.into_values());
        }
        for item in &held {
            match item {
                Item::Blob(digest) => drop(survey.needed.insert(Piece::Blob(digest.clone()))),
                Item::Tree(diff_id) => drop(survey.needed.insert(Piece::Tree(diff_id.clone()))),
                Item::Manifest(..) | Item::Cache(_) => {}
            }
        }
        for manifest in &manifests {
            survey.needed.extend(pieces_of(store, manifest)?);
        }
        survey.find_images(store, &manifests)?;
        survey.find_pieces(store)?;
        survey.find_directories(store, cache_sizes, &held);
        Ok(survey)
    }

    fn find_images(
        &mut self,
        store: &ImageStore,
        needed: &BTreeSet<Digest>,
    ) -> Result<(), ImageError> {
        let index = store.index()?;
        for (id, record) in &index.images {
            let names = index.names.iter().filter(|(_, named)| *named == id);
            let arrived = || usage::modified(&store.blob_path(&record.manifest));
            self.images.push(Known {
                id: id.clone(),
                names: names
                    .map(|(name, _)| {
                        let parsed = name.parse::<Reference>();
                        parsed.map_or_else(|_| name.clone(), |name| name.listed())
                    })
                    .collect(),
                created: record.created,
                pieces: pieces_of(store, &record.manifest)?,
                last_used: store
                    .last_used(id)
                    .or_else(arrived)
                    .unwrap_or(SystemTime::UNIX_EPOCH),
                // Whoever holds the image by the manifest it had before it was packed needs it, too:
                // the id is the configuration's digest, which every manifest of it names.
                needed: needed.contains(&record.manifest)
                    || self.needed.contains(&Piece::Blob(id.clone())),
            });
        }
        Ok(())
    }

    fn find_pieces(&mut self, store: &ImageStore) -> Result<(), ImageError> {
        let root = &store.inner.root;
        for (digest, entry) in digests_in(&root.join("blobs/sha256"))? {
            let bytes = entry.metadata().map_or(0, |found| found.len());
            self.pieces.insert(Piece::Blob(digest), bytes);
        }
        for (diff_id, _) in digests_in(&root.join("layers"))? {
            // A record that cannot be read is one of a layer that nobody can use.
            let record = store.layer_record(&diff_id).ok().flatten();
            let bytes = record.as_ref().map_or(0, |record| record.bytes);
            let tree = Piece::Tree(diff_id.clone());
            if let Some(record) = record
                && let Some(last_used) = usage::modified(&store.cached_marker(&diff_id))
            {
                self.caches.push(Cached {
                    kind: CacheKind::Layer,
                    pieces: BTreeSet::from([tree.clone(), Piece::Blob(record.layer.digest)]),
                    bytes: 0,
                    last_used,
                    needed: self.needed.contains(&tree),
                });
            }
            self.pieces.insert(tree, bytes);
        }
        Ok(())
    }

    fn find_directories(
        &mut self,
        store: &ImageStore,
        sizes: &BTreeMap<String, u64>,
        held: &BTreeSet<Item>,
    ) {
        for (path, bytes) in sizes {
            let Some(last_used) = usage::modified(&store.cache_dir().join(path)) else {
                continue;
            };
            self.caches.push(Cached {
                needed: held.contains(&Item::Cache(path.clone())),
                kind: CacheKind::Directory(path.clone()),
                pieces: BTreeSet::new(),
                bytes: *bytes,
                last_used,
            });
        }
    }
}

fn held_manifest(item: &Item) -> Option<Digest> {
    match item {
        Item::Manifest(manifest, _) => Some(manifest.clone()),
        _ => None,
    }
}

/// Everything that an image consists of. An image that is damaged has what is left of it.
fn pieces_of(store: &ImageStore, manifest: &Digest) -> Result<BTreeSet<Piece>, ImageError> {
    let mut pieces = BTreeSet::from([Piece::Blob(manifest.clone())]);
    let read = |what, digest: &Digest| match store.read_blob(what, digest) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ImageError::MissingBlob { .. } | ImageError::DigestMismatch { .. }) => Ok(None),
        Err(error) => Err(error),
    };
    let Some(bytes) = read("image manifest", manifest)? else {
        return Ok(pieces);
    };
    let parsed = Manifest::parse(&bytes)?;
    pieces.insert(Piece::Blob(parsed.config.digest.clone()));
    for layer in &parsed.layers {
        pieces.insert(Piece::Blob(layer.digest.clone()));
    }
    let Some(bytes) = read("image configuration", &parsed.config.digest)? else {
        return Ok(pieces);
    };
    let config = crate::json::parse(&bytes, "the image configuration")?;
    for layer in pair_layers(parsed.layers, &config)? {
        pieces.insert(Piece::Tree(layer.diff_id));
    }
    Ok(pieces)
}

/// The directories that caches consist of (`<owner>/mounts/<name>`), with their bytes. Taken without
/// the gate, since it walks through all of them.
pub(super) fn cache_sizes(cache: &Path) -> BTreeMap<String, u64> {
    let mut sizes = BTreeMap::new();
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    for owner in entries(cache) {
        for entry in entries(&owner.path().join("mounts")) {
            let path = entry.path();
            if let Ok(relative) = path.strip_prefix(cache)
                && let Some(relative) = relative.to_str()
            {
                sizes.insert(relative.to_owned(), tree_bytes(&path));
            }
        }
    }
    sizes
}

/// Bytes of all regular files below a directory; what vanishes meanwhile counts nothing.
fn tree_bytes(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => tree_bytes(&entry.path()),
            Ok(found) if found.is_file() => found.len(),
            _ => 0,
        })
        .sum()
}
