//! The tree of `berth.toml` → [`ServerConfig`].

use super::exports::web_address;
use super::limits::{gateway, instance_types, limits, prices};
use super::listen::{acme, listen, name, path, tls};
use super::units::{duration, duration_or_never, size, size_or_unlimited};
use super::{
    ContainersConfig, DeployConfig, ImagesConfig, LogsConfig, R2Config, ServerConfig,
    VersionsConfig,
};
use crate::decode::{Cx, Fields};
use crate::value::Value;

pub(super) fn decode(cx: &Cx<'_>, root: &Value) -> ServerConfig {
    let mut config = ServerConfig::default();
    let fields = Fields::root(cx, root);
    let table = |key| fields.get(key).and_then(|field| field.fields());
    config.data_dir = fields.get("data_dir").and_then(|field| path(&field));
    if let Some(domain) = fields.get("base_domain").and_then(|field| name(&field)) {
        config.base_domain = domain;
    }
    if let Some(location) = fields.text("location") {
        config.location = location.value;
    }
    if let Some(fields) = table("listen") {
        config.listen = listen(fields);
    }
    if let Some(fields) = table("tls") {
        config.tls = tls(fields);
    }
    config.acme = table("acme").and_then(acme);
    if let Some(fields) = table("gateway") {
        config.gateway = gateway(fields);
    }
    if let Some(fields) = table("deploy") {
        config.deploy = deploy(fields, config.deploy);
    }
    if let Some(fields) = table("limits") {
        config.limits = limits(fields);
    }
    if let Some(fields) = table("versions") {
        config.versions = versions(fields, config.versions);
    }
    config.r2 = table("r2").and_then(r2);
    if let Some(fields) = table("logs") {
        config.logs = logs(fields, config.logs);
    }
    if let Some(fields) = table("workers") {
        let loopback = fields.get("loopback").and_then(|field| field.boolean());
        config.workers.loopback = loopback.unwrap_or(config.workers.loopback);
        fields.finish_strict();
    }
    if let Some(fields) = table("containers") {
        config.containers = containers(&fields);
        fields.finish_strict();
    }
    if let Some(fields) = table("images") {
        config.images = images(fields);
    }
    if let Some(field) = fields.get("instance_types") {
        instance_types(&field, &mut config.instance_types);
    }
    if let Some(fields) = table("prices") {
        config.prices = prices(fields);
    }
    together(&fields, &config);
    fields.finish_strict();
    config
}

/// What needs something else.
fn together(fields: &Fields<'_>, config: &ServerConfig) {
    let no_certificate = config.tls.certificates.is_empty() && config.acme.is_none();
    if let Some(listen) = fields.get("listen")
        && !config.listen.https.is_empty()
        && no_certificate
        && fields.get("tls").is_none()
        && fields.get("acme").is_none()
    {
        let message = "`listen.https` needs a certificate".to_owned();
        let hint = "add `[[tls.certificates]]` with `certificate` and `key`, or `[acme]`";
        listen.cx.error(&listen.key_span, message, hint);
    }
    if let Some(table) = fields.get("deploy").or_else(|| fields.get("gateway"))
        && config.deploy.drain >= config.gateway.hold
    {
        let message = "`deploy.drain` is not shorter than `gateway.hold`".to_owned();
        let hint =
            "requests that wait for a new version would give up first: make `gateway.hold` longer";
        table.cx.error(&table.key_span, message, hint);
    }
    let without = config.listen.https.is_empty();
    if let Some(tls) = fields.get("tls")
        && without
        && config.tls.redirect
    {
        let message = "`tls.redirect` leads to nowhere: nothing listens with TLS".to_owned();
        let hint = "add `https = \"0.0.0.0:443\"` to `[listen]`";
        tls.cx.error(&tls.key_span, message, hint);
    }
}

fn deploy(fields: Fields<'_>, mut deploy: DeployConfig) -> DeployConfig {
    if let Some(found) = fields.get("drain").and_then(|field| duration(&field)) {
        deploy.drain = found;
    }
    if let Some(found) = fields.get("stop_grace").and_then(|field| duration(&field)) {
        deploy.stop_grace = found;
    }
    fields.finish_strict();
    deploy
}

fn versions(fields: Fields<'_>, mut versions: VersionsConfig) -> VersionsConfig {
    if let Some(found) = fields.get("keep").and_then(|field| field.whole(1, 10_000)) {
        versions.keep = found;
    }
    let age = fields.get("max_age");
    if let Some(found) = age.and_then(|field| duration_or_never(&field)) {
        versions.max_age = found;
    }
    fields.finish_strict();
    versions
}

fn logs(fields: Fields<'_>, mut logs: LogsConfig) -> LogsConfig {
    if let Some(found) = fields.get("retention").and_then(|field| duration(&field)) {
        logs.retention = found;
    }
    if let Some(found) = fields.get("max_size").and_then(|field| size(&field)) {
        logs.max_size = found;
    }
    logs.export = super::exports::exports(&fields);
    fields.finish_strict();
    logs
}

fn r2(fields: Fields<'_>) -> Option<R2Config> {
    let bucket = fields.require("bucket").and_then(|field| field.text());
    let prefix = fields.text("prefix").map(|text| text.value);
    let endpoint = match fields.get("endpoint") {
        None => Some(None),
        Some(field) => web_address(&field).map(Some),
    };
    fields.finish_strict();
    Some(R2Config {
        bucket: bucket?.value,
        prefix: prefix.unwrap_or_else(|| "r2".to_owned()),
        endpoint: endpoint?,
    })
}

fn containers(fields: &Fields<'_>) -> ContainersConfig {
    let usual = ContainersConfig::default();
    let switch = |name: &'static str| fields.get(name).and_then(|field| field.boolean());
    let keep_for = fields.get("keep_for").and_then(|field| duration(&field));
    ContainersConfig {
        fuse: switch("fuse").unwrap_or(usual.fuse),
        keep_on_stop: switch("keep_on_stop").unwrap_or(usual.keep_on_stop),
        keep_for: keep_for.unwrap_or(usual.keep_for),
    }
}

fn images(fields: Fields<'_>) -> ImagesConfig {
    let max_size = fields.get("max_size");
    let images = ImagesConfig {
        max_size: max_size
            .and_then(|field| size_or_unlimited(&field))
            .flatten(),
    };
    fields.finish_strict();
    images
}
