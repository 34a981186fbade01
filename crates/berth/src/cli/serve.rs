//! `berth serve` and what belongs to it.

use std::net::SocketAddr;

use clap::Args;

/// `berth serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address at which Workers answer; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Address at which the API answers; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    pub(crate) api: SocketAddr,
    /// Workers answer at `<name>.<DOMAIN>`
    #[arg(long, value_name = "DOMAIN", default_value = "localhost")]
    pub(crate) base_domain: String,
    /// Let the API be reached from other machines without TLS
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Print one JSON object when the server is ready instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// `berth env`.
#[derive(Debug, Args)]
pub(crate) struct EnvArgs {
    /// Print a JSON object instead of lines for a shell
    #[arg(long)]
    pub(crate) json: bool,
}
