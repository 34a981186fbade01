//! Dockerfile → image.
//!
//! The way of a build: [`dockerfile`] parses, [`stages`] finds out which stages are needed, [`evaluate`]
//! expands every word before the first step and again where it stands, [`build`]
//! lets them run side by side; each step is looked up in the [`cache`], and what is not there is made
//! once, by [`copy`] or [`run`], in a writable directory over the layers so far ([`view`]), which then
//! becomes a layer of the image store.
//!
//! Invariants: a step's result depends only on what is in its cache key (and, for `RUN`, on the
//! network); the same Dockerfile and context give the same image id again; every error that a line
//! causes names file, line and text; a dropped build leaves no process, mount or file but finished
//! layers; no link in a context or image leads to the host's files.
#![forbid(unsafe_code)]

mod bounds;
mod build;
mod cache;
mod context;
mod copy;
mod dockerfile;
mod epoch;
mod error;
mod evaluate;
mod excerpt;
#[cfg(fuzzing)]
pub mod fuzzing;
mod glob;
mod lint;
mod remote;
mod request;
mod run;
mod stages;
mod state;
mod view;

pub use bounds::Bounds;
pub use build::{EXPORT_STEP, build};
pub use cache::sweep::sweep_records;
pub use error::{BuildError, KeyError, Location, StepError};
pub use remote::RemoteError;
pub use request::{BuildEvent, BuildHost, BuildRequest, HostError, HostFuture, Outcome, Secret};
