//! The first bytes of a connection to port 80. httparse reads the same bytes: a host is named to the
//! policy only if the request names that one and no other.
#![no_main]

use berth_net::fuzzing::{FirstBytes, first_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let ours = first_bytes(bytes, 80);
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(_)) = request.parse(bytes) else {
        return;
    };
    if let FirstBytes::Http(ours) = ours {
        for header in request.headers.iter() {
            if header.name.eq_ignore_ascii_case("host") {
                let theirs = String::from_utf8_lossy(header.value);
                let theirs = theirs.trim_ascii().replace(".:", ":");
                let theirs = theirs.strip_suffix('.').unwrap_or(&theirs);
                assert_eq!(ours, theirs, "the request names another host, too");
            }
        }
    }
});
