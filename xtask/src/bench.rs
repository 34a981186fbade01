//! `cargo xtask bench`: what Berth claims about speed, measured against the bare program.

mod apps;
mod archive;
mod bare;
mod build;
mod burst;
mod checkpoint;
mod client;
mod cold;
mod cycles;
mod density;
mod deploy;
mod dev;
mod docker;
mod egress;
mod gateway;
mod http;
mod projects;
mod pull;
mod registry;
mod server;
mod sockets;
mod stats;
mod system;
mod table;
mod tools;
mod transfer;
mod tunnel;
mod unpack;
mod warm;

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// First request to a stopped container, against the same program executed bare
    Cold(ColdArgs),
    /// Many objects asked at the same moment, against the programs' CPU time
    Burst(BurstArgs),
    /// Start, answer, destroy: what grows
    Cycles(CyclesArgs),
    /// Requests per second through Worker, object and container, against the app alone and (with
    /// `--docker`) workerd with Docker and its sidecar
    Warm(WarmArgs),
    /// The tunnel into a container alone: latency and throughput
    Tunnel(TunnelArgs),
    /// Idle WebSockets
    Sockets(SocketsArgs),
    /// Idle containers: memory and processes
    Density(DensityArgs),
    /// The longer sleep: containers to disk and back by CRIU, and the memory that is free meanwhile.
    /// Unpacks CRIU for itself unless `BERTH_CRIU` names one
    Checkpoint(CheckpointArgs),
    /// Connections and names out of a container
    Egress(EgressArgs),
    /// Builds, against `docker build` (BuildKit) and `buildah`
    Build(BuildArgs),
    /// Push to and pull from `berth registry serve`, against Debian's `docker-registry`
    Registry(RegistryArgs),
    /// An image of 1 GB from and to Debian's `docker-registry`, by Berth, Docker, podman and skopeo.
    /// Installs their Debian packages, and runs them with data of their own
    Transfer(TransferArgs),
    /// A large image of which a program needs little: pulled from `berth registry serve`, unpacked and
    /// started, against an image that has nothing else, and against fetching alone
    Pull(PullArgs),
    /// An image archive of 1 GB, taken in by Berth, `docker load` and `podman load`
    Unpack(UnpackArgs),
    /// Requests through the server's gateway, against workerd alone
    Gateway(GatewayArgs),
    /// Deployments by `berth deploy` and by wrangler, which npm installs
    Deploy(DeployArgs),
    /// Idle Workers on a server: memory
    Apps(AppsArgs),
    /// One measurement in a process of its own
    #[command(hide = true)]
    Client {
        #[command(subcommand)]
        job: client::Job,
    },
    /// A server to measure against: GET /bytes/N, PUT /bytes/N
    #[command(hide = true)]
    Serve,
}

#[derive(Debug, Args)]
pub(crate) struct ColdArgs {
    /// Measured starts of each program
    #[arg(long, default_value_t = 30)]
    pub(crate) runs: usize,
    /// Objects asked at the same moment, after the single ones; 0 leaves this out
    #[arg(long, default_value_t = 20)]
    pub(crate) burst: usize,
    /// Programs: static, node, python
    #[arg(long, value_delimiter = ',', default_value = "static,node,python")]
    pub(crate) programs: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BurstArgs {
    /// Objects asked at the same moment
    #[arg(long, default_value_t = 100)]
    pub(crate) objects: usize,
    /// Programs: static, node, python
    #[arg(long, value_delimiter = ',', default_value = "static,node")]
    pub(crate) programs: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CyclesArgs {
    /// Measured cycles
    #[arg(long, default_value_t = 50)]
    pub(crate) cycles: usize,
}

#[derive(Debug, Args)]
pub(crate) struct WarmArgs {
    /// Seconds of each measurement
    #[arg(long, default_value_t = 4)]
    pub(crate) seconds: u64,
    /// Rounds, in turn; the best of each counts
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Programs: static, node, python
    #[arg(long, value_delimiter = ',', default_value = "static")]
    pub(crate) programs: Vec<String>,
    /// Also measure workerd with Docker and its sidecar. Installs the Debian packages docker.io and
    /// golang-github-miekg-dns-dev and a Go toolchain in a temporary directory, and runs a Docker
    /// daemon with private socket and data for as long as it measures
    #[arg(long)]
    pub(crate) docker: bool,
    /// A checkout of github.com/cloudflare/proxy-everything [default: cloned]
    #[arg(long, value_name = "DIR")]
    pub(crate) sidecar_source: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct TunnelArgs {
    /// Requests of each round
    #[arg(long, default_value_t = 5000)]
    pub(crate) requests: u32,
    /// Bytes of the body
    #[arg(long, default_value_t = 1 << 30)]
    pub(crate) bytes: u64,
}

#[derive(Debug, Args)]
pub(crate) struct SocketsArgs {
    /// WebSockets open at the same time
    #[arg(long, default_value_t = 1000)]
    pub(crate) sockets: usize,
}

#[derive(Debug, Args)]
pub(crate) struct DensityArgs {
    /// Containers running at the same time
    #[arg(long, default_value_t = 300)]
    pub(crate) containers: usize,
}

#[derive(Debug, Args)]
pub(crate) struct CheckpointArgs {
    /// Rounds of each program
    #[arg(long, default_value_t = 10)]
    pub(crate) rounds: usize,
    /// Programs: static, node, python
    #[arg(long, value_delimiter = ',', default_value = "static,node")]
    pub(crate) programs: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct EgressArgs {
    /// Bytes of the body
    #[arg(long, default_value_t = 1 << 30)]
    pub(crate) bytes: u64,
    /// Names asked in each round
    #[arg(long, default_value_t = 300)]
    pub(crate) queries: u32,
}

#[derive(Debug, Args)]
pub(crate) struct UnpackArgs {
    /// Bytes of the image's files
    #[arg(long, default_value_t = 1000)]
    pub(crate) megabytes: u64,
    /// Layers of the image
    #[arg(long, default_value_t = 4)]
    pub(crate) layers: u64,
    /// Measured rounds, in turn
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Only Berth. Otherwise the Debian packages docker.io and podman are installed, and run with
    /// data of their own
    #[arg(long)]
    pub(crate) alone: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Bytes of the image's files
    #[arg(long, default_value_t = 2000)]
    pub(crate) megabytes: u64,
    /// Those that the program reads
    #[arg(long, default_value_t = 50)]
    pub(crate) needed: u64,
    /// Layers
    #[arg(long, default_value_t = 4)]
    pub(crate) layers: u64,
    /// How layers are compressed
    #[arg(long, value_enum, default_value = "gzip")]
    pub(crate) packing: archive::Packing,
    /// Measured rounds, in turn
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Where everything is kept, six times the image [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// Measured builds of each tool, of those that find most in the cache
    #[arg(long, default_value_t = 7)]
    pub(crate) rounds: usize,
    /// Measured builds of each tool that begin with nothing
    #[arg(long, default_value_t = 3)]
    pub(crate) cold_rounds: usize,
    /// Size of the context
    #[arg(long, default_value_t = 200)]
    pub(crate) megabytes: u64,
    /// Only Berth. Otherwise the Debian packages docker.io and buildah are installed, and run with
    /// data of their own
    #[arg(long)]
    pub(crate) alone: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    /// Bytes of the image's files
    #[arg(long, default_value_t = 1000)]
    pub(crate) megabytes: u64,
    /// Layers of the image
    #[arg(long, default_value_t = 4)]
    pub(crate) layers: u64,
    /// Measured rounds, in turn
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
}

#[derive(Debug, Args)]
pub(crate) struct RegistryArgs {
    /// Bytes of the large blob
    #[arg(long, default_value_t = 1_000_000_000)]
    pub(crate) bytes: u64,
    /// Small blobs
    #[arg(long, default_value_t = 1000)]
    pub(crate) blobs: usize,
    /// Rounds, in turn; the best of each counts
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Where both keep their data [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct GatewayArgs {
    /// Seconds of each measurement
    #[arg(long, default_value_t = 4)]
    pub(crate) seconds: u64,
    /// Rounds, in turn; the best of each counts
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
}

#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// Measured deployments of each kind
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
}

#[derive(Debug, Args)]
pub(crate) struct AppsArgs {
    /// Workers
    #[arg(long, default_value_t = 50)]
    pub(crate) apps: usize,
}

pub(crate) fn run(bench: &Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Cold(args) => cold::run(args),
        Bench::Burst(args) => burst::run(args),
        Bench::Cycles(args) => cycles::run(args),
        Bench::Warm(args) => warm::run(args),
        Bench::Tunnel(args) => tunnel::run(args),
        Bench::Sockets(args) => sockets::run(args),
        Bench::Density(args) => density::run(args),
        Bench::Checkpoint(args) => checkpoint::run(args),
        Bench::Egress(args) => egress::run(args),
        Bench::Build(args) => build::run(args),
        Bench::Transfer(args) => transfer::run(args),
        Bench::Registry(args) => registry::run(args),
        Bench::Pull(args) => pull::run(args),
        Bench::Unpack(args) => unpack::run(args),
        Bench::Gateway(args) => gateway::run(args),
        Bench::Deploy(args) => deploy::run(args),
        Bench::Apps(args) => apps::run(args),
        Bench::Client { job } => client::run(job),
        Bench::Serve => egress::serve(),
    }
}
