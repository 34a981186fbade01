//! `cargo xtask fuzz`: the fuzz targets of `fuzz/`, one after the other.
//!
//! They are a workspace of their own, because they need a nightly toolchain and cargo-fuzz. Nothing
//! is installed from here: what is missing is named with the command that installs it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use clap::Args;

/// What to fuzz and for how long.
#[derive(Debug, Args)]
pub(crate) struct Fuzz {
    /// Targets; all of them if none is named
    targets: Vec<String>,
    /// How long each one runs
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// List the targets and end
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(fuzz: &Fuzz) -> anyhow::Result<()> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let known = targets(&dir)?;
    if fuzz.list {
        println!("{}", known.join("\n"));
        return Ok(());
    }
    let chosen = if fuzz.targets.is_empty() {
        &known
    } else {
        &fuzz.targets
    };
    for target in chosen {
        ensure!(
            known.contains(target),
            "there is no fuzz target `{target}`: there are {}",
            known.join(", ")
        );
    }
    need(
        "the nightly toolchain",
        "rustup toolchain install nightly",
        &["+nightly", "--version"],
    )?;
    need(
        "cargo-fuzz",
        "cargo install cargo-fuzz",
        &["fuzz", "--version"],
    )?;
    let mut failed = Vec::new();
    for target in chosen {
        println!("{target}: {} s", fuzz.seconds);
        if !one(&dir, target, fuzz.seconds)? {
            failed.push(target.as_str());
        }
    }
    ensure!(
        failed.is_empty(),
        "found something, see fuzz/artifacts: {}",
        failed.join(", ")
    );
    Ok(())
}

/// Runs one target; `false` when it found something.
fn one(dir: &Path, target: &str, seconds: u64) -> anyhow::Result<bool> {
    // What is found grows here and is not committed; the seeds are only read.
    let corpus = dir.join("corpus").join(target);
    fs_err::create_dir_all(&corpus)?;
    let status = Command::new("cargo")
        .args(["+nightly", "fuzz", "run", "--fuzz-dir"])
        .arg(dir)
        .arg(target)
        .arg(corpus)
        .arg(dir.join("seeds").join(target))
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .args(["-rss_limit_mb=2048", "-timeout=10", "-print_final_stats=1"])
        .status()
        .context("cannot start cargo-fuzz")?;
    Ok(status.success())
}

/// The names of the targets, in order.
fn targets(dir: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(dir.join("fuzz_targets"))? {
        let path: PathBuf = entry?.path();
        if let Some(name) = path.file_stem() {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn need(what: &str, install: &str, probe: &[&str]) -> anyhow::Result<()> {
    let probed = Command::new("cargo")
        .args(probe)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !probed.is_ok_and(|status| status.success()) {
        bail!("fuzzing needs {what}: `{install}`");
    }
    Ok(())
}
