//! Everything a contributor or CI runs: `cargo xtask <command>`.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    reason = "printing figures and progress is what this program is for"
)]

mod bench;
mod ci;
mod conformance;
mod fuzz;
mod openapi;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Formatting, lints and all tests: what CI runs
    Ci,
    /// Measure; every figure is a ratio or a difference within one run
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Feed hostile bytes to the parsers; needs a nightly toolchain and cargo-fuzz
    Fuzz(fuzz::Fuzz),
    /// Record facts of other programs for the tests to compare with
    #[command(subcommand)]
    Conformance(conformance::Conformance),
    /// Write docs/openapi.json from the routes of the API
    Openapi,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Ci => ci::run(),
        Command::Bench(bench) => bench::run(&bench),
        Command::Fuzz(fuzz) => fuzz::run(&fuzz),
        Command::Conformance(command) => conformance::run(&command),
        Command::Openapi => openapi::run(),
    }
}
