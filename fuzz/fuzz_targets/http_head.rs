//! The first bytes of a connection to port 80. httparse reads the same bytes: a host is named to the
//! policy only if the request names that one and no other.
#![no_main]

use berth_net::fuzzing::{FirstBytes, first_bytes};
use libfuzzer_sys::fuzz_target;

/// `a.example.:80` is `a.example:80`.
fn without_final_dot(host: &str) -> String {
    match host.rsplit_once(".:") {
        Some((name, port)) => format!("{name}:{port}"),
        None => host.strip_suffix('.').unwrap_or(host).to_owned(),
    }
}

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
                assert_eq!(ours, without_final_dot(theirs.trim_ascii()), "another host, too");
            }
        }
    }
});
