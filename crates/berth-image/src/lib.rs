//! OCI images on this machine: content store, unpacked layers, names.
//!
//! Owner of everything below the store's root; the layout is drawn in [`store`]. Other crates get
//! [`Image`]s, whose layers are directories for overlayfs, and give back writable layers to keep.
//!
//! Invariants: a name in the index has its manifest, configuration, blobs and trees; content is
//! found by its digest and was checked against it when it came in; trees have the ids of the image
//! (the jail maps them when it mounts); whatever a hostile archive says, nothing outside the store is
//! written. All functions block on files: async callers use a blocking task.
#![forbid(unsafe_code)]

mod archive;
mod archive_kind;
mod copy;
mod crash;
mod digest;
mod entries;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod image;
mod json;
mod pack;
mod reference;
pub mod store;
mod stream;
mod tar_read;
mod tar_write;
#[cfg(test)]
mod testing;
mod tree;
mod unpack;

pub use archive_kind::is_archive;
pub use copy::{OverlayRecords, copy_tree};
pub use crash::CRASH_POINTS;
pub use digest::Digest;
pub use entries::is_empty_directory;
pub use error::ImageError;
pub use image::{Image, ImageSummary, Layer};
pub use pack::{PackOptions, pack};
pub use reference::Reference;
pub use store::collect::{ImageUsage, Usage};
pub use store::{Collected, Hold, ImageStore, IncomingLayer, LayerCompression, Pin, Policy};
pub use tree::LayerCopy;
pub use unpack::{ExtractOptions, Root, UnpackError, extract, extract_into, is_tar};
