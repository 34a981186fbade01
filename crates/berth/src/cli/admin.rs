//! Looking after a server: tokens, status, backups.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::ServerArgs;

/// What a token allows; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenScope {
    /// See what there is, apart from secrets.
    Read,
    /// Change what is deployed.
    Deploy,
    /// Make and revoke tokens, take backups.
    Admin,
}

/// `berth token`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token; its text is shown only now
    Create {
        /// What it is for
        #[arg(long, value_name = "NAME")]
        name: String,
        /// What it allows
        #[arg(long, value_enum, value_name = "SCOPE")]
        scope: TokenScope,
        /// How long it is good: `30d`, `12h`, or a point in time such as `2030-01-31T12:00:00Z`
        /// [default: until it is revoked]
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// List tokens, without their texts
    List {
        #[command(flatten)]
        server: ServerArgs,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// End a token
    Revoke {
        /// Its id, or its name if that is the only one of it
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        server: ServerArgs,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
}

/// `berth status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `berth usage`.
#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// From the hour of this time on, or of so long ago (12h, 7d) [default: 30 days ago]
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Hours that begin before this time [default: until now]
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Only of this Worker and its containers
    #[arg(long, value_name = "NAME")]
    pub(crate) app: Option<String>,
    /// Show each instance, too
    #[arg(long)]
    pub(crate) instances: bool,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `berth backup`.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The file, a tar; `-` is standard output
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// With the keys that secrets are sealed with, and the administrator's token
    #[arg(long)]
    pub(crate) keys: bool,
    /// Without the images of the registry
    #[arg(long)]
    pub(crate) no_images: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `berth restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The file; `-` is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
