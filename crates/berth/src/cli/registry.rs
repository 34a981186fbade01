//! `berth registry …` as it is typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use berth_registry::auth::Grant;
use clap::{Args, Subcommand, ValueEnum};

use crate::commands::registry::values;

#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// Serve a registry
    Serve(Box<RegistryServeArgs>),
    /// Remove what nobody refers to any more; a server may run meanwhile
    Gc(RegistryGcArgs),
    /// Print a password for a client: with a server's key, without asking it
    Credentials(RegistryCredentialsArgs),
}

/// Where the registry keeps things.
#[derive(Debug, Default, Args)]
pub(crate) struct RegistryStorageArgs {
    /// Keep everything in an S3-compatible bucket, `NAME` or `NAME/PREFIX`; credentials and region
    /// come from the environment (`AWS_ACCESS_KEY_ID` and the like) [default: the data directory]
    #[arg(long, env = "BERTH_REGISTRY_BUCKET", value_name = "BUCKET")]
    pub(crate) bucket: Option<String>,
    /// Address of the bucket's service, if it is not Amazon's
    #[arg(
        long,
        env = "BERTH_REGISTRY_BUCKET_ENDPOINT",
        value_name = "URL",
        requires = "bucket"
    )]
    pub(crate) bucket_endpoint: Option<String>,
    /// The key that signs tokens and passwords, at least 32 secret bytes [default: made once, in the
    /// data directory]
    #[arg(long, env = "BERTH_REGISTRY_KEY_FILE", value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
}

/// What is garbage.
#[derive(Debug, Args)]
pub(crate) struct RegistryCollectArgs {
    /// Blobs younger than this are no garbage; must be longer than any push takes
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = values::duration)]
    pub(crate) grace: Duration,
    /// An upload ends if nobody continues it for this long
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = values::duration)]
    pub(crate) upload_expiry: Duration,
    /// Images that never had a tag, or lost it to another image, are garbage after this time
    /// [default: they are kept]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) untagged_after: Option<Duration>,
}

/// What may be done without credentials.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum AnonymousArg {
    /// Nothing
    Nothing,
    /// Pull from all repositories
    Read,
    /// Everything
    Everything,
}

/// `berth registry serve`.
#[derive(Debug, Args)]
pub(crate) struct RegistryServeArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5000")]
    pub(crate) listen: SocketAddr,
    /// Certificate with its chain, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Serve other machines without TLS
    #[arg(long)]
    pub(crate) insecure: bool,
    /// What clients may do without credentials
    #[arg(long, value_enum, default_value = "nothing")]
    pub(crate) anonymous: AnonymousArg,
    /// Where clients reach it, if that is not what their requests say
    #[arg(long, value_name = "URL")]
    pub(crate) public_url: Option<String>,
    /// Largest image: its configuration and layers as they are stored
    #[arg(long, value_name = "SIZE", default_value = "2GB", value_parser = values::size)]
    pub(crate) image_limit: u64,
    /// Most that is stored
    #[arg(long, value_name = "SIZE", default_value = "50GB", value_parser = values::size)]
    pub(crate) total_limit: u64,
    /// Also take images whose layers were not all pushed
    #[arg(long)]
    pub(crate) sparse_images: bool,
    #[command(flatten)]
    pub(crate) storage: RegistryStorageArgs,
    #[command(flatten)]
    pub(crate) collect: RegistryCollectArgs,
    /// Time between collections of garbage; `0s` collects only when asked
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = values::duration)]
    pub(crate) collect_every: Duration,
    /// Print one JSON object per line instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// `berth registry gc`.
#[derive(Debug, Args)]
pub(crate) struct RegistryGcArgs {
    #[command(flatten)]
    pub(crate) storage: RegistryStorageArgs,
    #[command(flatten)]
    pub(crate) collect: RegistryCollectArgs,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `berth registry credentials`.
#[derive(Debug, Args)]
pub(crate) struct RegistryCredentialsArgs {
    /// Whose password it is, for the server's log
    #[arg(long, default_value = "operator")]
    pub(crate) name: String,
    /// What it allows: `team/app`, `team/*=pull`, `*=pull,push,delete`; may be repeated
    /// [default: everything]
    #[arg(long = "grant", value_name = "REPOSITORIES[=ACTIONS]", value_parser = values::grant)]
    pub(crate) grants: Vec<Grant>,
    /// How long it is valid; `0s` is as long as the key
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = values::duration)]
    pub(crate) expires: Duration,
    #[command(flatten)]
    pub(crate) storage: RegistryStorageArgs,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
