//! What a build is asked for, what it needs of its host, and what it tells while it works.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;

use berth_jail::Zygote;

use crate::Bounds;

/// What to build.
#[derive(Clone, Debug, Default)]
pub struct BuildRequest {
    /// The Dockerfile.
    pub dockerfile: PathBuf,
    /// The context directory.
    pub context: PathBuf,
    /// `--build-arg`. `SOURCE_DATE_EPOCH` is among them, or not, whatever the environment says: a number
    /// of seconds, `context` (which a directory does not answer), or a stage with one remote `ADD`.
    pub args: BTreeMap<String, String>,
    /// `--target`.
    pub target: Option<String>,
    /// `--platform`: refused unless it is this machine's.
    pub platform: Option<String>,
    /// Names to give the image.
    pub tags: Vec<String>,
    /// `--label`: over those of the Dockerfile.
    pub labels: BTreeMap<String, String>,
    /// Ignore cached layers.
    pub no_cache: bool,
    /// `--secret`, by id.
    pub secrets: BTreeMap<String, Secret>,
    /// `--ssh`: by id, the agent's socket, or files of keys, which an agent of the build's own serves
    /// then (OpenSSH's `ssh-agent` and `ssh-add`).
    pub ssh: BTreeMap<String, Vec<PathBuf>>,
    /// `--network=none`: no step has a network, whatever its `RUN` says.
    pub offline: bool,
    /// `--add-host`: lines for `/etc/hosts` during `RUN`, as (name, address).
    pub hosts: Vec<(String, String)>,
    /// Settings of proxies (`HTTP_PROXY`, …) that `RUN` steps get unless [`BuildRequest::args`] says
    /// otherwise. Part of neither the image nor the cache's keys.
    pub proxies: BTreeMap<String, String>,
    /// PEM file with the certificate authorities that programs in `RUN` steps shall trust, for hosts
    /// behind a TLS-inspecting proxy. During the step it is at `/run/.berth/ca-bundle.pem`, and
    /// `SSL_CERT_FILE`, `NODE_EXTRA_CA_CERTS`, `CURL_CA_BUNDLE`, `REQUESTS_CA_BUNDLE`, `PIP_CERT`,
    /// `GIT_SSL_CAINFO`, `AWS_CA_BUNDLE`, `CARGO_HTTP_CAINFO`, `NPM_CONFIG_CAFILE` and `DENO_CERT`
    /// point there unless the image sets them. Neither ends up in the image.
    pub ca_bundle: Option<PathBuf>,
    /// How much of the machine its steps may take.
    pub bounds: Bounds,
}

/// The content of a `--secret`.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A file, read when a step wants it.
    File(PathBuf),
    /// The content itself.
    Value(Vec<u8>),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Value(_) => f.write_str("Value(…)"),
        }
    }
}

/// A future of a [`BuildHost`].
pub type HostFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, HostError>> + Send + 'a>>;

/// What a build asks its host for, and only when it needs it: a build that finds every step in the
/// cache starts no zygote.
pub trait BuildHost: Send + Sync {
    /// The helper that makes the sandboxes of `RUN` steps. Asked for before each of them; the same
    /// one every time.
    fn zygote(&self) -> HostFuture<'_, Zygote>;

    /// Brings an image that the Dockerfile names into the store, under that name; tells what it is
    /// doing line by line. Several may be asked for at once.
    fn provide<'a>(
        &'a self,
        reference: &'a str,
        progress: &'a (dyn Fn(String) + Send + Sync),
    ) -> HostFuture<'a, ()>;
}

/// Why the host could not give what a build asked for.
#[derive(Debug)]
pub struct HostError {
    /// What is wrong, without its causes.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The cause.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for HostError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Progress of a build. Steps of different stages overlap; what is told of one step is in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildEvent {
    /// Something in the Dockerfile is probably not meant. All warnings come before the first step.
    Warning {
        /// Name of the rule among BuildKit's checks, if it is one of them.
        rule: Option<&'static str>,
        /// What is wrong, as a sentence without its full stop.
        message: String,
        /// Line of the Dockerfile, from 1; `None`: none is to blame.
        line: Option<usize>,
    },
    /// A step begins.
    Started {
        /// Its number: from 1, in the order in which steps begin.
        step: usize,
        /// As BuildKit shows it: `[build 2/4] RUN make`, `[internal] load metadata for …`.
        name: String,
    },
    /// One line of output.
    Output {
        /// Step it belongs to.
        step: usize,
        /// The line without its newline.
        line: String,
    },
    /// A step is over.
    Finished {
        /// Its number.
        step: usize,
        /// How it ended.
        outcome: Outcome,
    },
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out.
    Done,
    /// What it makes was known.
    Cached,
    /// It failed; the build's error says more.
    Failed(String),
    /// Another one failed, or nobody wants the build any more.
    Canceled,
}
