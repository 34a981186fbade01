//! `berth r2`.

use clap::{Args, Subcommand, ValueEnum};

use super::ServerArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum R2Command {
    /// Access keys of S3 clients
    #[command(subcommand)]
    Keys(R2KeysCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum R2KeysCommand {
    /// Make a key and print its secret, which nobody is told again
    Create(R2KeysCreateArgs),
    /// List keys, without their secrets
    List(R2KeysListArgs),
    /// Take a key back
    Delete(R2KeysDeleteArgs),
}

/// `berth r2 keys create`.
#[derive(Debug, Args)]
pub(crate) struct R2KeysCreateArgs {
    /// What it is for
    #[arg(default_value = "key")]
    pub(crate) name: String,
    /// What it allows
    #[arg(long, value_enum, default_value = "object-read-write")]
    pub(crate) permission: R2Permission,
    /// A bucket in which it is good; may be repeated [default: all]
    #[arg(long = "bucket", value_name = "BUCKET")]
    pub(crate) buckets: Vec<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a key allows.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum R2Permission {
    /// Buckets too
    Admin,
    /// Reading, writing and listing objects
    ObjectReadWrite,
    /// Reading and listing objects
    ObjectRead,
}

/// `berth r2 keys list`.
#[derive(Debug, Args)]
pub(crate) struct R2KeysListArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Print a JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

/// `berth r2 keys delete`.
#[derive(Debug, Args)]
pub(crate) struct R2KeysDeleteArgs {
    /// Its id
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
