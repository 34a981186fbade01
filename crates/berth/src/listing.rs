//! Containers as `berth ps` shows them: of a session, or of a server that is asked for them.

use berth_docker::client::{ContainerSummary, ContainerUsage};
use serde_json::{Value, json};

/// One container, for tools.
pub(crate) fn row(container: &ContainerSummary) -> Value {
    json!({
        "instance": container.display_name,
        "state": container.state,
        "status": container.status,
        "asleep": container.asleep,
        "sleepless": container.sleepless,
        "usage": container.metered.as_ref().map(usage),
        "image": container.image,
        "name": container.name,
        "id": container.id,
        "created": container.created,
        "exit_code": container.exit_code,
    })
}

/// What it has used.
fn usage(used: &ContainerUsage) -> Value {
    json!({
        "cpu_ns": used.cpu_ns,
        "running_ms": used.running_ms,
        "frozen_ms": used.frozen_ms,
        "stored_ms": used.stored_ms,
        "memory_bytes": used.memory_bytes,
        "memory_byte_ms": used.memory_byte_ms,
        "ingress_bytes": used.ingress_bytes,
        "egress_bytes": used.egress_bytes,
    })
}
