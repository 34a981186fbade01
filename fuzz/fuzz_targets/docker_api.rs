//! A connection to the Docker API: paths, queries, filters and JSON bodies.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(berth_docker::fuzzing::api(bytes));
});
