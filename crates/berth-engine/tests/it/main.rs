//! The engine as its callers see it, on the real jail, network and image store. Needs root and gcc.
//!
//! The test binary is also the zygote, and the daemons that are killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "every function here is part of a test"
)]

mod crash;
mod crowds;
mod daemon;
mod exec;
mod kill;
mod life;
mod limits;
mod ports;
mod sleep;

#[path = "../support/harness.rs"]
mod harness;
#[path = "../support/sleeper.rs"]
mod sleeper;
#[path = "../support/world.rs"]
mod world;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    world::zygote_or_tests(|| {
        let words: Vec<String> = std::env::args().collect();
        if let [_, what, root, program] = words.as_slice() {
            let (root, program) = (Path::new(root), Path::new(program));
            match what.as_str() {
                crash::DAEMON => crash::daemon(root, program),
                kill::DAEMON => return kill::daemon(root, program),
                _ => {}
            }
        }
        harness::run(|program| {
            let of_modules = [
                life::trials,
                exec::trials,
                ports::trials,
                crowds::trials,
                limits::trials,
                sleep::trials,
                crash::trials,
                kill::trials,
            ];
            of_modules.iter().flat_map(|of| of(program)).collect()
        })
    })
}
