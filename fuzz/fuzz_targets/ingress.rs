//! A connection to a sidecar's ingress: `CONNECT`, `PUT /egress`, `GET /ca`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let answer = runtime.block_on(berth_docker::fuzzing::ingress(bytes));
    // Nothing listens behind it, so no tunnel may open.
    assert!(!answer.starts_with(b"HTTP/1.1 200 OK\r\ncontent-length: 0"));
});
