//! `berth containers`, with the names and flags that wrangler has.

use std::path::PathBuf;

use berth_image::LayerCompression;
use clap::{Args, Subcommand};

use super::ServerArgs;
use crate::build::flags::BuildFlags;

/// `berth containers`.
#[derive(Debug, Subcommand)]
pub(crate) enum ContainersCommand {
    /// Build an image, and push it if wanted
    Build(Box<ContainersBuildArgs>),
    /// Push an image of this machine to a registry
    Push(ContainersPushArgs),
    /// List the container applications of a server
    List {
        #[command(flatten)]
        server: ServerArgs,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show a container application
    Info(ApplicationArgs),
    /// List the instances of a container application
    Instances(ApplicationArgs),
    /// Delete a container application: its class has no containers then
    Delete(DeleteApplicationArgs),
    /// Credentials of container registries
    #[command(subcommand)]
    Registries(RegistriesCommand),
}

/// `berth containers info` and `instances`.
#[derive(Debug, Args)]
pub(crate) struct ApplicationArgs {
    /// Id or name of the application
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `berth containers delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteApplicationArgs {
    #[command(flatten)]
    pub(crate) application: ApplicationArgs,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub(crate) skip_confirmation: bool,
}

/// `berth containers build`.
#[derive(Debug, Args)]
pub(crate) struct ContainersBuildArgs {
    /// Directory with the Dockerfile
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) flags: BuildFlags,
    /// Push the image when it is built
    #[arg(short, long)]
    pub(crate) push: bool,
    /// How layers that were made on this machine are compressed, `gzip` or `zstd` (Docker reads zstd
    /// since version 23) [default: gzip, or as `registries.json` says of the registry]
    #[arg(long, value_name = "KIND", requires = "push")]
    pub(crate) compression: Option<LayerCompression>,
    /// Print one JSON object per line
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,
    /// Accepted: no docker is needed
    #[arg(long, value_name = "PATH", hide = true)]
    pub(crate) path_to_docker: Option<PathBuf>,
}

/// `berth containers push`.
#[derive(Debug, Args)]
pub(crate) struct ContainersPushArgs {
    /// The image; a name without a registry goes to the default one
    #[arg(value_name = "TAG")]
    pub(crate) tag: String,
    /// How layers that were made on this machine are compressed, `gzip` or `zstd` (Docker reads zstd
    /// since version 23) [default: gzip, or as `registries.json` says of the registry]
    #[arg(long, value_name = "KIND")]
    pub(crate) compression: Option<LayerCompression>,
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
    /// Accepted: no docker is needed
    #[arg(long, value_name = "PATH", hide = true)]
    pub(crate) path_to_docker: Option<PathBuf>,
}

/// `berth containers registries`.
#[derive(Debug, Subcommand)]
pub(crate) enum RegistriesCommand {
    /// Keep credentials of a registry, encrypted; the secret is read from standard input
    Configure(ConfigureArgs),
    /// List the registries whose credentials are kept
    List {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Forget the credentials of a registry
    Delete(DeleteRegistryArgs),
    /// Print the password that a registry takes now
    Credentials(CredentialsArgs),
}

/// `berth containers registries configure`.
#[derive(Debug, Args)]
pub(crate) struct ConfigureArgs {
    /// The registry as image names have it: `docker.io`, `<account>.dkr.ecr.<region>.amazonaws.com`,
    /// `<location>-docker.pkg.dev`, or any other host
    #[arg(value_name = "DOMAIN")]
    pub(crate) domain: String,
    /// Of Amazon ECR: the access key id; the secret is the secret access key
    #[arg(long, value_name = "ID", group = "public")]
    pub(crate) aws_access_key_id: Option<String>,
    /// Of Docker Hub: the user; the secret is a personal access token
    #[arg(long, value_name = "NAME", group = "public")]
    pub(crate) dockerhub_username: Option<String>,
    /// Of Google Artifact Registry: the service account; the secret is its JSON key (a path, the
    /// text, or base64 of it)
    #[arg(long, value_name = "EMAIL", group = "public")]
    pub(crate) gar_email: Option<String>,
    /// Of any other registry: the user; the secret is the password
    #[arg(long, value_name = "NAME", group = "public")]
    pub(crate) username: Option<String>,
    /// wrangler's older name for all of them
    #[arg(long, value_name = "TEXT", group = "public", hide = true)]
    pub(crate) public_credential: Option<String>,
    /// Accepted: a secret is kept with its registry, under no name of its own
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) secret_name: Option<String>,
    /// Accepted: there is one store of secrets
    #[arg(long, value_name = "ID", hide = true)]
    pub(crate) secret_store_id: Option<String>,
    /// Accepted: there is one store of secrets
    #[arg(long, hide = true)]
    pub(crate) disable_secrets_store: bool,
    /// Accepted: nothing is asked but the secret
    #[arg(short = 'y', long, hide = true)]
    pub(crate) skip_confirmation: bool,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `berth containers registries delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteRegistryArgs {
    /// The registry
    #[arg(value_name = "DOMAIN")]
    pub(crate) domain: String,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub(crate) skip_confirmation: bool,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `berth containers registries credentials`.
#[derive(Debug, Args)]
pub(crate) struct CredentialsArgs {
    /// The registry [default: this machine's own, `berth registry serve`]
    #[arg(value_name = "DOMAIN")]
    pub(crate) domain: Option<String>,
    /// For pushing
    #[arg(long)]
    pub(crate) push: bool,
    /// For pulling
    #[arg(long)]
    pub(crate) pull: bool,
    /// For pushing to the library of wrangler's registry
    #[arg(long, hide = true)]
    pub(crate) library_push: bool,
    /// How long they are good, of this machine's registry [default: 15]; others decide that themselves
    #[arg(long, value_name = "MINUTES")]
    pub(crate) expiration_minutes: Option<u32>,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
