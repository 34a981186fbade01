//! `berth secrets-store` and `berth workflows`, with wrangler's names and flags.

use clap::{Args, Subcommand};

use super::{DataArgs, SureArgs};

/// `berth secrets-store`.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretsStoreCommand {
    /// Stores
    #[command(subcommand)]
    Store(StoreCommand),
    /// Secrets of a store
    #[command(subcommand)]
    Secret(StoreSecretCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Make a store
    Create {
        name: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// List stores
    List {
        #[command(flatten)]
        data: DataArgs,
    },
    /// Delete a store with its secrets
    Delete {
        /// Its id
        store_id: String,
        #[command(flatten)]
        sure: SureArgs,
        #[command(flatten)]
        data: DataArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreSecretCommand {
    /// Make a secret
    Create {
        /// Id of the store
        store_id: String,
        #[arg(long)]
        name: String,
        /// Its value [default: what is typed, or standard input]
        #[arg(long)]
        value: Option<String>,
        #[command(flatten)]
        about: SecretAbout,
        #[command(flatten)]
        data: DataArgs,
    },
    /// List secrets, without their values
    List {
        /// Id of the store
        store_id: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Show a secret, without its value
    Get {
        #[command(flatten)]
        of: SecretOf,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Change a secret
    Update {
        #[command(flatten)]
        of: SecretOf,
        /// Its new value; `-` is standard input
        #[arg(long)]
        value: Option<String>,
        #[command(flatten)]
        about: SecretAbout,
        #[command(flatten)]
        data: DataArgs,
    },
    /// The same value under another name
    Duplicate {
        #[command(flatten)]
        of: SecretOf,
        /// The other name
        #[arg(long)]
        name: String,
        #[command(flatten)]
        about: SecretAbout,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Delete a secret
    Delete {
        #[command(flatten)]
        of: SecretOf,
        #[command(flatten)]
        sure: SureArgs,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// A secret of a store.
#[derive(Clone, Debug, Args)]
pub(crate) struct SecretOf {
    /// Id of the store
    pub(crate) store_id: String,
    /// Its id
    #[arg(long, value_name = "ID")]
    pub(crate) secret_id: String,
}

/// What is said of a secret.
#[derive(Clone, Debug, Args)]
pub(crate) struct SecretAbout {
    /// Who may use it, separated by commas: workers, containers, …
    #[arg(long, value_delimiter = ',')]
    pub(crate) scopes: Vec<String>,
    /// A remark
    #[arg(long)]
    pub(crate) comment: Option<String>,
}

/// `berth workflows`.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkflowsCommand {
    /// List Workflows
    List {
        #[command(flatten)]
        data: DataArgs,
    },
    /// Show a Workflow
    Describe {
        name: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Forget a Workflow that no live Worker binds
    Delete {
        name: String,
        #[command(flatten)]
        sure: SureArgs,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Make an instance
    Trigger {
        name: String,
        /// JSON for it
        params: Option<String>,
        /// Its id [default: a new one]
        #[arg(long)]
        id: Option<String>,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Instances of a Workflow
    #[command(subcommand)]
    Instances(InstancesCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum InstancesCommand {
    /// List instances, newest first
    List {
        name: String,
        /// Only in this state: queued, running, paused, waiting, errored, terminated, complete
        #[arg(long)]
        status: Option<String>,
        /// Which page
        #[arg(long, default_value_t = 1)]
        page: usize,
        /// Instances of a page, at most 100
        #[arg(long, default_value_t = 50)]
        per_page: usize,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Show an instance
    Describe {
        #[command(flatten)]
        of: InstanceOf,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Stop it before its next step
    Pause(ChangeInstance),
    /// Let it go on
    Resume(ChangeInstance),
    /// Begin it anew
    Restart(ChangeInstance),
    /// End it
    Terminate(ChangeInstance),
    /// Send it an event
    SendEvent {
        #[command(flatten)]
        of: InstanceOf,
        /// Type of the event
        #[arg(long = "type", value_name = "TYPE")]
        kind: String,
        /// JSON that goes with it
        #[arg(long, value_name = "JSON", default_value = "{}")]
        payload: String,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// An instance.
#[derive(Clone, Debug, Args)]
pub(crate) struct InstanceOf {
    /// The Workflow
    pub(crate) name: String,
    /// The instance
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct ChangeInstance {
    #[command(flatten)]
    pub(crate) of: InstanceOf,
    #[command(flatten)]
    pub(crate) data: DataArgs,
}
