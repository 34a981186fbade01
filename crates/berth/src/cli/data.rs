//! `berth kv`, `berth d1`, `berth queues`: what Workers keep, with wrangler's names and flags.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ServerArgs;

/// The project whose configuration says what is meant.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProjectArgs {
    /// Configuration file, if it is not `wrangler.jsonc`, `.json` or `.toml` in the project
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Environment (`env.<NAME>` of the configuration)
    #[arg(short, long, value_name = "NAME")]
    pub(crate) env: Option<String>,
    /// The project's directory
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) cwd: PathBuf,
}

/// What every command about a server's data takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct DataArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A command that takes something away.
#[derive(Clone, Debug, Args)]
pub(crate) struct SureArgs {
    /// Do not ask
    #[arg(short = 'y', long, visible_aliases = ["skip-confirmation", "force"])]
    pub(crate) yes: bool,
}

/// `berth kv`.
#[derive(Debug, Subcommand)]
pub(crate) enum KvCommand {
    /// Namespaces
    #[command(subcommand)]
    Namespace(KvNamespaceCommand),
    /// Keys of a namespace
    #[command(subcommand)]
    Key(KvKeyCommand),
    /// Many keys at once
    #[command(subcommand)]
    Bulk(KvBulkCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum KvNamespaceCommand {
    /// Make a namespace
    Create {
        /// Its title
        namespace: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// List namespaces
    List {
        #[command(flatten)]
        data: DataArgs,
    },
    /// Give a namespace another title
    Rename {
        /// Its title
        #[arg(
            conflicts_with = "namespace_id",
            required_unless_present = "namespace_id"
        )]
        old_name: Option<String>,
        /// Its id
        #[arg(long, value_name = "ID")]
        namespace_id: Option<String>,
        /// Its new title
        #[arg(long, value_name = "TITLE")]
        new_name: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Delete a namespace with all that is in it
    Delete {
        /// Its title
        #[arg(conflicts_with_all = ["binding", "namespace_id"])]
        namespace: Option<String>,
        #[command(flatten)]
        of: KvOf,
        #[command(flatten)]
        sure: SureArgs,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// Which namespace.
#[derive(Clone, Debug, Args)]
pub(crate) struct KvOf {
    /// Its binding in the project's configuration
    #[arg(long, value_name = "NAME", conflicts_with = "namespace_id")]
    pub(crate) binding: Option<String>,
    /// Its id, or its title
    #[arg(long, value_name = "ID")]
    pub(crate) namespace_id: Option<String>,
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KvKeyCommand {
    /// Write a value
    Put {
        key: String,
        /// The value [default: standard input]
        #[arg(conflicts_with = "path")]
        value: Option<String>,
        /// A file with the value
        #[arg(long, value_name = "FILE")]
        path: Option<PathBuf>,
        /// Seconds that it lives, at least 60
        #[arg(long, value_name = "SECONDS", conflicts_with = "expiration")]
        ttl: Option<u64>,
        /// When it ends, in seconds since 1970
        #[arg(long, value_name = "TIME")]
        expiration: Option<u64>,
        /// JSON that is kept with it
        #[arg(long, value_name = "JSON")]
        metadata: Option<String>,
        #[command(flatten)]
        of: KvOf,
        #[command(flatten)]
        data: DataArgs,
    },
    /// List keys
    List {
        /// Only those that begin like this
        #[arg(long)]
        prefix: Option<String>,
        #[command(flatten)]
        of: KvOf,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Print a value as it is
    Get {
        key: String,
        #[command(flatten)]
        of: KvOf,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Delete a key
    Delete {
        key: String,
        #[command(flatten)]
        of: KvOf,
        #[command(flatten)]
        data: DataArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KvBulkCommand {
    /// Write many values: a JSON array of `{"key", "value", "metadata", …}`
    Put {
        /// The file; `-` is standard input
        filename: PathBuf,
        #[command(flatten)]
        of: KvOf,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Print many values: a JSON array of keys, or of `{"name"}`
    Get {
        /// The file; `-` is standard input
        filename: PathBuf,
        #[command(flatten)]
        of: KvOf,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Delete many keys: a JSON array of keys, or of `{"name"}`
    Delete {
        /// The file; `-` is standard input
        filename: PathBuf,
        #[command(flatten)]
        of: KvOf,
        #[command(flatten)]
        sure: SureArgs,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// `berth d1`.
#[derive(Debug, Subcommand)]
pub(crate) enum D1Command {
    /// Make a database
    Create {
        name: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// List databases
    List {
        #[command(flatten)]
        data: DataArgs,
    },
    /// Show a database
    Info {
        /// Its name or id
        name: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Delete a database with all that is in it
    Delete {
        /// Its name or id
        name: String,
        #[command(flatten)]
        sure: SureArgs,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Run SQL, in one transaction
    Execute {
        /// Name or id of the database
        database: String,
        /// The SQL
        #[arg(long, value_name = "SQL", required_unless_present = "file")]
        command: Option<String>,
        /// A file of SQL; `-` is standard input
        #[arg(long, value_name = "FILE", conflicts_with = "command")]
        file: Option<PathBuf>,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Write a database as SQL
    Export {
        /// Its name or id
        name: String,
        /// The file [default: standard output]
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Only this table; may be repeated
        #[arg(long = "table", value_name = "NAME")]
        tables: Vec<String>,
        /// Without the tables themselves
        #[arg(long)]
        no_schema: bool,
        /// Without what is in them
        #[arg(long, conflicts_with = "no_schema")]
        no_data: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Files of SQL that are run once each
    #[command(subcommand)]
    Migrations(D1MigrationsCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum D1MigrationsCommand {
    /// Make an empty file for the next one
    Create {
        #[command(flatten)]
        of: MigrationsOf,
        /// What it is about
        message: String,
    },
    /// List those that have not been run
    List {
        #[command(flatten)]
        of: MigrationsOf,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Run those that have not been run
    Apply {
        #[command(flatten)]
        of: MigrationsOf,
        #[command(flatten)]
        sure: SureArgs,
        #[command(flatten)]
        data: DataArgs,
    },
}

/// Which migrations.
#[derive(Clone, Debug, Args)]
pub(crate) struct MigrationsOf {
    /// The database's name, id or binding
    pub(crate) database: String,
    /// Their directory [default: `migrations_dir` of the configuration, or `migrations`]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// The table of those that were run [default: `migrations_table`, or `d1_migrations`]
    #[arg(long, value_name = "NAME")]
    pub(crate) table: Option<String>,
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
}

/// `berth queues`.
#[derive(Debug, Subcommand)]
pub(crate) enum QueuesCommand {
    /// List queues
    List {
        #[command(flatten)]
        data: DataArgs,
    },
    /// Make a queue
    Create {
        name: String,
        #[command(flatten)]
        settings: QueueSettings,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Change a queue
    Update {
        name: String,
        #[command(flatten)]
        settings: QueueSettings,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Show a queue, who sends to it and who consumes it
    Info {
        name: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Delete a queue with its messages
    Delete {
        name: String,
        #[command(flatten)]
        sure: SureArgs,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Hold messages back
    PauseDelivery {
        name: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Deliver them again
    ResumeDelivery {
        name: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Delete a queue's messages
    Purge {
        name: String,
        #[command(flatten)]
        sure: SureArgs,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Workers that consume a queue
    #[command(subcommand)]
    Consumer(QueueConsumerCommand),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct QueueSettings {
    /// Seconds before a message is delivered
    #[arg(long, value_name = "SECONDS")]
    pub(crate) delivery_delay_secs: Option<u32>,
    /// Seconds that a message is kept
    #[arg(long, value_name = "SECONDS")]
    pub(crate) message_retention_period_secs: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueueConsumerCommand {
    /// List the consumers of a queue
    List {
        queue_name: String,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Make a Worker a consumer
    Add {
        queue_name: String,
        /// The Worker
        script_name: String,
        /// Messages of a batch
        #[arg(long, value_name = "NUMBER")]
        batch_size: Option<u32>,
        /// Seconds to wait for a batch to be full
        #[arg(long, value_name = "SECONDS")]
        batch_timeout: Option<u32>,
        /// Times that a message is tried again
        #[arg(long, value_name = "NUMBER")]
        message_retries: Option<u32>,
        /// The queue of messages that have failed as often
        #[arg(long, value_name = "QUEUE")]
        dead_letter_queue: Option<String>,
        /// Batches at the same time
        #[arg(long, value_name = "NUMBER")]
        max_concurrency: Option<u32>,
        /// Seconds before a message is tried again
        #[arg(long, value_name = "SECONDS")]
        retry_delay_secs: Option<u32>,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Take a consumer away
    Remove {
        queue_name: String,
        /// The Worker
        script_name: String,
        #[command(flatten)]
        data: DataArgs,
    },
}
