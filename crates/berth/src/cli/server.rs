//! Which server a command talks to, and the commands that are about nothing else.

use clap::Args;

/// A server.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// Address of the server's API [default: CLOUDFLARE_API_BASE_URL, or the server of this machine]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Token of the server [default: CLOUDFLARE_API_TOKEN, or that of this machine's server]
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
}

/// `berth whoami`.
#[derive(Debug, Args)]
pub(crate) struct WhoamiArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
