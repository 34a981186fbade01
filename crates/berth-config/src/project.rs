//! The validated project: what the rest of Berth reads instead of the file.
//!
//! Every path is absolute, every default is filled in, every cross-reference has been checked.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;

use crate::spans::Spans;

/// One Workers + Containers project in one environment.
#[derive(Clone, Debug)]
pub struct Project {
    /// Directory of the configuration file.
    pub root: PathBuf,
    /// The configuration file.
    pub config_path: PathBuf,
    /// The `env.<name>` in use, if any.
    pub environment: Option<String>,
    /// Name of the Worker, with `-<environment>` appended as wrangler does.
    pub name: String,
    /// Entry point of the Worker. `None`: assets only.
    pub main: Option<PathBuf>,
    /// `YYYY-MM-DD`.
    pub compatibility_date: String,
    /// Compatibility flags as written.
    pub compatibility_flags: Vec<String>,
    /// Plain variables: strings become text bindings, everything else JSON bindings.
    pub vars: IndexMap<String, serde_json::Value>,
    /// Secrets from `.dev.vars` or `.env`; they win over `vars` of the same name.
    pub secrets: BTreeMap<String, String>,
    /// Container applications.
    pub containers: Vec<ContainerApp>,
    /// `durable_objects.bindings`.
    pub durable_objects: Vec<DurableObjectBinding>,
    /// Durable Object classes of this Worker after all migrations (or from `exports`).
    pub classes: Vec<DurableObjectClass>,
    /// KV namespaces.
    pub kv_namespaces: Vec<KvNamespace>,
    /// D1 databases.
    pub d1_databases: Vec<D1Database>,
    /// R2 buckets.
    pub r2_buckets: Vec<R2Bucket>,
    /// Queue producers.
    pub queue_producers: Vec<QueueProducer>,
    /// Queue consumers.
    pub queue_consumers: Vec<QueueConsumer>,
    /// Workflows.
    pub workflows: Vec<Workflow>,
    /// Cron expressions of `triggers.crons`.
    pub crons: Vec<String>,
    /// Static assets.
    pub assets: Option<Assets>,
    /// Service bindings. In a dev session only to this very Worker.
    pub services: Vec<ServiceBinding>,
    /// `observability`.
    pub observability: Observability,
    /// `dev`.
    pub dev: Dev,
    /// How the Worker is bundled.
    pub bundle: Bundle,
    /// Every top-level field as it counts in this environment, as it was written: for what a
    /// deployment sends and nothing here runs.
    pub written: serde_json::Map<String, serde_json::Value>,
    /// Where things stand in the configuration file, for mistakes that are only found later.
    pub spans: Spans,
}

impl Project {
    /// A Worker that has nothing yet, for those that do not read one from a file. `root` is where its
    /// files are.
    pub fn new(name: &str, root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            config_path: root.to_owned(),
            environment: None,
            name: name.to_owned(),
            main: None,
            compatibility_date: String::new(),
            compatibility_flags: Vec::new(),
            vars: IndexMap::new(),
            secrets: BTreeMap::new(),
            containers: Vec::new(),
            durable_objects: Vec::new(),
            classes: Vec::new(),
            kv_namespaces: Vec::new(),
            d1_databases: Vec::new(),
            r2_buckets: Vec::new(),
            queue_producers: Vec::new(),
            queue_consumers: Vec::new(),
            workflows: Vec::new(),
            crons: Vec::new(),
            assets: None,
            services: Vec::new(),
            observability: Observability::default(),
            dev: Dev {
                ip: None,
                port: None,
                enable_containers: true,
            },
            bundle: Bundle::default(),
            written: serde_json::Map::new(),
            spans: Spans::default(),
        }
    }
}

/// One entry of `containers`.
#[derive(Clone, Debug)]
pub struct ContainerApp {
    /// Application name: `name`, or `{worker}-{class}` lower-cased.
    pub name: String,
    /// The Durable Object class that drives the container.
    pub class_name: String,
    /// The default image. `None` only under the `durable_object` scheduling policy.
    pub image: Option<ImageSource>,
    /// Named images (`durable_object` scheduling policy).
    pub images: IndexMap<String, ImageSource>,
    /// `default`, `moon`, `regional` or `durable_object`.
    pub scheduling_policy: String,
    /// Name of the instance type, or `custom`.
    pub instance_type: String,
    /// The resources that the instance type stands for.
    pub resources: Resources,
    /// Most instances that may run at the same time.
    pub max_instances: u32,
    /// When an idle instance goes to sleep, from `berth.jsonc`; `None`: never.
    pub sleep: Option<Sleep>,
    /// `rollout: "atomic"` of `berth.jsonc`: instances change at the same moment as the Worker.
    pub atomic: bool,
    /// Seconds a running instance keeps before a rollout stops it.
    pub rollout_active_grace_period_s: u64,
    /// Percentages of a rollout's steps, ascending, last is 100.
    pub rollout_steps: Vec<u8>,
    /// `full_auto`, `full_manual` or `none`.
    pub rollout_kind: String,
    /// Upper-case region names.
    pub regions: Vec<String>,
    /// Lower-case jurisdiction.
    pub jurisdiction: Option<String>,
}

/// `containers.<Class>.sleep` of `berth.jsonc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sleep {
    /// Idle for this long an instance is frozen.
    pub freeze_after: Duration,
    /// Open connections are ignored when silent for this long; `None`: never.
    pub quiet_connection_after: Option<Duration>,
    /// Frozen for this long it is written to disk; `None`: never.
    pub checkpoint_after: Option<Duration>,
}

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// Built from a Dockerfile.
    Dockerfile {
        /// The Dockerfile.
        dockerfile: PathBuf,
        /// The build context directory.
        context: PathBuf,
        /// Build arguments (`image_vars`).
        args: BTreeMap<String, String>,
    },
    /// An image reference.
    Reference(String),
}

/// Resources of one instance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resources {
    /// Virtual CPUs, 0.0625 to 4.
    pub vcpu: f64,
    /// Memory in MiB, without swap.
    pub memory_mib: u64,
    /// Disk in MB (10^6 bytes).
    pub disk_mb: u64,
}

/// One Durable Object binding.
#[derive(Clone, Debug)]
pub struct DurableObjectBinding {
    /// Name in `env`.
    pub name: String,
    /// The class.
    pub class_name: String,
}

/// One Durable Object class that this Worker owns.
#[derive(Clone, Debug)]
pub struct DurableObjectClass {
    /// Name of the exported class.
    pub class_name: String,
    /// SQLite-backed (`new_sqlite_classes`), as containers require.
    pub sqlite: bool,
    /// Under which its objects are kept; `None`: under the names of Worker and class. A deployed class
    /// keeps its objects when it is renamed.
    pub key: Option<String>,
}

/// One KV namespace binding.
#[derive(Clone, Debug)]
pub struct KvNamespace {
    /// Name in `env`.
    pub binding: String,
    /// Namespace id; the binding's name if the file has none.
    pub id: String,
}

/// One D1 database binding.
#[derive(Clone, Debug)]
pub struct D1Database {
    /// Name in `env`.
    pub binding: String,
    /// Database name.
    pub database_name: String,
    /// Database id; the binding's name if the file has none.
    pub database_id: String,
}

/// One R2 bucket binding.
#[derive(Clone, Debug)]
pub struct R2Bucket {
    /// Name in `env`.
    pub binding: String,
    /// Name of the bucket; made of the binding's if the file has none.
    pub bucket_name: String,
}

/// One queue producer binding.
#[derive(Clone, Debug)]
pub struct QueueProducer {
    /// Name in `env`.
    pub binding: String,
    /// Name of the queue.
    pub queue: String,
    /// Seconds before a message is delivered.
    pub delivery_delay_s: Option<u32>,
}

/// One queue consumer.
#[derive(Clone, Debug)]
pub struct QueueConsumer {
    /// Name of the queue.
    pub queue: String,
    /// Most messages in one batch.
    pub max_batch_size: Option<u32>,
    /// Seconds to wait for a batch to fill.
    pub max_batch_timeout_s: Option<u32>,
    /// Retries of one message.
    pub max_retries: Option<u32>,
    /// Queue for messages whose retries are used up.
    pub dead_letter_queue: Option<String>,
    /// Batches handled at the same time.
    pub max_concurrency: Option<u32>,
    /// Seconds before a retry.
    pub retry_delay_s: Option<u32>,
}

/// One Workflow.
#[derive(Clone, Debug)]
pub struct Workflow {
    /// Name in `env`.
    pub binding: String,
    /// Name of the workflow.
    pub name: String,
    /// The exported `WorkflowEntrypoint` class.
    pub class_name: String,
}

/// Static assets.
#[derive(Clone, Debug)]
pub struct Assets {
    /// Directory with the files.
    pub directory: PathBuf,
    /// Name in `env`, if the Worker wants it.
    pub binding: Option<String>,
    /// `html_handling` as written; default `auto-trailing-slash`.
    pub html_handling: String,
    /// `not_found_handling` as written; default `none`.
    pub not_found_handling: String,
    /// Which requests reach the Worker before the assets.
    pub run_worker_first: RunWorkerFirst,
}

/// `assets.run_worker_first`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunWorkerFirst {
    /// `true` or `false`.
    Always(bool),
    /// Route patterns, `!` negates.
    Routes(Vec<String>),
}

/// One service binding.
#[derive(Clone, Debug)]
pub struct ServiceBinding {
    /// Name in `env`.
    pub binding: String,
    /// The Worker it leads to: this one.
    pub service: String,
    /// A named entrypoint.
    pub entrypoint: Option<String>,
}

/// `observability`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observability {
    /// Logs are kept.
    pub enabled: bool,
    /// 0 to 1.
    pub head_sampling_rate: Option<f64>,
}

/// `dev`.
#[derive(Clone, Debug)]
pub struct Dev {
    /// Address to listen on.
    pub ip: Option<IpAddr>,
    /// Port to listen on.
    pub port: Option<u16>,
    /// `false`: containers are neither built nor started.
    pub enable_containers: bool,
}

/// How the Worker is bundled.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    /// `rules`: module types by glob.
    pub rules: Vec<ModuleRule>,
    /// `define`.
    pub define: BTreeMap<String, String>,
    /// `alias`.
    pub alias: BTreeMap<String, String>,
    /// Take `main` as it is.
    pub no_bundle: bool,
    /// Minify.
    pub minify: bool,
    /// Keep function names.
    pub keep_names: bool,
    /// `tsconfig`, if set.
    pub tsconfig: Option<PathBuf>,
    /// `jsx_factory`, if set; wrangler's default is `React.createElement`.
    pub jsx_factory: Option<String>,
    /// `jsx_fragment`, if set; wrangler's default is `React.Fragment`.
    pub jsx_fragment: Option<String>,
    /// `find_additional_modules`; `None`: true exactly when `no_bundle` is.
    pub find_additional_modules: Option<bool>,
    /// `base_dir`: where `rules` look for additional modules. `None`: the directory of `main`.
    pub base_dir: Option<PathBuf>,
    /// `preserve_file_names`: modules keep their names instead of getting a hash in front.
    pub preserve_file_names: bool,
    /// For a server: `process.env.NODE_ENV` is `production` unless the environment says otherwise.
    pub production: bool,
    /// `build`: a command to run before bundling.
    pub custom_build: Option<CustomBuild>,
}

/// `build` with a `command`: wrangler runs it before it bundles, and again when a watched file changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomBuild {
    /// For `sh -c`.
    pub command: String,
    /// Where it runs; the project's directory unless the file says otherwise.
    pub cwd: PathBuf,
    /// Directories whose changes run it again; `src` in the project's directory by default.
    pub watch_dirs: Vec<PathBuf>,
}

/// One entry of `rules`.
#[derive(Clone, Debug)]
pub struct ModuleRule {
    /// `ESModule`, `CommonJS`, `CompiledWasm`, `Text` or `Data`.
    pub kind: String,
    /// Globs, relative to the project.
    pub globs: Vec<String>,
    /// Later rules of the same kind still apply.
    pub fallthrough: bool,
}
