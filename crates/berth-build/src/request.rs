//! What a build is asked for, and what it tells while it works.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What to build.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// The Dockerfile.
    pub dockerfile: PathBuf,
    /// The context directory.
    pub context: PathBuf,
    /// `--build-arg`.
    pub args: BTreeMap<String, String>,
    /// `--target`.
    pub target: Option<String>,
    /// Names to give the image.
    pub tags: Vec<String>,
    /// Ignore cached layers.
    pub no_cache: bool,
    /// PEM file with the certificate authorities that programs in `RUN` steps shall trust, for hosts
    /// behind a TLS-inspecting proxy. During the step it is at `/run/.berth/ca-bundle.pem`, and
    /// `SSL_CERT_FILE`, `NODE_EXTRA_CA_CERTS`, `CURL_CA_BUNDLE`, `REQUESTS_CA_BUNDLE`, `PIP_CERT`,
    /// `GIT_SSL_CAINFO`, `AWS_CA_BUNDLE`, `CARGO_HTTP_CAINFO`, `NPM_CONFIG_CAFILE` and `DENO_CERT`
    /// point there unless the image sets them. Neither ends up in the image.
    pub ca_bundle: Option<PathBuf>,
}

/// Progress of a build, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildEvent {
    /// A step begins: its number, how many there are, and the instruction's text.
    StepStarted {
        /// From 1.
        step: usize,
        /// Steps in all.
        total: usize,
        /// The instruction as written.
        text: String,
    },
    /// One line of output of a `RUN`.
    Output {
        /// Step it belongs to.
        step: usize,
        /// The line without its newline.
        line: String,
    },
    /// A step is done.
    StepFinished {
        /// From 1.
        step: usize,
        /// It came from the cache.
        cached: bool,
    },
}
