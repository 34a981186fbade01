//! `cargo xtask bench`: what Berth claims about speed, measured against the bare program.

mod bare;
mod cold;
mod dev;
mod http;
mod projects;
mod stats;
mod warm;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// First request to a stopped container, against the same program executed bare
    Cold(ColdArgs),
    /// Requests per second through Worker, object and container, against the app alone
    Warm(WarmArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ColdArgs {
    /// Measured starts of each program
    #[arg(long, default_value_t = 30)]
    pub(crate) runs: usize,
    /// Objects asked at the same moment, after the single ones; 0 leaves this out
    #[arg(long, default_value_t = 20)]
    pub(crate) burst: usize,
}

#[derive(Debug, Args)]
pub(crate) struct WarmArgs {
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5)]
    pub(crate) seconds: u64,
}

pub(crate) fn run(bench: &Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Cold(args) => cold::run(args),
        Bench::Warm(args) => warm::run(args),
    }
}
