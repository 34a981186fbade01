//! A Dockerfile: parsed, and every word of it expanded.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    berth_build::fuzzing::dockerfile(text);
});
