//! A `.dockerignore`, and on the last line a path.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (patterns, path) = text.rsplit_once('\n').unwrap_or(("", text));
    berth_build::fuzzing::ignore(patterns, path);
});
