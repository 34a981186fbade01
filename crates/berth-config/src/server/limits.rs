//! Numbers of `berth.toml`: limits, sizes of instances, prices.

use super::units::{duration, size, size_or_unlimited};
use super::{GatewayConfig, LimitsConfig, PricesConfig};
use crate::Resources;
use crate::decode::{Field, Fields, InstanceTypes, may_be_called};
use crate::server::listen::networks;

/// Most virtual CPUs that a machine is believed to have.
const MOST_VCPU: f64 = 4096.0;
/// Least share of one.
const LEAST_VCPU: f64 = 0.01;
/// Least bytes of a head: fewer would refuse every browser.
const LEAST_HEADER: u64 = 8 << 10;
/// Most bytes of a head: what workerd takes.
const MOST_HEADER: u64 = 256 << 10;

pub(super) fn gateway(fields: Fields<'_>) -> GatewayConfig {
    let mut gateway = GatewayConfig::default();
    let time = |key, value: &mut std::time::Duration| {
        if let Some(found) = fields.get(key).and_then(|field| duration(&field)) {
            *value = found;
        }
    };
    time("header_timeout", &mut gateway.header_timeout);
    time("body_timeout", &mut gateway.body_timeout);
    time("idle_timeout", &mut gateway.idle_timeout);
    time("hold", &mut gateway.hold);
    time("drain", &mut gateway.drain);
    if let Some(found) = fields
        .get("max_header_size")
        .and_then(|field| header(&field))
    {
        gateway.max_header_size = found;
    }
    if let Some(found) = fields
        .get("max_headers")
        .and_then(|field| field.whole(16, 4096))
    {
        gateway.max_headers = found;
    }
    let connections = fields.get("max_connections");
    if let Some(found) = connections.and_then(|field| field.whole(1, 1_000_000)) {
        gateway.max_connections = found;
    }
    let body = fields.get("max_body_size");
    if let Some(found) = body.and_then(|field| size_or_unlimited(&field)) {
        gateway.max_body_size = found;
    }
    if let Some(field) = fields.get("trusted_proxies") {
        gateway.trusted_proxies = networks(&field);
    }
    fields.finish_strict();
    gateway
}

fn header(field: &Field<'_>) -> Option<u64> {
    let bytes = size(field)?;
    if (LEAST_HEADER..=MOST_HEADER).contains(&bytes) {
        return Some(bytes);
    }
    let message = format!("`{}` is out of range", field.path);
    field.cx.error(field.span(), message, "from 8KiB to 256KiB");
    None
}

pub(super) fn limits(fields: Fields<'_>) -> LimitsConfig {
    let limits = LimitsConfig {
        vcpu: fields.get("vcpu").and_then(|field| vcpu(&field)),
        memory: fields.get("memory").and_then(|field| size(&field)),
        disk: fields.get("disk").and_then(|field| size(&field)),
    };
    fields.finish_strict();
    limits
}

fn vcpu(field: &Field<'_>) -> Option<f64> {
    let number = field.number()?;
    if (LEAST_VCPU..=MOST_VCPU).contains(&number.value) {
        return Some(number.value);
    }
    let message = format!("`{}` is out of range: {}", field.path, number.value);
    let hint = format!("from {LEAST_VCPU} to {MOST_VCPU} virtual CPUs");
    field.cx.error(&number.span, message, hint);
    None
}

/// Adds to and changes the types that there are.
pub(super) fn instance_types(field: &Field<'_>, types: &mut InstanceTypes) {
    for (entry, one) in field.members() {
        let Some(fields) = one.fields() else {
            continue;
        };
        let whole = |key| {
            fields
                .require(key)
                .and_then(|field| field.whole(1, u32::MAX))
        };
        let vcpu = fields.require("vcpu").and_then(|field| vcpu(&field));
        let (memory, disk) = (whole("memory_mib"), whole("disk_mb"));
        fields.finish_strict();
        if !may_be_called(&entry.key) {
            let message = format!("an instance type cannot be called `{}`", entry.key);
            let hint = "lower-case letters, digits and `-`; `custom` has another meaning";
            one.cx.error(&entry.key_span, message, hint);
        } else if let (Some(vcpu), Some(memory), Some(disk)) = (vcpu, memory, disk) {
            let size = Resources {
                vcpu,
                memory_mib: memory.into(),
                disk_mb: disk.into(),
            };
            types.set(&entry.key, size);
        }
    }
}

pub(super) fn prices(fields: Fields<'_>) -> PricesConfig {
    let mut prices = PricesConfig::default();
    if let Some(currency) = fields.text("currency") {
        prices.currency = currency.value;
    }
    let price = |key, value: &mut f64| {
        if let Some(found) = fields.get(key).and_then(|field| price(&field)) {
            *value = found;
        }
    };
    price("vcpu_second", &mut prices.vcpu_second);
    price("memory_gib_second", &mut prices.memory_gib_second);
    price("disk_gb_second", &mut prices.disk_gb_second);
    price("egress_gb", &mut prices.egress_gb);
    price("million_requests", &mut prices.million_requests);
    fields.finish_strict();
    prices
}

fn price(field: &Field<'_>) -> Option<f64> {
    let number = field.number()?;
    if number.value >= 0.0 {
        return Some(number.value);
    }
    let message = format!("`{}` is negative", field.path);
    field
        .cx
        .error(&number.span, message, "a price is 0 or more");
    None
}
