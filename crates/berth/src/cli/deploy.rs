//! Deploying: `berth deploy` and the commands about what is deployed, with wrangler's names and flags.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{ProjectArgs, ServerArgs, parse_var};

/// Which Worker a command is about: that of a project, or one that is named.
#[derive(Clone, Debug, Args)]
pub(crate) struct WorkerArgs {
    /// Name of the Worker [default: the configuration's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// How a change of containers is rolled out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ContainersRollout {
    /// As the configuration says, in steps.
    #[default]
    Gradual,
    /// All instances at once.
    Immediate,
    /// Containers stay as they are; nothing is built.
    None,
}

/// What is built and sent of a project.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// The project's directory
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) project: PathBuf,
    /// Name of the Worker [default: the configuration's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Configuration file, if it is not `wrangler.jsonc`, `.json` or `.toml` in the project
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Environment (`env.<NAME>` of the configuration)
    #[arg(short, long, value_name = "NAME")]
    pub(crate) env: Option<String>,
    /// A message that goes with the version
    #[arg(long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// A tag that goes with the version
    #[arg(long, value_name = "TEXT")]
    pub(crate) tag: Option<String>,
    /// A variable for the Worker, over those of the configuration; may be repeated
    #[arg(long = "var", value_name = "NAME:VALUE", value_parser = parse_var)]
    pub(crate) vars: Vec<(String, String)>,
    /// Keep variables that the configuration does not have
    #[arg(long)]
    pub(crate) keep_vars: bool,
    /// Minify the Worker
    #[arg(long)]
    pub(crate) minify: bool,
    /// Take the Worker's entry point as it is
    #[arg(long)]
    pub(crate) no_bundle: bool,
    /// Leave the bundled modules in this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) outdir: Option<PathBuf>,
    /// Build and check everything, send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// `berth deploy`.
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// How containers with another image or size are replaced
    #[arg(long, value_enum, value_name = "HOW", default_value = "gradual")]
    pub(crate) containers_rollout: ContainersRollout,
    /// Build images without the layer cache
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Upload a version even if nothing has changed
    #[arg(long)]
    pub(crate) force: bool,
    /// Wait until rollouts of containers have ended
    #[arg(long)]
    pub(crate) wait: bool,
}

/// `berth delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Name of the Worker [default: the configuration's]
    #[arg(value_name = "NAME")]
    pub(crate) script: Option<String>,
    #[command(flatten)]
    pub(crate) worker: WorkerArgs,
    /// Do not ask
    #[arg(long)]
    pub(crate) force: bool,
    /// Say what would be deleted
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `berth versions`.
#[derive(Debug, Subcommand)]
pub(crate) enum VersionsCommand {
    /// Upload a version that is not live
    Upload(Box<SourceArgs>),
    /// List the versions of a Worker
    List {
        #[command(flatten)]
        worker: WorkerArgs,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show a version
    View {
        /// Its id, or the start of it
        #[arg(id = "wanted", value_name = "VERSION")]
        version: String,
        #[command(flatten)]
        worker: WorkerArgs,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Make a version live
    Deploy {
        /// Its id or the start of it; wrangler's `<id>@100%` is understood
        #[arg(id = "wanted", value_name = "VERSION")]
        version: String,
        /// A message that goes with the deployment
        #[arg(long, value_name = "TEXT")]
        message: Option<String>,
        #[command(flatten)]
        worker: WorkerArgs,
        /// Accepted: nothing is asked
        #[arg(short, long, hide = true)]
        yes: bool,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
}

/// `berth deployments`.
#[derive(Debug, Subcommand)]
pub(crate) enum DeploymentsCommand {
    /// List which versions were live
    List {
        #[command(flatten)]
        worker: WorkerArgs,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show which version is live
    Status {
        #[command(flatten)]
        worker: WorkerArgs,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
}

/// `berth rollback`.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// Id of a version, or the start of it [default: the one that was live before]
    #[arg(id = "wanted", value_name = "VERSION")]
    pub(crate) version: Option<String>,
    /// A message that goes with the deployment
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    #[command(flatten)]
    pub(crate) worker: WorkerArgs,
    /// Do not ask, also if secrets have been changed since
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `berth secret`.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Set a secret; its value is read from standard input
    Put {
        /// Its name in `env`
        #[arg(value_name = "KEY")]
        key: String,
        #[command(flatten)]
        worker: WorkerArgs,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// List the names of secrets
    List {
        #[command(flatten)]
        worker: WorkerArgs,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Delete a secret
    Delete {
        /// Its name in `env`
        #[arg(value_name = "KEY")]
        key: String,
        #[command(flatten)]
        worker: WorkerArgs,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Set many secrets from a JSON object or lines `KEY=VALUE`; `null` deletes one
    Bulk {
        /// The file [default: standard input]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        worker: WorkerArgs,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
}
