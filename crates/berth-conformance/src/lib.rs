//! The corpus of Dockerfiles, and what an image made of one of them is: in a form in which Docker's
//! images and Berth's can be compared.
//!
//! `cargo xtask conformance docker` builds the corpus (`crates/berth-build/tests/corpus`) with a real
//! Docker and writes what came out beside each Dockerfile; the tests of `berth-build` build it with
//! Berth and compare. This crate is what both share: reading a [`Case`], laying out its context, the
//! [base images](base), and [`Facts`] of an image, which are read from layer archives by the `tar`
//! crate, so that a mistake in Berth's own reader cannot hide itself.
//!
//! Nothing here is part of the product. Contexts are laid out as root, in directories of the caller.
#![forbid(unsafe_code)]

mod archive;
pub mod base;
mod case;
mod context;
mod difference;
mod docker_save;
mod facts;
mod layer;
mod tree;

pub use archive::Compression;
pub use case::{Case, Entry, EntryKind, OTHER_CORPUS, corpus, directory, images};
pub use context::{FIXED_TIME, lay_out};
pub use difference::{Difference, compare};
pub use docker_save::read_docker_save;
pub use facts::{Facts, Golden, History};
pub use layer::{LayerFacts, read_layer};
pub use tree::merge;
