//! `cargo xtask conformance`: facts of other programs, recorded so that tests can compare with them
//! where those programs are not.

mod daemon;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use berth_conformance::{
    Case, Golden, OTHER_CORPUS, base, corpus, directory, images, lay_out, read_docker_save,
};
use clap::{Args, Subcommand};

use daemon::Daemon;

#[derive(Debug, Subcommand)]
pub(crate) enum Conformance {
    /// Build the corpus of Dockerfiles with a real Docker, and write what it made beside each
    Docker(Docker),
}

#[derive(Debug, Args)]
pub(crate) struct Docker {
    /// Cases; all of them if none is named
    cases: Vec<String>,
    /// Debian release from which Docker is taken
    #[arg(long, default_value = "forky")]
    suite: String,
    /// An image archive (`docker save`) of a newer Dockerfile frontend, for the cases that need one
    #[arg(long)]
    frontend: Option<PathBuf>,
    /// Another corpus than the repository's: a directory with a case in each of its directories, and the
    /// archives of the images that they build on in `images/`. What Docker refuses there is recorded, too.
    /// To compare, run the tests with BERTH_CORPUS naming the same directory
    #[arg(long, env = OTHER_CORPUS)]
    corpus: Option<PathBuf>,
}

pub(crate) fn run(command: &Conformance) -> anyhow::Result<()> {
    match command {
        Conformance::Docker(docker) => record(docker),
    }
}

fn record(options: &Docker) -> anyhow::Result<()> {
    let directory = options.corpus.clone().unwrap_or_else(directory);
    let cases = corpus(&directory)?;
    for name in &options.cases {
        ensure!(
            cases.iter().any(|case| case.name == *name),
            "there is no case `{name}` in {}",
            directory.display()
        );
    }
    let chosen = chosen(&cases, &options.cases);
    let base = base::make()?;
    let daemon = Daemon::start(&options.suite)?;
    let version = daemon.version()?;
    println!("{version}");
    for (name, archive) in &base.archives {
        daemon
            .load(archive)
            .with_context(|| format!("base image `{name}`"))?;
    }
    for archive in images(&directory)? {
        let name = daemon.load(&fs_err::read(archive)?)?;
        println!("base image {name}");
    }
    let frontend = match &options.frontend {
        Some(archive) => Some(daemon.load(&fs_err::read(archive)?)?),
        None => None,
    };
    let mut failed = Vec::new();
    for case in chosen {
        if case.settings.labs && frontend.is_none() {
            println!("{}: skipped, it needs --frontend", case.name);
            continue;
        }
        let frontend = frontend.as_deref().filter(|_| case.settings.labs);
        let version = match frontend {
            Some(frontend) => format!("{version}, frontend {frontend}"),
            None => version.clone(),
        };
        let may_fail = case.settings.fails || options.corpus.is_some();
        let golden = match one(&daemon, case, &version, &base.diff_id, frontend, may_fail) {
            Ok(golden) => golden,
            Err(error) => {
                println!("{}: {error:#}", case.name);
                failed.push(case.name.as_str());
                continue;
            }
        };
        let mut text = serde_json::to_string_pretty(&golden)?;
        text.push('\n');
        fs_err::write(case.golden(), text)?;
    }
    ensure!(failed.is_empty(), "not recorded: {}", failed.join(", "));
    Ok(())
}

/// The named cases and those that they need, in the corpus's order.
fn chosen<'a>(cases: &'a [Case], names: &[String]) -> Vec<&'a Case> {
    let mut wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    for case in cases.iter().rev() {
        if wanted.contains(&case.name.as_str()) {
            wanted.extend(case.settings.needs.iter().map(String::as_str));
        }
    }
    cases
        .iter()
        .filter(|case| names.is_empty() || wanted.contains(&case.name.as_str()))
        .collect()
}

fn one(
    daemon: &Daemon,
    case: &Case,
    version: &str,
    base_diff_id: &str,
    frontend: Option<&str>,
    may_fail: bool,
) -> anyhow::Result<Golden> {
    let context = daemon.work().join(&case.name);
    fs_err::create_dir_all(&context)?;
    lay_out(case, &context)?;
    let inside = format!("/recorder/{}", case.name);
    let settings = &case.settings;
    let mut build = daemon.docker();
    build
        .args([
            "build",
            "--progress=plain",
            "--no-cache",
            "--tag",
            &case.image(),
        ])
        .arg("--file")
        .arg(format!("{inside}/{}", case.dockerfile_path()));
    for (name, value) in &settings.args {
        build.arg("--build-arg").arg(format!("{name}={value}"));
    }
    if let Some(target) = &settings.target {
        build.arg("--target").arg(target);
    }
    if let Some(frontend) = frontend {
        build
            .arg("--build-arg")
            .arg(format!("BUILDKIT_SYNTAX={frontend}"));
    }
    let secrets = daemon.work().join(format!("{}.secrets", case.name));
    for (id, content) in &settings.secrets {
        fs_err::create_dir_all(&secrets)?;
        fs_err::write(secrets.join(id), content)?;
        build
            .arg("--secret")
            .arg(format!("id={id},src={inside}.secrets/{id}"));
    }
    let output = build.arg(&inside).stdin(Stdio::null()).output()?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    if settings.fails || may_fail && !output.status.success() {
        ensure!(!output.status.success(), "Docker builds it:\n{log}");
        let error = log
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("ERROR: "))
            .context("no line with an error")?;
        println!("{}: refused: {error}", case.name);
        return Ok(Golden {
            recorded_with: version.to_owned(),
            facts: None,
            error: Some(error.to_owned()),
        });
    }
    ensure!(output.status.success(), "Docker refuses it:\n{log}");
    let saved = output_of(daemon.docker().args(["save", &case.image()]))?;
    let facts = read_docker_save(saved.as_slice(), base_diff_id)?;
    println!("{}: {} layers", case.name, facts.layers.len());
    Ok(Golden {
        recorded_with: version.to_owned(),
        facts: Some(facts),
        error: None,
    })
}

/// Standard output of a command that must succeed.
fn output_of(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command
        .output()
        .with_context(|| format!("could not start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}
