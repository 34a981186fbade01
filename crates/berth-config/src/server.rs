//! `berth.toml`: the settings of `berth serve`, read once at its start.
//!
//! Every key is in `docs/configuration.md`. Unlike wrangler's file this one is ours alone, so an unknown key
//! is a mistake, not something to ignore. A key that is not there has the default that
//! [`ServerConfig::default`] says; the command line wins over the file.

mod decode;
mod exports;
mod limits;
mod listen;
mod units;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

pub use listen::is_host_name;

use crate::ConfigErrors;
use crate::decode::{Cx, InstanceTypes};
use crate::parse::{Format, parse};
use crate::source::Source;

/// Name of the file, in `/etc/berth` or in the data directory.
pub const SERVER_CONFIG_NAME: &str = "berth.toml";

/// Everything that `berth serve` can be told.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// `data_dir`; `None`: the command line's, or `/var/lib/berth`.
    pub data_dir: Option<PathBuf>,
    /// `base_domain`: Workers answer at `<name>.<base_domain>`. Lower-case.
    pub base_domain: String,
    /// `location`: where this machine is, as instances show it.
    pub location: String,
    /// `[listen]`
    pub listen: ListenConfig,
    /// `[tls]`
    pub tls: TlsConfig,
    /// `[acme]`; `None`: certificates come from files only.
    pub acme: Option<AcmeConfig>,
    /// `[gateway]`
    pub gateway: GatewayConfig,
    /// `[deploy]`
    pub deploy: DeployConfig,
    /// `[workers]`
    pub workers: WorkersConfig,
    /// `[containers]`
    pub containers: ContainersConfig,
    /// `[limits]`
    pub limits: LimitsConfig,
    /// `[r2]`; `None`: bytes of objects are in the data directory.
    pub r2: Option<R2Config>,
    /// `[versions]`
    pub versions: VersionsConfig,
    /// `[logs]`
    pub logs: LogsConfig,
    /// `[images]`
    pub images: ImagesConfig,
    /// `[instance_types]`: the built-in ones, and those that the file adds or changes.
    pub instance_types: InstanceTypes,
    /// `[prices]`
    pub prices: PricesConfig,
}

/// `[listen]`: addresses. Port 0 takes a free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenConfig {
    /// `http`: where Workers answer.
    pub http: Vec<SocketAddr>,
    /// `https`: the same with TLS; needs `[tls]` or `[acme]`.
    pub https: Vec<SocketAddr>,
    /// `api`: where wrangler and `berth` ask.
    pub api: SocketAddr,
    /// `registry`: where images are pushed.
    pub registry: SocketAddr,
    /// `s3`: R2 for S3 clients; `None`: not offered.
    pub s3: Option<SocketAddr>,
    /// `metrics`: figures for Prometheus; `None`: not offered.
    pub metrics: Option<SocketAddr>,
    /// `insecure`: API, registry, S3 and metrics may be reached from other machines without TLS.
    pub insecure: bool,
}

/// `[tls]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// `[[tls.certificates]]`: which is used is decided by the name that a client asks for; the first is for
    /// clients that name none.
    pub certificates: Vec<CertificateFiles>,
    /// `redirect`: plain HTTP is answered with the address of the same page with TLS.
    pub redirect: bool,
}

/// One of `[[tls.certificates]]`: PEM files, read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// `certificate`: the chain, the server's own first.
    pub certificate: PathBuf,
    /// `key`: its private key.
    pub key: PathBuf,
}

/// `[acme]`: certificates from an authority such as Let's Encrypt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeConfig {
    /// `directory`: the authority's address.
    pub directory: String,
    /// `email`: whom it may write to.
    pub email: Option<String>,
    /// `domains`: names besides those of the Workers, their custom domains and routes.
    pub domains: Vec<String>,
    /// `ca`: PEM file with the root that the authority's own address is checked with, for one of one's own.
    pub ca: Option<PathBuf>,
    /// `renew_before`: a certificate is renewed when less than this is left of it; `None`: a third of its time.
    pub renew_before: Option<Duration>,
    /// `terms_accepted`: must be `true`.
    pub terms_accepted: bool,
}

/// `[gateway]`: what clients may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayConfig {
    /// `max_header_size`: bytes of a request's head.
    pub max_header_size: u64,
    /// `max_headers`: header lines of a request.
    pub max_headers: u32,
    /// `max_body_size`: bytes of a request's body; `None`: any number.
    pub max_body_size: Option<u64>,
    /// `max_connections`: of clients at the same time, WebSockets included; one more is closed.
    pub max_connections: u32,
    /// `header_timeout`: a request's head must be there after this long.
    pub header_timeout: Duration,
    /// `body_timeout`: a request's body may pause this long.
    pub body_timeout: Duration,
    /// `idle_timeout`: a connection without a request is closed after this long.
    pub idle_timeout: Duration,
    /// `hold`: requests wait this long for a Worker that starts.
    pub hold: Duration,
    /// `drain`: at the end of the server, requests in flight may take this long.
    pub drain: Duration,
    /// `trusted_proxies`: whose word about the client is taken.
    pub trusted_proxies: Vec<IpNet>,
}

/// `[deploy]`: how a new version takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeployConfig {
    /// `drain`: requests of the former version may take this long.
    pub drain: Duration,
    /// `stop_grace`: containers may take this long to end after SIGTERM.
    pub stop_grace: Duration,
}

/// `[workers]`: what every Worker may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkersConfig {
    /// `loopback`: reach what listens on this machine's loopback addresses, and so may containers whose requests
    /// it passes on.
    pub loopback: bool,
}

/// `[containers]`: what every container may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainersConfig {
    /// `fuse`: mount file systems in user space: `/dev/fuse`, and CAP_SYS_ADMIN over its own mounts.
    pub fuse: bool,
    /// `keep_on_stop`: SIGTERM ends the server alone, and its containers run on for the next one.
    pub keep_on_stop: bool,
    /// `keep_for`: containers whose server is gone run on this long, then they end. Whole seconds.
    pub keep_for: Duration,
}

impl Default for ContainersConfig {
    fn default() -> Self {
        Self {
            fuse: false,
            keep_on_stop: false,
            keep_for: Duration::from_secs(10 * 60),
        }
    }
}

/// `[limits]`: of all containers together. `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LimitsConfig {
    /// `vcpu`
    pub vcpu: Option<f64>,
    /// `memory`, in bytes.
    pub memory: Option<u64>,
    /// `disk`, in bytes.
    pub disk: Option<u64>,
}

/// `[r2]`: a bucket that speaks S3, for the bytes of R2's objects. Its keys come from the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct R2Config {
    /// `bucket`: its name.
    pub bucket: String,
    /// `prefix`: what names of its objects begin with.
    pub prefix: String,
    /// `endpoint`: where it is; `None`: Amazon.
    pub endpoint: Option<String>,
}

/// `[versions]`: what is kept of each Worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionsConfig {
    /// `keep`: this many.
    pub keep: u32,
    /// `max_age`: none that is older; `None`: any age. What is live is kept.
    pub max_age: Option<Duration>,
}

/// `[logs]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogsConfig {
    /// `retention`: lines are kept this long.
    pub retention: Duration,
    /// `max_size`: bytes of all of them; the oldest go first.
    pub max_size: u64,
    /// `export`: where they go, too.
    pub export: Vec<LogExport>,
}

/// One of `logs.export`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogExport {
    /// `{ file, max_size, keep }`
    File {
        /// `file`: JSON lines.
        path: PathBuf,
        /// `max_size`: bytes from which on a new one is begun.
        max_bytes: u64,
        /// `keep`: former ones.
        keep: u32,
    },
    /// `{ url, authorization_file }`
    Http {
        /// `url`: takes JSON lines by POST.
        url: String,
        /// `authorization_file`: what the `Authorization` header says.
        authorization_file: Option<PathBuf>,
    },
    /// `{ bucket, prefix, endpoint, every }`
    Bucket {
        /// `bucket`: its name.
        name: String,
        /// `prefix`: what the objects' names begin with.
        prefix: String,
        /// `endpoint`: where it is; `None`: Amazon.
        endpoint: Option<String>,
        /// `every`: what is said in this time becomes one object.
        every: Duration,
    },
}

/// `[images]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImagesConfig {
    /// `max_size`: bytes of the image store from which on what is not used goes; `None`: any number.
    pub max_size: Option<u64>,
}

/// `[prices]`: what usage costs, for metering. Nothing is charged here.
#[derive(Clone, Debug, PartialEq)]
pub struct PricesConfig {
    /// `currency`: how amounts are named.
    pub currency: String,
    /// `vcpu_second`
    pub vcpu_second: f64,
    /// `memory_gib_second`
    pub memory_gib_second: f64,
    /// `disk_gb_second`
    pub disk_gb_second: f64,
    /// `egress_gb`
    pub egress_gb: f64,
    /// `million_requests`
    pub million_requests: f64,
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            data_dir: None,
            base_domain: "localhost".to_owned(),
            location: "local".to_owned(),
            listen: ListenConfig::default(),
            tls: TlsConfig::default(),
            acme: None,
            gateway: GatewayConfig::default(),
            deploy: DeployConfig {
                drain: seconds(10),
                stop_grace: seconds(15 * 60),
            },
            workers: WorkersConfig::default(),
            containers: ContainersConfig::default(),
            limits: LimitsConfig::default(),
            r2: None,
            versions: VersionsConfig {
                keep: 100,
                max_age: None,
            },
            logs: LogsConfig {
                retention: seconds(7 * 24 * 3600),
                max_size: 10 << 30,
                export: Vec::new(),
            },
            images: ImagesConfig::default(),
            instance_types: InstanceTypes::default(),
            prices: PricesConfig::default(),
        }
    }
}

impl Default for ListenConfig {
    fn default() -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            http: vec![local(8080)],
            https: Vec::new(),
            api: local(8081),
            registry: local(8082),
            s3: None,
            metrics: None,
            insecure: false,
        }
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            // As on Cloudflare: 128 KB of headers in all, 100 MB of body and more on larger plans.
            max_header_size: 128 << 10,
            max_headers: 256,
            max_connections: 10_000,
            max_body_size: Some(500_000_000),
            header_timeout: seconds(30),
            body_timeout: seconds(60),
            idle_timeout: seconds(120),
            hold: seconds(30),
            drain: seconds(10),
            trusted_proxies: Vec::new(),
        }
    }
}

impl Default for PricesConfig {
    /// Cloudflare's prices of containers beyond what a plan includes (its pricing page of 2026), and of
    /// Workers' requests.
    fn default() -> Self {
        Self {
            currency: "USD".to_owned(),
            vcpu_second: 0.000_020,
            memory_gib_second: 0.000_002_5,
            disk_gb_second: 0.000_000_07,
            egress_gb: 0.025,
            million_requests: 0.30,
        }
    }
}

impl ServerConfig {
    /// Whether there is something that TLS can be spoken with.
    pub fn has_certificates(&self) -> bool {
        !self.tls.certificates.is_empty() || self.acme.is_some()
    }

    /// Reads a file; paths in it are relative to its directory.
    ///
    /// # Errors
    /// Every mistake in it, each with its place.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let source = Source::read(&path).map_err(|error| ConfigErrors::from(*error))?;
        Self::of(&source)
    }

    fn of(source: &Source) -> Result<Self, ConfigErrors> {
        let parsed = parse(source, Format::Toml).map_err(|error| ConfigErrors::from(*error))?;
        let cx = Cx::new(source, Format::Toml);
        let config = decode::decode(&cx, &parsed.root);
        let (errors, warnings) = cx.finish();
        if errors.is_empty() {
            Ok(config)
        } else {
            Err(ConfigErrors { errors, warnings })
        }
    }
}
