//! `berth serve` and what belongs to it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// `berth serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Settings; what is given here wins over them [default: /etc/berth/berth.toml, or berth.toml in the
    /// data directory, if there is one]
    #[arg(long, env = "BERTH_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address at which Workers answer; port 0 takes a free one; may be repeated [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Address at which the API answers; port 0 takes a free one [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) api: Option<SocketAddr>,
    /// Address at which the registry answers to which wrangler pushes images; port 0 takes a free one
    /// [default: 127.0.0.1:8082]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) registry: Option<SocketAddr>,
    /// Address at which S3 clients are answered; port 0 takes a free one [default: none]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) s3: Option<SocketAddr>,
    /// Workers answer at `<name>.<DOMAIN>` [default: localhost]
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) base_domain: Option<String>,
    #[command(flatten)]
    pub(crate) store_limit: super::StoreLimitArgs,
    /// Let API and registry be reached from other machines without TLS
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Read the settings, say what is wrong with them, and leave
    #[arg(long)]
    pub(crate) check: bool,
    /// Print one JSON object when the server is ready instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// `berth env`.
#[derive(Debug, Args)]
pub(crate) struct EnvArgs {
    /// Address of the API of a server on another machine [default: the server of this machine]
    #[arg(long, value_name = "URL", requires = "token")]
    pub(crate) server: Option<String>,
    /// Token of that server
    #[arg(
        long,
        env = "CLOUDFLARE_API_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: Option<String>,
    /// Print a JSON object instead of lines for a shell
    #[arg(long)]
    pub(crate) json: bool,
}
