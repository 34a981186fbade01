//! The `docker` command line, as far as it is understood.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::build::flags::BuildFlags;

/// The part of the docker command that wrangler and its like use.
#[derive(Debug, Parser)]
#[command(
    name = "docker",
    version,
    about = "The part of the docker command that wrangler uses, served by `berth engine`",
    max_term_width = 100
)]
pub(super) struct DockerCli {
    /// Socket to talk to, `unix://<path>` [default: `DOCKER_HOST`, or `berth engine`'s]
    #[arg(short = 'H', long, global = true, value_name = "SOCKET")]
    pub(super) host: Option<String>,
    /// Accepted and ignored: there are no contexts to choose from
    #[arg(short, long, global = true, hide = true)]
    pub(super) context: Option<String>,
    /// Directory of Docker's `config.json` [default: `DOCKER_CONFIG`, or ~/.docker]
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) command: DockerCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum DockerCommand {
    #[command(flatten)]
    Engine(EngineCommand),
    #[command(flatten)]
    Registry(RegistryCommand),
}

/// What needs no engine.
#[derive(Debug, Subcommand)]
pub(super) enum RegistryCommand {
    /// Keep credentials for a registry
    Login(LoginArgs),
    /// Forget the credentials for a registry
    Logout(LogoutArgs),
    /// Look at manifests in a registry
    #[command(subcommand)]
    Manifest(ManifestCommand),
}

/// What the engine is asked, or its store.
#[derive(Debug, Subcommand)]
pub(super) enum EngineCommand {
    /// Describe the engine
    Info(FormatArgs),
    /// Print the versions of this command and of the engine
    Version(FormatArgs),
    /// Build an image from a Dockerfile
    Build(Box<BuildArgs>),
    /// `buildx build` is `build`
    #[command(subcommand)]
    Buildx(BuildxCommand),
    /// Manage the build cache
    #[command(subcommand)]
    Builder(BuilderCommand),
    /// Manage images
    #[command(subcommand)]
    Image(ImageCommand),
    /// List images
    Images(ImagesArgs),
    /// Describe containers or images
    Inspect(InspectArgs),
    /// Bring in an image from its registry
    Pull(PullArgs),
    /// Send an image to its registry
    Push(PushArgs),
    /// Give an image another name
    Tag(TagArgs),
    /// Remove names of images
    Rmi(RmiArgs),
    /// List containers
    Ps(PsArgs),
    /// Manage containers
    #[command(subcommand)]
    Container(ContainerCommand),
    /// Remove containers
    Rm(RmArgs),
    /// Stop containers
    Stop(StopArgs),
    /// Send a signal to containers
    Kill(KillArgs),
    /// Print what a container wrote
    Logs(LogsArgs),
    /// Run a command in a running container
    Exec(ExecArgs),
    /// Make and start a container
    Run(RunArgs),
    /// Bring in images from a `docker save` tar
    Load(LoadArgs),
    /// List contexts
    #[command(subcommand)]
    Context(ContextCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum BuildxCommand {
    /// Build an image from a Dockerfile
    Build(Box<BuildArgs>),
    /// Remove the build cache
    Prune(PruneArgs),
}

#[derive(Debug, Subcommand)]
pub(super) enum BuilderCommand {
    /// Remove the build cache
    Prune(PruneArgs),
}

#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// Accepted: everything that no build uses goes anyway
    #[arg(short, long)]
    pub(super) all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(super) force: bool,
    /// `until=24h`: only what was not used for that long
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) filter: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ImageCommand {
    /// Describe images
    Inspect(InspectArgs),
    /// List images
    #[command(visible_alias = "list")]
    Ls(ImagesArgs),
    /// Bring in an image from its registry
    Pull(PullArgs),
    /// Send an image to its registry
    Push(PushArgs),
    /// Give an image another name
    Tag(TagArgs),
    /// Remove names of images
    #[command(visible_alias = "remove")]
    Rm(RmiArgs),
    /// Build an image from a Dockerfile
    Build(Box<BuildArgs>),
    /// Bring in images from a `docker save` tar
    Load(LoadArgs),
}

#[derive(Debug, Subcommand)]
pub(super) enum ContainerCommand {
    /// List containers
    #[command(visible_alias = "list")]
    Ls(PsArgs),
    /// Remove containers
    Rm(RmArgs),
    /// Describe containers
    Inspect(InspectArgs),
}

#[derive(Debug, Subcommand)]
pub(super) enum ContextCommand {
    /// List contexts: there is one
    #[command(visible_alias = "list")]
    Ls(FormatArgs),
    /// Print the name of the current context
    Show,
}

#[derive(Debug, Args)]
pub(super) struct FormatArgs {
    /// A Go template, or `json`
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(super) format: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    #[command(flatten)]
    pub(super) flags: BuildFlags,
    /// Accepted: images always go to the store
    #[arg(long)]
    pub(super) load: bool,
    /// Only `false` is accepted: there are no attestations
    #[arg(long)]
    pub(super) provenance: Option<String>,
    /// Accepted: base images are made or imported, never fetched again
    #[arg(long)]
    pub(super) pull: bool,
    /// Directory that `COPY` copies from
    pub(super) context_directory: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ImagesArgs {
    /// Only images of this name, with or without tag
    pub(super) reference: Option<String>,
    /// Print ids only
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Accepted: there are no intermediate images
    #[arg(short, long)]
    pub(super) all: bool,
    /// Print whole ids
    #[arg(long)]
    pub(super) no_trunc: bool,
    /// `reference=<name>`; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(super) filter: Vec<String>,
    /// A Go template, or `json`
    #[arg(long, value_name = "TEMPLATE")]
    pub(super) format: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// Names or ids
    #[arg(required = true)]
    pub(super) names: Vec<String>,
    /// A Go template
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(super) format: Option<String>,
    /// `container` or `image`
    #[arg(long = "type", value_name = "TYPE")]
    pub(super) kind: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct PullArgs {
    /// The image
    pub(super) reference: String,
    /// Whose image of several is taken [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    pub(super) platform: Option<String>,
    /// Print the name only
    #[arg(short, long)]
    pub(super) quiet: bool,
}

#[derive(Debug, Args)]
pub(super) struct PushArgs {
    /// The image: its name says which registry it goes to
    pub(super) reference: String,
    /// Print the name only
    #[arg(short, long)]
    pub(super) quiet: bool,
}

#[derive(Debug, Args)]
pub(super) struct LoginArgs {
    /// User
    #[arg(short, long)]
    pub(super) username: Option<String>,
    /// Password; better read it with `--password-stdin`
    #[arg(short, long)]
    pub(super) password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub(super) password_stdin: bool,
    /// The registry [default: Docker Hub]
    pub(super) server: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct LogoutArgs {
    /// The registry [default: Docker Hub]
    pub(super) server: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ManifestCommand {
    /// Print a manifest or index of a registry
    Inspect(ManifestInspectArgs),
}

#[derive(Debug, Args)]
pub(super) struct ManifestInspectArgs {
    /// The image
    pub(super) reference: String,
    /// Also its digest and size
    #[arg(short, long)]
    pub(super) verbose: bool,
}

#[derive(Debug, Args)]
pub(super) struct TagArgs {
    /// The image
    pub(super) source: String,
    /// Its new name
    pub(super) target: String,
}

#[derive(Debug, Args)]
pub(super) struct RmiArgs {
    /// Names or ids
    #[arg(required = true)]
    pub(super) names: Vec<String>,
    /// An image that is not there is no error
    #[arg(short, long)]
    pub(super) force: bool,
    /// Accepted: there are no parents to prune
    #[arg(long)]
    pub(super) no_prune: bool,
}

#[derive(Debug, Args)]
pub(super) struct PsArgs {
    /// Also containers that do not run
    #[arg(short, long)]
    pub(super) all: bool,
    /// Print ids only
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Print whole ids
    #[arg(long)]
    pub(super) no_trunc: bool,
    /// `ancestor`, `id`, `label`, `name` or `status` with a value; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(super) filter: Vec<String>,
    /// A Go template, or `json`
    #[arg(long, value_name = "TEMPLATE")]
    pub(super) format: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RmArgs {
    /// Names or ids
    #[arg(required = true)]
    pub(super) names: Vec<String>,
    /// Also those that run; one that is not there is no error
    #[arg(short, long)]
    pub(super) force: bool,
    /// Also the volumes that only it uses
    #[arg(short, long)]
    pub(super) volumes: bool,
}

#[derive(Debug, Args)]
pub(super) struct StopArgs {
    /// Names or ids
    #[arg(required = true)]
    pub(super) names: Vec<String>,
    /// Seconds between SIGTERM and SIGKILL
    #[arg(short, long, default_value_t = 10)]
    pub(super) time: u64,
}

#[derive(Debug, Args)]
pub(super) struct KillArgs {
    /// Names or ids
    #[arg(required = true)]
    pub(super) names: Vec<String>,
    /// The signal
    #[arg(short, long, default_value = "KILL")]
    pub(super) signal: String,
}

#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// Name or id
    pub(super) name: String,
    /// Go on with what comes
    #[arg(short, long)]
    pub(super) follow: bool,
    /// Only the last lines
    #[arg(short = 'n', long, default_value = "all")]
    pub(super) tail: String,
    /// Print the time of each line
    #[arg(short, long)]
    pub(super) timestamps: bool,
}

#[derive(Debug, Args)]
pub(super) struct ExecArgs {
    /// Pass standard input on
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub(super) tty: bool,
    /// User
    #[arg(short, long)]
    pub(super) user: Option<String>,
    /// Working directory
    #[arg(short, long)]
    pub(super) workdir: Option<String>,
    /// Environment variable; may be repeated
    #[arg(short, long = "env", value_name = "NAME=VALUE")]
    pub(super) env: Vec<String>,
    /// Name or id
    pub(super) name: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Print its id and leave it running
    #[arg(short, long)]
    pub(super) detach: bool,
    /// Remove it when it has ended
    #[arg(long)]
    pub(super) rm: bool,
    /// Name for the container
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Program in place of the image's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    pub(super) entrypoint: Option<String>,
    /// Environment variable; may be repeated
    #[arg(short, long = "env", value_name = "NAME=VALUE")]
    pub(super) env: Vec<String>,
    /// Label; may be repeated
    #[arg(short, long = "label", value_name = "NAME=VALUE", action = ArgAction::Append)]
    pub(super) labels: Vec<String>,
    /// User
    #[arg(short, long)]
    pub(super) user: Option<String>,
    /// Working directory
    #[arg(short, long)]
    pub(super) workdir: Option<String>,
    /// `bridge` or `none`
    #[arg(long)]
    pub(super) network: Option<String>,
    /// Only this machine's can be run
    #[arg(long, value_name = "OS/ARCH")]
    pub(super) platform: Option<String>,
    /// The image
    pub(super) image: String,
    /// Command in place of the image's
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// The tar [default: standard input]
    #[arg(short, long, value_name = "FILE")]
    pub(super) input: Option<PathBuf>,
    /// Print nothing but names
    #[arg(short, long)]
    pub(super) quiet: bool,
}

#[cfg(test)]
mod tests;
