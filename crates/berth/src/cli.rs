//! The command line: what can be typed, and nothing of what it does.

mod admin;
mod containers;
mod data;
mod deploy;
mod images;
mod r2;
mod registry;
mod serve;
mod server;
mod stores;
mod transfer;

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use admin::*;
pub(crate) use containers::*;
pub(crate) use data::*;
pub(crate) use deploy::*;
pub(crate) use images::*;
pub(crate) use r2::*;
pub(crate) use registry::*;
pub(crate) use serve::*;
pub(crate) use server::*;
pub(crate) use stores::*;
pub(crate) use transfer::*;

/// Workers + Containers applications on your own machines.
#[derive(Debug, Parser)]
#[command(
    name = "berth",
    version,
    propagate_version = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct GlobalArgs {
    /// Directory for images, layers and running sessions
    #[arg(long, global = true, env = "BERTH_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Directory for downloaded tools
    #[arg(long, global = true, env = "BERTH_CACHE_DIR", value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Show what Berth itself does (repeat for more); `BERTH_LOG` takes a filter
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a project on this machine and reload it while you work on it
    Dev(Box<DevArgs>),
    /// Run deployed Workers, with the API that wrangler deploys to
    Serve(ServeArgs),
    /// Deploy a project to a server
    Deploy(Box<DeployArgs>),
    /// Delete a Worker with everything that it keeps
    Delete(DeleteArgs),
    /// Versions of a Worker
    #[command(subcommand)]
    Versions(VersionsCommand),
    /// Which versions are and were live
    #[command(subcommand)]
    Deployments(DeploymentsCommand),
    /// Go back to an earlier version
    Rollback(RollbackArgs),
    /// Secrets of a Worker
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Tokens of a server's API
    #[command(subcommand)]
    Token(TokenCommand),
    /// Show how a server does; fails if something is wrong
    Status(StatusArgs),
    /// Show what Workers and their containers have used, and what it costs
    Usage(UsageArgs),
    /// Write what a server keeps into a file, while it runs or not
    Backup(BackupArgs),
    /// Make a data directory of a backup
    Restore(RestoreArgs),
    /// Print the variables with which wrangler finds this machine's server
    Env(EnvArgs),
    /// Show which server is meant, and who you are there
    Whoami(WhoamiArgs),
    /// Serve the Docker API, so that `wrangler dev` runs its containers on Berth
    Engine(EngineArgs),
    /// The part of the `docker` command that wrangler uses, over `berth engine`
    Docker(DockerArgs),
    /// List the containers of a running session
    Ps(PsArgs),
    /// Print what a container wrote
    Logs(LogsArgs),
    /// Show where the time of a container's last cold start went
    Trace(TraceArgs),
    /// Run a command in a running container
    Exec(ExecArgs),
    /// Open a shell in a running container
    Ssh(SshArgs),
    /// Container images on this machine
    #[command(subcommand)]
    Images(ImagesCommand),
    /// Build and push container images; credentials of registries
    #[command(subcommand)]
    Containers(ContainersCommand),
    /// KV namespaces of a server, and what is in them
    #[command(subcommand)]
    Kv(KvCommand),
    /// D1 databases of a server, and what is in them
    #[command(subcommand)]
    D1(D1Command),
    /// R2 buckets of a server, and what is in them
    #[command(subcommand)]
    R2(R2Command),
    /// Queues of a server
    #[command(subcommand)]
    Queues(QueuesCommand),
    /// Secrets of a server that several Workers share
    #[command(subcommand)]
    SecretsStore(SecretsStoreCommand),
    /// Workflows of a server
    #[command(subcommand)]
    Workflows(WorkflowsCommand),
    /// A registry for container images
    #[command(subcommand)]
    Registry(RegistryCommand),
}

/// `berth dev`.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// The project's directory
    #[arg(default_value = ".")]
    pub(crate) project: PathBuf,
    /// Configuration file, if it is not `wrangler.jsonc`, `.json` or `.toml` in the project
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Environment (`env.<NAME>` of the configuration)
    #[arg(short, long, value_name = "NAME")]
    pub(crate) env: Option<String>,
    /// Port to listen on; 0 takes a free one [default: the configuration's, or 8787]
    #[arg(short, long)]
    pub(crate) port: Option<u16>,
    /// Address to listen on [default: the configuration's, or localhost]
    #[arg(long)]
    pub(crate) ip: Option<IpAddr>,
    /// A variable for the Worker, over those of the configuration; may be repeated
    #[arg(long = "var", value_name = "NAME:VALUE", value_parser = parse_var)]
    pub(crate) vars: Vec<(String, String)>,
    /// Directory for the state of Durable Objects, KV, D1 and queues [default: .berth/state]
    #[arg(long, value_name = "DIR")]
    pub(crate) persist_to: Option<PathBuf>,
    /// Seconds that a container may take to end after SIGTERM; then it is killed
    #[arg(
        long,
        env = "BERTH_STOP_GRACE",
        value_name = "SECONDS",
        default_value_t = 900
    )]
    pub(crate) stop_grace: u32,
    /// Containers that may start per second, with a burst of three seconds; more are refused as
    /// Cloudflare refuses them [default: any number]
    #[arg(long, env = "BERTH_START_RATE", value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) start_rate: Option<u32>,
    /// Do not build or start containers
    #[arg(long)]
    pub(crate) no_containers: bool,
    /// Build images without the layer cache
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Print one JSON object per line instead of text
    #[arg(long)]
    pub(crate) json: bool,
    /// Print workerd's configuration and leave
    #[arg(long)]
    pub(crate) print_config: bool,
    #[command(flatten)]
    pub(crate) store_limit: StoreLimitArgs,
}

/// `berth engine`.
#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    /// Where to serve the Docker API [default: engine.sock in the data directory]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Print one JSON object per line instead of text
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) store_limit: StoreLimitArgs,
}

/// `berth docker`: what follows is the `docker` command line.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub(crate) struct DockerArgs {
    /// As of `docker`; `--help` lists what is understood
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    pub(crate) arguments: Vec<OsString>,
}

/// Which session a command looks into.
#[derive(Debug, Args)]
pub(crate) struct SessionArgs {
    /// The project whose session is meant [default: the current directory's, or the only one]
    #[arg(long, value_name = "DIR")]
    pub(crate) project: Option<PathBuf>,
}

/// `berth ps`.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Also show containers that do not run
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Print a JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

/// `berth logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Instance as `berth ps` shows it, or its id or name [default: everything that a server has]
    pub(crate) instance: Option<String>,
    /// Keep printing: until the container is gone, or what a server is told
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "LINES")]
    pub(crate) tail: Option<usize>,
    /// Print the time of each line
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    #[command(flatten)]
    pub(crate) filter: LogFilter,
}

/// Which lines of a server.
#[derive(Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "What a server has kept")]
pub(crate) struct LogFilter {
    /// Only of this Worker and its containers
    #[arg(long, value_name = "NAME")]
    pub(crate) app: Option<String>,
    /// Only this level and more urgent ones: debug, log, info, warn, error
    #[arg(long)]
    pub(crate) level: Option<String>,
    /// Only from these: worker, container, invocation, event, system
    #[arg(long, value_name = "SOURCE,...")]
    pub(crate) source: Option<String>,
    /// Only of this version
    #[arg(long, value_name = "ID")]
    pub(crate) of_version: Option<String>,
    /// Only of this request
    #[arg(long, value_name = "ID")]
    pub(crate) invocation: Option<String>,
    /// Only with this text
    #[arg(long, value_name = "TEXT")]
    pub(crate) grep: Option<String>,
    /// Not before this time, or how long ago (10m, 3h, 2d)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Before this time, or how long ago
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Print a JSON object for each
    #[arg(long)]
    pub(crate) json: bool,
}

/// `berth trace`.
#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    /// Instance as `berth ps` shows it, or its id or name
    pub(crate) instance: String,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `berth exec`.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// User or uid, with `:group` if wanted
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Environment variable; may be repeated
    #[arg(short, long = "env", value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Give the command no terminal even if this is one
    #[arg(short = 'T', long)]
    pub(crate) no_tty: bool,
    /// Instance as `berth ps` shows it, or its id or name
    pub(crate) instance: String,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

/// `berth ssh`.
#[derive(Debug, Args)]
pub(crate) struct SshArgs {
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// User or uid, with `:group` if wanted
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// Instance as `berth ps` shows it, or its id or name
    pub(crate) instance: String,
    /// A command for the shell, instead of typing
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

fn parse_var(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME:VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_var_keeps_everything_after_the_first_colon() {
        assert_eq!(
            parse_var("URL:http://x:1"),
            Ok(("URL".into(), "http://x:1".into()))
        );
        assert!(parse_var(":x").is_err());
        assert!(parse_var("x").is_err());
    }
}
