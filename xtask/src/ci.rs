//! `cargo xtask ci`: the same commands as `.ci/run`, by running it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(1)
        .unwrap_or(Path::new("."))
        .to_owned()
}

pub(crate) fn run() -> anyhow::Result<()> {
    let script = root().join(".ci/run");
    let status = Command::new("bash")
        .arg(&script)
        .status()
        .context("could not start bash")?;
    ensure!(status.success(), "`{}` failed: {status}", script.display());
    Ok(())
}
