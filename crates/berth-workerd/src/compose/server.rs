//! What a server adds to a Worker's configuration: KV, D1 and queues are in the server's data plane, which
//! is another process; other Workers are called, and call, over sockets; secrets come from stores.
//!
//! A binding's props name its resource, and props do not travel over a socket. So each resource is a
//! service of its own, whose client puts the name into a header that a Worker cannot set.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::{Context, Listen, with_props};
use crate::capnp::{Capnp, record, texts};

/// The header that names a resource of the data plane.
pub const RESOURCE_HEADER: &str = "berth-resource";
/// A `CONNECT` to this host is RPC between two workerd processes.
const RPC_HOST: &str = "berth-rpc";
/// How the name of an entrypoint's socket begins.
pub(super) const ENTRYPOINT_SOCKET: &str = "entry-";
const PLANE: &str = "berth:plane";
const D1_RPC: &str = "berth:d1-rpc";
const D1_RPC_MODULE: &str = include_str!("d1-rpc.js");
/// With it D1's binding calls by RPC, to which no header can be given.
const D1_RPC_FLAG: &str = "d1_binding_jsrpc";
const SECRET_MODULE: &str = "berth:secret";
const SECRET_SOURCE: &str = include_str!("secret.js");

/// What a server gives a Worker, and wants of it.
#[derive(Clone, Debug, Default)]
pub struct ServerSide {
    /// Socket of the data plane.
    pub data_plane: PathBuf,
    /// Sockets of other Workers, by the name of the service binding.
    pub peers: BTreeMap<String, PathBuf>,
    /// What other Workers call of this one.
    pub entrypoints: Vec<Entrypoint>,
    /// Secrets of stores by binding; `None`: there is no such secret any more.
    pub store_secrets: BTreeMap<String, Option<String>>,
    /// It consumes a queue.
    pub consumes: bool,
    /// It may reach this machine's loopback addresses.
    pub loopback: bool,
}

/// What another Worker calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entrypoint {
    /// The class; `None`: the default export.
    pub class: Option<String>,
    /// `ctx.props` there, as JSON.
    pub props: Option<String>,
}

impl Entrypoint {
    /// Its socket, beside the one that the Worker listens on.
    pub fn socket(&self, listen: &Path) -> PathBuf {
        super::socket_path(listen, &self.name())
    }

    fn name(&self) -> String {
        use sha2::{Digest as _, Sha256};
        let key = format!("{:?}", (&self.class, &self.props));
        let digest = Sha256::digest(key.as_bytes());
        digest[..6]
            .iter()
            .fold(ENTRYPOINT_SOCKET.to_owned(), |name, byte| {
                format!("{name}{byte:02x}")
            })
    }
}

/// The service behind a KV namespace's binding.
pub(super) fn kv(id: &str) -> Capnp {
    resource("kv", id).into()
}

/// The service behind a queue's binding.
pub(super) fn queue(name: &str) -> Capnp {
    resource("queue", name).into()
}

/// The service behind a D1 database's binding.
pub(super) fn d1(context: &Context<'_>, id: &str) -> Capnp {
    if by_rpc(context) {
        return with_props(D1_RPC, None, json!({ "resource": resource("d1", id) }));
    }
    resource("d1", id).into()
}

fn resource(kind: &str, id: &str) -> String {
    format!("{kind}/{}", utf8_percent_encode(id, NON_ALPHANUMERIC))
}

fn by_rpc(context: &Context<'_>) -> bool {
    let mut flags = context.project.compatibility_flags.iter();
    flags.any(|flag| flag == D1_RPC_FLAG)
}

/// The service behind a binding for another Worker.
pub(super) fn peer(binding: &str) -> Capnp {
    format!("berth:peer:{binding}").into()
}

/// The service of each resource, of each other Worker.
pub(super) fn services(context: &Context<'_>, server: &ServerSide) -> Vec<Capnp> {
    let project = context.project;
    let kv = project
        .kv_namespaces
        .iter()
        .map(|namespace| resource("kv", &namespace.id));
    let queues = project
        .queue_producers
        .iter()
        .map(|producer| resource("queue", &producer.queue));
    let mut resources: BTreeSet<String> = kv.chain(queues).collect();
    let rpc = !project.d1_databases.is_empty() && by_rpc(context);
    if !rpc {
        let databases = project.d1_databases.iter();
        resources.extend(databases.map(|database| resource("d1", &database.database_id)));
    }
    let mut services: Vec<Capnp> = resources
        .into_iter()
        .map(|resource| {
            let header = record([
                ("name", RESOURCE_HEADER.into()),
                ("value", resource.as_str().into()),
            ]);
            let http = record([("injectRequestHeaders", Capnp::List(vec![header]))]);
            external(&resource, &server.data_plane, http)
        })
        .collect();
    if rpc {
        services.push(external(PLANE, &server.data_plane, record([])));
        services.push(d1_rpc());
    }
    for (binding, socket) in &server.peers {
        let name = format!("berth:peer:{binding}");
        services.push(external(&name, socket, rpc_options()));
    }
    services
}

fn external(name: &str, socket: &Path, http: Capnp) -> Capnp {
    let server = record([
        ("address", format!("unix:{}", socket.display()).into()),
        ("http", http),
    ]);
    record([("name", name.into()), ("external", server)])
}

fn rpc_options() -> Capnp {
    record([("capnpConnectHost", RPC_HOST.into())])
}

fn d1_rpc() -> Capnp {
    let module = record([
        ("name", "d1-rpc.js".into()),
        ("esModule", D1_RPC_MODULE.into()),
    ]);
    let plane = record([("name", "PLANE".into()), ("service", PLANE.into())]);
    let worker = record([
        ("modules", Capnp::List(vec![module])),
        ("compatibilityDate", super::platform::BUNDLED_DATE.into()),
        ("compatibilityFlags", texts(Vec::<String>::new())),
        ("bindings", Capnp::List(vec![plane])),
    ]);
    record([("name", D1_RPC.into()), ("worker", worker)])
}

/// A socket for everything that other Workers call.
pub(super) fn sockets(context: &Context<'_>, server: &ServerSide) -> Vec<Capnp> {
    let Listen::Unix(listen) = &context.options.listen else {
        return Vec::new();
    };
    let entrypoints = server.entrypoints.iter().map(|entrypoint| {
        let mut service = vec![("name", context.project.name.as_str().into())];
        let class = entrypoint.class.as_deref();
        service.extend(class.map(|class| ("entrypoint", class.into())));
        let props = entrypoint.props.as_deref();
        service.extend(props.map(|props| ("props", record([("json", props.into())]))));
        let address = format!("unix:{}", entrypoint.socket(listen).display());
        record([
            ("name", entrypoint.name().into()),
            ("address", address.into()),
            ("http", rpc_options()),
            ("service", Capnp::Struct(service)),
        ])
    });
    entrypoints.collect()
}

/// Bindings for secrets of stores: objects whose `get()` gives the value.
pub(super) fn secrets(server: &ServerSide) -> Vec<Capnp> {
    let secrets = server.store_secrets.iter().map(|(name, value)| {
        let inner = |name: &str, text: &str| record([("name", name.into()), ("text", text.into())]);
        let mut bindings = vec![inner("name", name)];
        bindings.extend(value.as_deref().map(|value| inner("value", value)));
        let wrapped = record([
            ("moduleName", SECRET_MODULE.into()),
            ("innerBindings", Capnp::List(bindings)),
        ]);
        record([("name", name.as_str().into()), ("wrapped", wrapped)])
    });
    secrets.collect()
}

/// The modules that bindings for secrets are made of.
pub(super) fn extensions(server: Option<&ServerSide>) -> Capnp {
    let needed = server.is_some_and(|server| !server.store_secrets.is_empty());
    let extensions = needed.then(|| {
        let module = record([
            ("name", SECRET_MODULE.into()),
            ("internal", true.into()),
            ("esModule", SECRET_SOURCE.into()),
        ]);
        record([("modules", Capnp::List(vec![module]))])
    });
    Capnp::List(extensions.into_iter().collect())
}
