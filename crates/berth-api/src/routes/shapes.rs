//! What wrangler sends of container applications, for the description: these requests are checked by
//! `berth-control` and kept word for word, whatever else is in them.
#![allow(dead_code, reason = "the description only")]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

#[derive(JsonSchema)]
pub(super) struct NewApplication {
    name: String,
    /// `default` or `durable_object`.
    scheduling_policy: Option<String>,
    instances: Option<u32>,
    max_instances: Option<u32>,
    configuration: Option<Configuration>,
    durable_objects: Option<Objects>,
    constraints: Option<BTreeMap<String, Value>>,
    /// Seconds.
    rollout_active_grace_period: Option<u64>,
}

#[derive(JsonSchema)]
pub(super) struct ChangedApplication {
    max_instances: Option<u32>,
    configuration: Option<Configuration>,
    constraints: Option<BTreeMap<String, Value>>,
    /// Seconds.
    rollout_active_grace_period: Option<u64>,
}

#[derive(JsonSchema)]
struct Objects {
    /// The class's.
    namespace_id: String,
}

#[derive(JsonSchema)]
struct Configuration {
    image: Option<String>,
    instance_type: Option<String>,
    vcpu: Option<f64>,
    memory_mib: Option<u64>,
    disk: Option<Disk>,
}

#[derive(JsonSchema)]
struct Disk {
    size_mb: Option<u64>,
}

#[derive(JsonSchema)]
pub(super) struct NewRollout {
    description: Option<String>,
    /// `rolling`.
    strategy: Option<String>,
    target_configuration: Option<Configuration>,
    step_percentage: Option<u32>,
    steps: Option<Vec<NewStep>>,
    /// `full_auto` or `full_manual`.
    kind: Option<String>,
}

#[derive(JsonSchema)]
struct NewStep {
    step_size: Size,
    description: Option<String>,
}

#[derive(JsonSchema)]
struct Size {
    percentage: u32,
}
