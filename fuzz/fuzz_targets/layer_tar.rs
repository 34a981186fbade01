//! A layer's archive: plain, gzip or zstd; PAX, GNU, sparse.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = berth_image::fuzzing::read_archive(bytes);
});
