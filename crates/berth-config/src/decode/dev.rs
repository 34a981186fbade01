//! `dev`.

use std::net::{IpAddr, Ipv4Addr};

use super::field::Field;
use super::root::Root;
use crate::Dev;

/// How `berth dev` runs.
pub(crate) fn dev(root: &Root<'_>) -> Dev {
    let mut dev = Dev {
        ip: None,
        port: None,
        enable_containers: true,
    };
    let Some(fields) = root.get("dev").and_then(|field| field.fields()) else {
        return dev;
    };
    dev.ip = fields.get("ip").and_then(|field| ip(&field));
    dev.port = fields
        .get("port")
        .and_then(|field| field.whole(0, u16::MAX.into()))
        .and_then(|port| u16::try_from(port).ok());
    if let Some(enable) = fields.get("enable_containers") {
        dev.enable_containers = enable.boolean().unwrap_or(true);
    }
    if let Some(protocol) = fields.get("local_protocol")
        && let Some(chosen) = protocol.choice(&["http", "https"])
        && chosen.value == "https"
    {
        root.cx.warn(
            &chosen.span,
            "`dev.local_protocol` is ignored: Berth serves plain HTTP in development",
            "put a TLS proxy in front if the project needs it",
        );
    }
    fields.ignore(&[
        "inspector_port",
        "inspector_ip",
        "upstream_protocol",
        "host",
        "container_engine",
        "generate_types",
    ]);
    fields.finish();
    dev
}

/// `localhost` is the default and so `None`; `*` is every address, as wrangler says it.
fn ip(field: &Field<'_>) -> Option<IpAddr> {
    let text = field.text()?;
    match text.value.as_str() {
        "localhost" => None,
        "*" => Some(Ipv4Addr::UNSPECIFIED.into()),
        other => {
            let address = other.parse().ok();
            if address.is_none() {
                field.cx.error(
                    &text.span,
                    format!("`{other}` is not an IP address"),
                    "for example `127.0.0.1`, or `0.0.0.0` for every interface",
                );
            }
            address
        }
    }
}
