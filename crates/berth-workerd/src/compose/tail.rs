//! The Worker that tells what the project's Worker does: requests, alarms, their logs and exceptions.
//!
//! workerd collects an invocation's trace when the Worker names a service in `tails`, and calls that
//! service when the invocation has ended. Ours is asleep until it is told over its own socket that
//! somebody wants to know; what it is given it then sends on over a Unix socket, many at once under load.

use super::{Context, TraceOptions};
use crate::capnp::{Capnp, record};

/// The service, and its place in the Worker's `tails`.
const SERVICE: &str = "berth:tail";
/// Where it sends.
const SINK: &str = "berth:trace-sink";
const MODULE: &str = include_str!("tail.js");
const DATE: &str = "2026-01-01";

/// How traces go, if there are any: an app of assets alone has no Worker to be traced.
pub(super) fn wanted<'a>(context: &Context<'a>) -> Option<&'a TraceOptions> {
    let trace = context.options.trace.as_ref();
    trace.filter(|_| !context.bundle.modules.is_empty())
}

/// What the project's Worker says of it.
pub(super) fn tails() -> Capnp {
    Capnp::List(vec![SERVICE.into()])
}

/// The Worker and where it sends.
pub(super) fn services(trace: &TraceOptions) -> [Capnp; 2] {
    let module = record([("name", "tail.js".into()), ("esModule", MODULE.into())]);
    let binding =
        |name: &str, kind: &'static str, value| record([("name", name.into()), (kind, value)]);
    let bindings = vec![
        binding("SINK", "service", SINK.into()),
        binding("PATH", "text", trace.path.as_str().into()),
    ];
    let worker = record([
        ("modules", Capnp::List(vec![module])),
        ("compatibilityDate", DATE.into()),
        ("bindings", bindings.into()),
    ]);
    let address = format!("unix:{}", trace.sink.display());
    let sink = record([("address", address.into()), ("http", record([]))]);
    [
        record([("name", SERVICE.into()), ("worker", worker)]),
        record([("name", SINK.into()), ("external", sink)]),
    ]
}

/// The service that its own socket leads to.
pub(super) const SWITCH: &str = SERVICE;
