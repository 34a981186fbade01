//! Test binaries whose tests each have a world of their own.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};

use crate::world;

/// A trial for each function.
macro_rules! trials {
    ($program:expr, [$($name:ident),* $(,)?]) => {
        vec![$({
            let program = std::sync::Arc::clone($program);
            libtest_mimic::Trial::test(stringify!($name), move || {
                Ok(crate::world::in_world(&program, $name)?)
            })
        }),*]
    };
}
pub(crate) use trials;

/// Compiles the images' program, unless the trials are to be listed only, and runs them.
pub(crate) fn run(trials: impl FnOnce(&Arc<Path>) -> Vec<Trial>) -> ExitCode {
    let arguments = Arguments::from_args();
    let temp = tempfile::tempdir().unwrap();
    let program: Arc<Path> = temp.path().join("app").into();
    if !arguments.list {
        world::compile(&program);
    }
    libtest_mimic::run(&arguments, trials(&program)).exit_code()
}
