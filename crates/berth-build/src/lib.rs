//! Dockerfile → image.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use berth_image::{Image, ImageStore};

/// What to build.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// The Dockerfile.
    pub dockerfile: PathBuf,
    /// The context directory.
    pub context: PathBuf,
    /// `--build-arg`.
    pub args: BTreeMap<String, String>,
    /// `--target`.
    pub target: Option<String>,
    /// Names to give the image.
    pub tags: Vec<String>,
    /// Ignore cached layers.
    pub no_cache: bool,
    /// PEM file with the certificate authorities that programs in `RUN` steps shall trust, for hosts
    /// behind a TLS-inspecting proxy. It is there during the step only, and not in the image.
    pub ca_bundle: Option<PathBuf>,
}

/// Progress of a build, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildEvent {
    /// A step begins: its number, how many there are, and the instruction's text.
    StepStarted {
        /// From 1.
        step: usize,
        /// Steps in all.
        total: usize,
        /// The instruction as written.
        text: String,
    },
    /// One line of output of a `RUN`.
    Output {
        /// Step it belongs to.
        step: usize,
        /// The line without its newline.
        line: String,
    },
    /// A step is done.
    StepFinished {
        /// From 1.
        step: usize,
        /// It came from the cache.
        cached: bool,
    },
}

/// Why a build failed; the message has the Dockerfile's path, line and text.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {}

/// The images that a build of the default target takes from the store, so that the caller can provide
/// them first.
#[allow(unused_variables, clippy::todo)]
pub fn base_images(
    dockerfile: &Path,
    args: &BTreeMap<String, String>,
) -> Result<Vec<String>, BuildError> {
    todo!()
}

/// Builds a Dockerfile into the store.
#[allow(unused_variables, clippy::todo, clippy::unused_async)]
pub async fn build(
    store: &ImageStore,
    zygote: &berth_jail::Zygote,
    request: &BuildRequest,
    progress: &(dyn Fn(BuildEvent) + Send + Sync),
) -> Result<Image, BuildError> {
    todo!()
}

impl berth_error::Hint for BuildError {}
