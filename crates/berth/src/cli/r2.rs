//! `berth r2`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{DataArgs, ServerArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum R2Command {
    /// Buckets
    #[command(subcommand)]
    Bucket(R2BucketCommand),
    /// Objects of a bucket
    #[command(subcommand)]
    Object(R2ObjectCommand),
    /// Access keys of S3 clients
    #[command(subcommand)]
    Keys(R2KeysCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum R2BucketCommand {
    /// Make a bucket
    Create {
        name: String,
        /// What its objects are by default: Standard or InfrequentAccess
        #[arg(short, long, value_name = "CLASS")]
        storage_class: Option<String>,
        #[command(flatten)]
        data: DataArgs,
    },
    /// List buckets
    List {
        #[command(flatten)]
        data: DataArgs,
    },
    /// Show a bucket, and how much is in it
    Info {
        bucket: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Delete an empty bucket
    Delete {
        bucket: String,
        #[command(flatten)]
        data: DataArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum R2ObjectCommand {
    /// Read an object
    Get {
        /// `<bucket>/<key>`
        object_path: String,
        /// Where to [default: a file of the key's last part]
        #[arg(short, long, value_name = "FILE", conflicts_with = "pipe")]
        file: Option<PathBuf>,
        /// To standard output
        #[arg(short, long)]
        pipe: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Write an object
    Put {
        /// `<bucket>/<key>`
        object_path: String,
        /// What of
        #[arg(short, long, value_name = "FILE", required_unless_present = "pipe")]
        file: Option<PathBuf>,
        /// Of standard input
        #[arg(short, long, conflicts_with = "file")]
        pipe: bool,
        #[command(flatten)]
        about: R2About,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Delete an object
    Delete {
        /// `<bucket>/<key>`
        object_path: String,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// What is kept with an object, and answered with it.
#[derive(Debug, Args)]
pub(crate) struct R2About {
    #[arg(long, visible_alias = "ct")]
    pub(crate) content_type: Option<String>,
    #[arg(long, visible_alias = "cd")]
    pub(crate) content_disposition: Option<String>,
    #[arg(long, visible_alias = "ce")]
    pub(crate) content_encoding: Option<String>,
    #[arg(long, visible_alias = "cl")]
    pub(crate) content_language: Option<String>,
    #[arg(long, visible_alias = "cc")]
    pub(crate) cache_control: Option<String>,
    /// As HTTP writes it
    #[arg(long)]
    pub(crate) expires: Option<String>,
    /// Standard or InfrequentAccess [default: the bucket's]
    #[arg(short, long, value_name = "CLASS")]
    pub(crate) storage_class: Option<String>,
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
