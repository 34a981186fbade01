//! A project and its bundle → workerd's configuration, as text.
//!
//! The Worker is one service under the project's name; everything that Berth adds is named
//! `berth:<what>`. KV, D1, Queues, Workflows and cron are Workers that workerd bundles
//! (`bundled = "/workerd/kv.js"`), each with the bindings that `workerd compile --config-only`
//! gives it for a `wrangler.jsonc` (workerd 1.20261117.1). State lies below
//! [`ComposeOptions::state_dir`]:
//!
//! | directory | holds |
//! |---|---|
//! | `do/<uniqueKey>/<object id>.sqlite` | Durable Objects of the Worker |
//! | `kv/KVNamespace/`, `kv/blobs/` | KV: indexes, and values over 64 KiB |
//! | `d1/D1Database/` | D1 databases |
//! | `queues/QueueShard/` | messages |
//! | `workflows/miniflare-workflows-<name>/` | instances of workflows |
//! | `cron/Schedule/` | what cron triggers have run |

mod assets;
mod bindings;
mod platform;
mod r2;
mod server;
mod tail;
mod worker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use berth_config::Project;
use berth_error::Hint;
use indexmap::IndexMap;

pub(crate) use assets::CONFIGURING_ASSETS;
pub use platform::workflow_class;
pub(crate) use platform::{BUNDLED_DATE, EXTRA_HANDLERS};
pub use server::RESOURCE_HEADER;
pub use server::{Entrypoint, ServerSide};

use crate::Bundle;
use crate::capnp::{Capnp, record, texts};

/// What the project does not say.
#[derive(Clone, Debug)]
pub struct ComposeOptions {
    /// Where state persists (`.berth/state`). Created, with its subdirectories.
    pub state_dir: PathBuf,
    /// Where workerd listens.
    pub listen: Listen,
    /// The container engine; `None` when the project runs without containers.
    pub containers: Option<ContainerOptions>,
    /// Unix socket at which R2 buckets are served; only used when the Worker has some.
    pub r2: PathBuf,
    /// What a server adds; `None`: the Worker has everything to itself.
    pub server: Option<ServerSide>,
    /// What the Worker does can be told, while [`crate::TraceSwitch`] says so; `None`: it cannot, which
    /// costs a request less.
    pub trace: Option<TraceOptions>,
}

/// To whom it is told what a Worker does.
#[derive(Clone, Debug)]
pub struct TraceOptions {
    /// A Unix socket with an HTTP server, which gets arrays of what tail Workers are given.
    pub sink: PathBuf,
    /// The path of those requests.
    pub path: String,
}

/// Where workerd listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On 127.0.0.1 with a port the kernel chooses.
    Loopback,
    /// On a Unix socket at this path (at most 107 bytes).
    Unix(PathBuf),
}

/// The container engine.
#[derive(Clone, Debug)]
pub struct ContainerOptions {
    /// Unix socket of the Docker Engine API.
    pub docker_socket: PathBuf,
    /// Image name of the egress sidecar.
    pub egress_image: String,
    /// Scopes the containers' names; a later workerd with the same value adopts them.
    pub session_id: String,
    /// They may mount file systems in user space.
    pub fuse: bool,
    /// Images by Durable Object class.
    pub images: BTreeMap<String, ClassImages>,
}

/// Images of one container class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassImages {
    /// Reference of the default image.
    pub default: Option<String>,
    /// `ctx.container.images`: name → reference.
    pub named: IndexMap<String, String>,
}

/// Why no configuration could be written.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// A directory could not be created.
    #[error("could not create `{path}`")]
    Write {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file of the assets could not be read.
    #[error("could not read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl Hint for ComposeError {}

/// Name of the socket for requests.
pub(crate) const HTTP_SOCKET: &str = "http";
/// Name of the socket on which handlers are triggered by hand (`/cdn-cgi/handler/scheduled`).
pub(crate) const TRIGGER_SOCKET: &str = "triggers";
/// Name of the socket on which traces are wanted or not.
pub(crate) const TRACE_SOCKET: &str = "traces";
/// The request header that becomes `request.cf`, JSON. `berth-gateway` sets it under the same name.
const CF_HEADER: &str = "berth-cf";

/// Everything that the parts of a configuration share.
struct Context<'a> {
    project: &'a Project,
    bundle: &'a Bundle,
    options: &'a ComposeOptions,
}

/// The text of workerd's configuration: a Cap'n Proto file with the constant `config`. Files that it
/// embeds are named from the root (`--import-path /`), so it may be anywhere. Creates the state directories it refers to.
///
/// # Errors
///
/// A state directory that cannot be created, or a file of the assets that cannot be read.
pub fn compose(
    project: &Project,
    bundle: &Bundle,
    options: &ComposeOptions,
) -> Result<String, ComposeError> {
    let context = Context {
        project,
        bundle,
        options,
    };
    let server = options.server.as_ref();
    let mut services = vec![internet(server.is_none_or(|server| server.loopback))];
    if !bundle.modules.is_empty() {
        services.push(worker::service(&context));
    }
    services.extend(platform::services(&context)?);
    services.extend(r2::services(&context));
    services.extend(assets::service(&context)?);
    if let Some(trace) = tail::wanted(&context) {
        services.extend(tail::services(trace));
    }
    let config = record([
        ("services", services.into()),
        ("sockets", sockets(&context).into()),
        ("extensions", server::extensions(options.server.as_ref())),
        ("logging", logging()),
    ]);
    Ok(file(&project.config_path.display().to_string(), &config))
}

/// The configuration file of what is called `of`.
pub(crate) fn file(of: &str, config: &Capnp) -> String {
    format!(
        "# workerd's configuration of {of}, written by Berth. Changes are lost.\n\
         using Workerd = import \"/workerd/workerd.capnp\";\n\n\
         const config :Workerd.Config = {};\n",
        config.print(0)
    )
}

/// As the supervisor reads it.
pub(crate) fn logging() -> Capnp {
    record([
        ("structuredLogging", true.into()),
        ("stdoutPrefix", "".into()),
        ("stderrPrefix", "".into()),
    ])
}

/// Whether a workerd with this configuration (of [`compose()`]) keeps anything of its own, so that no second
/// one may run beside it: state, which is always on a disk that it may write, or sockets besides that for
/// requests.
pub fn keeps_state(config: &str) -> bool {
    let triggers = format!("name = \"{TRIGGER_SOCKET}\"");
    let entrypoint = format!("name = \"{}", server::ENTRYPOINT_SOCKET);
    ["writable = true", &triggers, &entrypoint]
        .iter()
        .any(|sign| config.contains(sign))
}

/// Where clouds keep the credentials of their machines. A class that passes its container's
/// requests on asks for whatever host the container names.
const METADATA: [&str; 5] = [
    "169.254.0.0/16",
    "100.100.100.200/32",
    "168.63.129.16/32",
    "fe80::/10",
    "fd00:ec2::254/128",
];

/// Workers' own `fetch()` and the containers' egress. Unlike on Cloudflare's network, private
/// addresses are allowed: what runs here is the user's own, and so is what it wants to reach. Those of
/// this machine alone (`loopback`) are a server's own matter, and a Worker that passes on what its
/// container asks for would lead there, too.
pub(crate) fn internet(loopback: bool) -> Capnp {
    let denied = METADATA.into_iter().chain((!loopback).then_some("local"));
    let network = record([
        ("allow", texts(["public", "private"])),
        ("deny", texts(denied)),
        ("tlsOptions", record([("trustBrowserCas", true.into())])),
    ]);
    record([("name", "internet".into()), ("network", network)])
}

fn sockets(context: &Context<'_>) -> Vec<Capnp> {
    let front = if context.project.assets.is_some() {
        assets::SERVICE
    } else {
        &context.project.name
    };
    let mut sockets = Vec::new();
    if platform::has_triggers(context) {
        sockets.push(socket(context, TRIGGER_SOCKET, platform::TRIGGERS));
    }
    if let Some(server) = &context.options.server {
        sockets.extend(server::sockets(context, server));
    }
    if tail::wanted(context).is_some() {
        sockets.push(socket(context, TRACE_SOCKET, tail::SWITCH));
    }
    // Last: workerd reports its sockets in this order, and this one means that it is ready.
    sockets.push(socket(context, HTTP_SOCKET, front));
    sockets
}

fn socket(context: &Context<'_>, name: &str, service: &str) -> Capnp {
    let address = match &context.options.listen {
        Listen::Loopback => "127.0.0.1:0".to_owned(),
        Listen::Unix(path) => format!("unix:{}", socket_path(path, name).display()),
    };
    record([
        ("name", name.into()),
        ("address", address.into()),
        ("http", record([("cfBlobHeader", CF_HEADER.into())])),
        ("service", service.into()),
    ])
}

/// The path of a socket: the given one for requests, with the socket's name behind it for others.
pub(crate) fn socket_path(path: &Path, name: &str) -> PathBuf {
    if name == HTTP_SOCKET {
        return path.to_owned();
    }
    let mut path = path.as_os_str().to_owned();
    path.push("-");
    path.push(name);
    path.into()
}

/// A service on a directory, which is created.
fn disk(context: &Context<'_>, name: &str, below: &str) -> Result<Capnp, ComposeError> {
    directory(name, context.options.state_dir.join(below))
}

/// A service on a directory, which is created.
pub(crate) fn directory(name: &str, path: PathBuf) -> Result<Capnp, ComposeError> {
    fs_err::create_dir_all(&path).map_err(|source| ComposeError::Write {
        path: path.clone(),
        source,
    })?;
    let disk = record([
        ("path", path.to_string_lossy().as_ref().into()),
        ("writable", true.into()),
    ]);
    Ok(record([("name", name.into()), ("disk", disk)]))
}

/// A reference to a service with props.
fn with_props(name: &str, entrypoint: Option<&str>, props: serde_json::Value) -> Capnp {
    let mut fields = vec![("name", name.into())];
    fields.extend(entrypoint.map(|entrypoint| ("entrypoint", entrypoint.into())));
    fields.push(("props", record([("json", props.into())])));
    Capnp::Struct(fields)
}

/// The uniqueKey of a Durable Object class: `<worker>-<class>` in characters a container name may
/// have. Container names are `workerd-<session>-<uniqueKey>-<object id>`.
///
/// A character that Docker does not allow becomes `.` and its code point in hexadecimal, so that
/// different classes have different keys.
pub fn unique_key(worker: &str, class_name: &str) -> String {
    let mut key = String::new();
    for char in format!("{worker}-{class_name}").chars() {
        if char.is_ascii_alphanumeric() || matches!(char, '_' | '-') {
            key.push(char);
        } else {
            key.push_str(&format!(".{:x}.", char as u32));
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_keys_are_safe_and_distinct() {
        assert_eq!(unique_key("my-app", "Chat_Room2"), "my-app-Chat_Room2");
        assert_eq!(unique_key("app", "A$b"), "app-A.24.b");
        assert_ne!(unique_key("app", "A$"), unique_key("app", "A_24"));
    }
}
