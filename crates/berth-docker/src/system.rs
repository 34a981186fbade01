//! What Docker clients ask about the engine itself.

use std::sync::Arc;

use berth_engine::{ContainerInfo, Event, Status};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use tokio_stream::wrappers::BroadcastStream;

use crate::api::Api;
use crate::filters::{Candidate, Filters};
use crate::query::Query;
use crate::respond::{Body, Reply, ok, streamed, typed};
use crate::time;

/// Newest version of Docker's API that the answers here follow.
const API_VERSION: &str = "1.44";
const MIN_API_VERSION: &str = "1.24";

/// Address of the host as workerd sees it; its egress listener binds here.
const GATEWAY: &str = "127.0.0.1";

/// The docker command reads the API version from the headers.
pub(crate) fn ping() -> Response<Body> {
    let mut response = typed(StatusCode::OK, "text/plain; charset=utf-8", "OK");
    let headers: &mut HeaderMap = response.headers_mut();
    for (name, value) in [
        ("api-version", API_VERSION),
        ("ostype", "linux"),
        ("docker-experimental", "false"),
        ("builder-version", "1"),
        ("cache-control", "no-cache, no-store, must-revalidate"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

pub(crate) fn version() -> Response<Body> {
    ok(&json!({
        "Platform": {"Name": "Berth"},
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": "linux",
        "Arch": architecture(),
        "KernelVersion": rustix::system::uname().release().to_string_lossy(),
    }))
}

/// No `rootless` among the security options: wrangler would ask for devices and capabilities.
pub(crate) fn info(api: &Api) -> Response<Body> {
    let containers = api.engine.list();
    let running = containers
        .iter()
        .filter(|container| container.status == Status::Running)
        .count();
    let system = rustix::system::sysinfo();
    ok(&json!({
        "Name": rustix::system::uname().nodename().to_string_lossy(),
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Containers": containers.len(),
        "ContainersRunning": running,
        "ContainersPaused": 0,
        "ContainersStopped": containers.len() - running,
        "Driver": "overlay2",
        "DriverStatus": [["Backing Filesystem", "overlayfs"]],
        "DockerRootDir": api.engine.images().root().to_string_lossy(),
        "OSType": "linux",
        "OperatingSystem": "Berth",
        "Architecture": rustix::system::uname().machine().to_string_lossy(),
        "KernelVersion": rustix::system::uname().release().to_string_lossy(),
        "NCPU": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "MemTotal": system.totalram * u64::from(system.mem_unit),
        "SecurityOptions": ["name=seccomp,profile=builtin"],
        "Warnings": Value::Null,
    }))
}

/// The architecture in Docker's words.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The second entry says that containers have IPv6: every address is local in their namespaces.
fn bridge_json() -> Value {
    json!({
        "Name": "bridge",
        "Id": "b".repeat(64),
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv6": true,
        "IPAM": {
            "Driver": "default",
            "Config": [
                {"Subnet": "127.0.0.0/8", "Gateway": GATEWAY},
                {"Subnet": "fd42:1::/64", "Gateway": "fd42:1::1"},
            ],
        },
        "Internal": false,
        "Containers": {},
        "Options": {},
        "Labels": {},
    })
}

pub(crate) fn bridge() -> Response<Body> {
    ok(&bridge_json())
}

pub(crate) fn networks() -> Response<Body> {
    ok(&json!([bridge_json()]))
}

/// Container events as JSON lines, from now until the client leaves.
pub(crate) fn events(api: &Arc<Api>, query: &Query) -> Reply {
    let mut filters = query.get("filters");
    // `{"type":["container"]}` and the like: all we have are container events.
    filters.take_if(|text| text.contains("\"type\"") || text.contains("\"event\""));
    let filters = Filters::parse(filters)?;
    let cancelled = api.cancelled();
    let lines = BroadcastStream::new(api.engine.events())
        .filter_map(move |event| {
            let line = event.ok().and_then(|event| event_line(&event, &filters));
            std::future::ready(line)
        })
        .take_until(async move { cancelled.cancelled().await });
    Ok(streamed("application/json", lines))
}

fn event_line(event: &Event, filters: &Filters) -> Option<Bytes> {
    let (action, info): (&str, &ContainerInfo) = match event {
        Event::Created(info) => ("create", info),
        Event::Started(info) => ("start", info),
        Event::Exited(info) => ("die", info),
        Event::Removed(info) => ("destroy", info),
        _ => return None,
    };
    let candidate = Candidate {
        id: &info.id,
        name: &info.name,
        image: &info.image,
        image_id: &info.image_id,
        status: "",
        labels: &info.labels,
    };
    if !filters.matches(&candidate) {
        return None;
    }
    let mut attributes = json!({"name": info.name, "image": info.image});
    if let Some(exit) = info.exit.filter(|_| action == "die") {
        attributes["exitCode"] = exit.code.to_string().into();
    }
    let now = time::now_ms();
    let line = json!({
        "Type": "container",
        "Action": action,
        "status": action,
        "id": info.id,
        "from": info.image,
        "Actor": {"ID": info.id, "Attributes": attributes},
        "scope": "local",
        "time": now / 1000,
        "timeNano": now.saturating_mul(1_000_000),
    });
    Some(Bytes::from(format!("{line}\n")))
}
