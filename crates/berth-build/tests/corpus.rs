//! The corpus: Dockerfiles that Berth builds and whose images are compared with what Docker made of
//! them (`<case>/docker.json`, written by `cargo xtask conformance docker`).
//!
//! Each case is a test of its own: `cargo test -p berth-build --test corpus copy-chown`. Differences
//! that are intended are in `corpus/differences.json` with their reasons; docs/images.md tells them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "support/corpus.rs"]
mod support;

use std::process::ExitCode;
use std::sync::Arc;

use berth_conformance::{Case, corpus, directory};
use libtest_mimic::{Arguments, Failed, Trial};
use support::{Explained, World};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let cases = corpus(&directory()).expect("the corpus can be read");
    let explained = Arc::new(Explained::read().expect("the differences can be read"));
    let world = Arc::new(World::new());
    let mut trials: Vec<Trial> = cases
        .iter()
        .map(|case| {
            let (world, explained, case) = (world.clone(), explained.clone(), case.clone());
            Trial::test(case.name.clone(), move || check(&world, &explained, &case))
        })
        .collect();
    let names: Vec<String> = cases.iter().map(|case| case.name.clone()).collect();
    let about = explained.clone();
    trials.push(Trial::test("differences_are_of_cases", move || {
        about.are_of(&names).map_err(Failed::from)
    }));
    let conclusion = libtest_mimic::run(&arguments, trials);
    match Arc::try_unwrap(world) {
        Ok(world) => world.close(),
        Err(_) => panic!("a test still uses the world"),
    }
    conclusion.exit_code()
}

/// One case: the same image as Docker's, but for what is explained; or refused by both.
fn check(world: &World, explained: &Explained, case: &Case) -> Result<(), Failed> {
    let golden = support::golden(case)?;
    let built = world.build(case);
    match (golden.facts, built) {
        (Some(_), Err(_)) if explained.refuses(&case.name) => Ok(()),
        (Some(_), Ok(_)) if explained.refuses(&case.name) => {
            Err("Berth builds it; take it out of `refuses`".into())
        }
        (None, Err(_)) if explained.builds_anyway(&case.name) => {
            Err("Berth refuses it; take it out of `builds_anyway`".into())
        }
        (Some(docker), Ok(berth)) => Ok(explained.check(&case.name, &docker, &berth)?),
        (Some(_), Err(error)) => Err(format!("Docker builds it, Berth says:\n{error}").into()),
        (None, Ok(_)) if explained.builds_anyway(&case.name) => Ok(()),
        (None, Ok(_)) => Err(format!(
            "Berth builds it, Docker says: {}",
            golden.error.unwrap_or_default()
        )
        .into()),
        (None, Err(_)) => Ok(()),
    }
}
