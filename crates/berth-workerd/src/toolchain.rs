//! workerd, esbuild and `@cloudflare/containers` from npm, at the versions the repository pins.

use std::path::{Path, PathBuf};

use berth_error::Hint;

/// The pinned tools, installed. Paths are absolute.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// The workerd executable.
    pub workerd: PathBuf,
    /// The esbuild executable.
    pub esbuild: PathBuf,
    /// Directory of Berth's own copy of the npm package `@cloudflare/containers`.
    pub containers_package: PathBuf,
    /// The same package at 0.0.x, which the tests of old projects use.
    pub containers_package_0_0: PathBuf,
}

/// What [`Toolchain::ensure`] is doing. Nothing is reported when everything is there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolchainEvent {
    /// Another process is installing into the same cache; waiting for it.
    Waiting,
    /// npm has been started; lists `name version` of what it brings.
    Installing(Vec<String>),
    /// One line that npm printed.
    Output(String),
    /// Done.
    Installed,
}

/// Why the tools could not be brought.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// `npm` is not in `PATH`.
    #[error("npm is needed once to install workerd and esbuild, and was not found")]
    NpmMissing,
}

impl Hint for ToolchainError {}

#[allow(unused_variables, clippy::todo, clippy::unused_async)]
impl Toolchain {
    /// Makes sure that the tools are in `<cache_dir>/tools/<hash of the lock file>`: reuses them
    /// without starting npm when they are complete, installs them otherwise. Processes that share
    /// the cache wait for each other.
    pub async fn ensure(
        cache_dir: &Path,
        progress: impl FnMut(ToolchainEvent) + Send,
    ) -> Result<Self, ToolchainError> {
        todo!()
    }
}
