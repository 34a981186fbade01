//! What a build takes from its surroundings without being asked: the time to stop at, proxies, and
//! the certificate authorities that this machine trusts.

use std::path::{Path, PathBuf};

use berth_build::BuildRequest;

use crate::serve::certificate;

/// Settings of proxies, in upper and in lower case.
const PROXIES: [&str; 5] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// Variables that name this machine's bundle of certificate authorities.
const CA_VARIABLES: [&str; 3] = ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE"];

/// The bundle that the system's own programs trust (Debian, Fedora, SUSE, Alpine).
const CA_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Where the administrator of this machine puts authorities of their own.
const OWN_AUTHORITIES: [&str; 3] = [
    "/usr/local/share/ca-certificates",
    "/etc/pki/ca-trust/source/anchors",
    "/etc/pki/trust/anchors",
];

/// Completes a request. What it says already stays.
pub(crate) fn apply(request: &mut BuildRequest) {
    let from_environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(epoch) = from_environment("SOURCE_DATE_EPOCH") {
        request
            .args
            .entry("SOURCE_DATE_EPOCH".to_owned())
            .or_insert(epoch);
    }
    for name in PROXIES {
        for name in [name.to_owned(), name.to_ascii_lowercase()] {
            if let Some(value) = from_environment(&name) {
                request.proxies.entry(name).or_insert(value);
            }
        }
    }
    if request.ca_bundle.is_none() {
        request.ca_bundle = host_ca_bundle();
    }
}

/// The bundle of certificate authorities that this machine uses instead of the usual ones: what a
/// package client in a `RUN` step needs behind a proxy that signs for itself. `None` where the
/// machine trusts nobody in particular: an image's own authorities are enough then.
fn host_ca_bundle() -> Option<PathBuf> {
    let named = CA_VARIABLES
        .iter()
        .filter_map(std::env::var_os)
        .map(PathBuf::from)
        // That of the server's registry is for wrangler, and no bundle.
        .find(|path| path.is_file() && !certificate::is_own(path));
    named.or_else(|| {
        OWN_AUTHORITIES
            .iter()
            .any(|path| has_files(Path::new(path)))
            .then_some(())?;
        let bundles = CA_BUNDLES.iter().map(PathBuf::from);
        bundles.into_iter().find(|path| path.is_file())
    })
}

fn has_files(directory: &Path) -> bool {
    std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.path().is_file() || has_files(&entry.path()))
}
