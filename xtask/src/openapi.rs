//! `cargo xtask openapi`: the description of the API, as the routes say it, into `docs/openapi.json`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

pub(crate) fn run() -> anyhow::Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // Not a dependency: whoever only measures need not compile the API.
    let output = Command::new("cargo")
        .args(["run", "--quiet", "-p", "berth-api", "--example", "openapi"])
        .current_dir(&repository)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("could not run cargo")?;
    ensure!(output.status.success(), "the description was not made");
    let path = repository.join("docs/openapi.json");
    fs_err::write(&path, &output.stdout)?;
    println!("docs/openapi.json is written");
    Ok(())
}
