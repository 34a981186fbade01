//! The first bytes of a connection that may be TLS. rustls reads the same bytes: whoever is named
//! to the policy must be whom a TLS server would take the connection to be for.
#![no_main]

use berth_net::fuzzing::{FirstBytes, first_bytes};
use libfuzzer_sys::fuzz_target;
use rustls::server::Acceptor;

fuzz_target!(|bytes: &[u8]| {
    let ours = first_bytes(bytes, 443);
    assert!(!matches!(ours, FirstBytes::Http(_)), "HTTP is looked for on port 80 only");
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    loop {
        match acceptor.read_tls(&mut rest) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let theirs = accepted.client_hello().server_name().map(str::to_owned);
                match (&ours, theirs) {
                    (FirstBytes::Tls(ours), Some(theirs)) => {
                        assert!(ours.eq_ignore_ascii_case(&theirs), "{ours} is {theirs} to rustls");
                    }
                    (FirstBytes::Unknown, Some(theirs)) => panic!("missed {theirs}"),
                    _ => {}
                }
                return;
            }
            Err(_) => return,
        }
    }
});
