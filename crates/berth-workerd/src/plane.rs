//! The data plane of a server: one workerd that keeps the KV namespaces, D1 databases and queues of all
//! Workers, in the Workers that workerd bundles, with what the control plane does to them.
//!
//! State lies below [`PlaneOptions::state_dir`]: `objects/<class>/<object id>.sqlite`, and KV's values
//! over 64 KiB in `blobs/<object id>/`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;

use crate::capnp::{Capnp, record, texts};
use crate::compose::{BUNDLED_DATE, EXTRA_HANDLERS, HTTP_SOCKET};
use crate::compose::{ComposeError, directory, file, logging};

const PLANE: &str = "plane";
const OBJECTS: &str = "objects";
const BLOBS: &str = "blobs";
const APPS: &str = "apps";

/// Ours, the first is the entry point.
const MODULES: [(&str, &str); 5] = [
    ("front.js", include_str!("plane/front.js")),
    ("queues.js", include_str!("plane/queues.js")),
    ("kv.js", include_str!("plane/kv.js")),
    ("d1.js", include_str!("plane/d1.js")),
    ("consumers.js", include_str!("plane/consumers.js")),
];
/// workerd's.
const BUNDLED: [&str; 3] = ["queues.js", "kv.js", "d1.js"];
/// Binding → Durable Object class, which is its unique key, too: objects are kept under it.
const CLASSES: [(&str, &str); 4] = [
    ("SHARD", "QueueShard"),
    ("REGISTRY", "Registry"),
    ("KV", "KVNamespace"),
    ("DATABASE", "D1Database"),
];

/// Where the data plane is.
#[derive(Clone, Debug)]
pub struct PlaneOptions {
    /// Where it keeps everything.
    pub state_dir: PathBuf,
    /// Socket that it listens on.
    pub listen: PathBuf,
    /// Socket of whoever takes the queues' messages to the Workers: `POST /deliver`.
    pub apps: PathBuf,
    /// Consumers and delays of the queues as they are at the start: see [`QueuePlan`].
    pub queues: QueuePlan,
}

/// How queues deliver; also the body of a `PUT` to the resource `admin/queue/settings`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct QueuePlan {
    /// By queue; a queue that is not named keeps its messages.
    pub consumers: BTreeMap<String, ConsumerPlan>,
    /// Seconds before a message is delivered that says nothing of it itself.
    pub delays: BTreeMap<String, u32>,
}

/// A consumer's settings, whole: workerd's own Worker completes them only when it is loaded.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerPlan {
    /// Most messages in one batch, 1 to 100.
    pub max_batch_size: u32,
    /// Seconds to wait for a batch to fill.
    pub max_batch_timeout: f64,
    /// Retries of one message.
    pub max_retries: u32,
    /// Empty: messages whose retries are used up are deleted.
    pub dead_letter_queue: String,
    /// Seconds before a retry.
    pub retry_delay: u32,
    /// Batches at the same time; 0: as many as there are.
    pub max_concurrency: u32,
}

/// The text of its configuration. Creates the directories it refers to.
///
/// # Errors
/// A directory that cannot be created.
pub fn compose_plane(options: &PlaneOptions) -> Result<String, ComposeError> {
    let apps = record([
        ("address", format!("unix:{}", options.apps.display()).into()),
        ("http", record([])),
    ]);
    let services = vec![
        crate::compose::internet(false),
        record([("name", PLANE.into()), ("worker", worker(options))]),
        directory(OBJECTS, options.state_dir.join("objects"))?,
        directory(BLOBS, options.state_dir.join("blobs"))?,
        record([("name", APPS.into()), ("external", apps)]),
    ];
    let socket = record([
        ("name", HTTP_SOCKET.into()),
        (
            "address",
            format!("unix:{}", options.listen.display()).into(),
        ),
        ("http", record([])),
        ("service", PLANE.into()),
    ]);
    let config = record([
        ("services", services.into()),
        ("sockets", Capnp::List(vec![socket])),
        ("logging", logging()),
    ]);
    Ok(file("the data plane", &config))
}

fn worker(options: &PlaneOptions) -> Capnp {
    let own = MODULES
        .iter()
        .map(|(name, source)| record([("name", (*name).into()), ("esModule", (*source).into())]));
    let bundled = BUNDLED.iter().map(|name| {
        record([
            ("name", format!("bundled-{name}").into()),
            ("bundled", format!("/workerd/{name}").into()),
        ])
    });
    let binding = |name: &str, kind: &'static str, value: Capnp| {
        record([("name", name.into()), (kind, value)])
    };
    let mut bindings: Vec<Capnp> = CLASSES
        .iter()
        .map(|(name, class)| binding(name, "durableObjectNamespace", (*class).into()))
        .collect();
    bindings.push(binding("BLOBS", "service", BLOBS.into()));
    bindings.push(binding("APPS", "service", APPS.into()));
    bindings.push(binding("QUEUES", "json", json!(options.queues).into()));
    let namespaces = CLASSES.iter().map(|(_, class)| {
        record([
            ("className", (*class).into()),
            ("uniqueKey", (*class).into()),
            ("enableSql", true.into()),
        ])
    });
    record([
        ("modules", Capnp::List(own.chain(bundled).collect())),
        ("compatibilityDate", BUNDLED_DATE.into()),
        ("compatibilityFlags", texts([EXTRA_HANDLERS])),
        ("bindings", bindings.into()),
        ("durableObjectNamespaces", Capnp::List(namespaces.collect())),
        (
            "durableObjectStorage",
            record([("localDisk", OBJECTS.into())]),
        ),
    ])
}
