//! Addresses, names and files of `berth.toml`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::units::duration;
use super::{AcmeConfig, CertificateFiles, ListenConfig, TlsConfig};
use crate::decode::{Field, Fields};

/// Let's Encrypt.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

pub(super) fn listen(fields: Fields<'_>) -> ListenConfig {
    let mut listen = ListenConfig::default();
    if let Some(field) = fields.get("http") {
        listen.http = addresses(&field);
    }
    if let Some(field) = fields.get("https") {
        listen.https = addresses(&field);
    }
    if let Some(address) = fields.get("api").and_then(|field| address(&field)) {
        listen.api = address;
    }
    if let Some(address) = fields.get("registry").and_then(|field| address(&field)) {
        listen.registry = address;
    }
    listen.s3 = fields.get("s3").and_then(|field| address(&field));
    listen.metrics = fields.get("metrics").and_then(|field| address(&field));
    if let Some(insecure) = fields.get("insecure").and_then(|field| field.boolean()) {
        listen.insecure = insecure;
    }
    twice(&fields, &listen);
    fields.finish_strict();
    listen
}

/// The same port cannot be listened on twice.
fn twice(fields: &Fields<'_>, listen: &ListenConfig) {
    let one = [
        Some(listen.api),
        Some(listen.registry),
        listen.s3,
        listen.metrics,
    ];
    let all = listen.http.iter().chain(&listen.https).copied();
    let all: Vec<SocketAddr> = all.chain(one.into_iter().flatten()).collect();
    for (index, address) in all.iter().enumerate() {
        if address.port() != 0 && all[..index].contains(address) {
            let message = format!("`{}` has the address {address} twice", fields.path);
            fields.cx.error(
                &fields.value.span,
                message,
                "choose another port for one of them",
            );
        }
    }
}

/// One address, or several in an array.
fn addresses(field: &Field<'_>) -> Vec<SocketAddr> {
    if field.is_array() {
        return field.items().iter().filter_map(address).collect();
    }
    address(field).into_iter().collect()
}

fn address(field: &Field<'_>) -> Option<SocketAddr> {
    let text = field.text()?;
    match text.value.trim().parse() {
        Ok(address) => Some(address),
        Err(_) => {
            let message = format!("`{}` is no address: `{}`", field.path, text.value);
            let hint = "an IP address and a port, for example `127.0.0.1:8080` or `[::]:443`";
            field.cx.error(&text.span, message, hint);
            None
        }
    }
}

/// Whether it is a host's name: labels between dots, no `*`, no port.
pub fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// A host's name in lower case, without a port.
pub(super) fn name(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let name = text.value.trim().trim_end_matches('.').to_ascii_lowercase();
    if is_host_name(&name) {
        return Some(name);
    }
    let message = format!("`{}` is no host name: `{}`", field.path, text.value);
    let hint = "letters, digits and `-` between dots, for example `apps.example.com`";
    field.cx.error(&text.span, message, hint);
    None
}

pub(super) fn path(field: &Field<'_>) -> Option<PathBuf> {
    let text = field.text()?;
    let directory = field.cx.source.path().parent();
    Some(match directory {
        Some(directory) => directory.join(&text.value),
        None => PathBuf::from(text.value),
    })
}

pub(super) fn tls(fields: Fields<'_>) -> TlsConfig {
    let mut tls = TlsConfig::default();
    if let Some(redirect) = fields.get("redirect").and_then(|field| field.boolean()) {
        tls.redirect = redirect;
    }
    let certificates = fields.get("certificates");
    for one in certificates
        .map(|field| field.objects())
        .unwrap_or_default()
    {
        let certificate = one.require("certificate").and_then(|field| path(&field));
        let key = one.require("key").and_then(|field| path(&field));
        if let (Some(certificate), Some(key)) = (certificate, key) {
            tls.certificates.push(CertificateFiles { certificate, key });
        }
        one.finish_strict();
    }
    fields.finish_strict();
    tls
}

pub(super) fn acme(fields: Fields<'_>) -> Option<AcmeConfig> {
    let directory = match fields.get("directory") {
        Some(field) => https(&field),
        None => Some(DIRECTORY.to_owned()),
    };
    let email = fields.get("email").and_then(|field| mail(&field));
    let domains = fields.get("domains").map(|field| {
        let items = field.items();
        items.iter().filter_map(name).collect()
    });
    let ca = fields.get("ca").and_then(|field| path(&field));
    let accepted = fields.require("terms_accepted").and_then(|field| {
        let accepted = field.boolean()?;
        if !accepted {
            let message = format!("`{}` is `false`", field.path);
            let hint = "read the authority's terms and write `true`, or remove `[acme]`";
            field.cx.error(field.span(), message, hint);
        }
        Some(accepted)
    });
    let renew_before = fields.get("renew_before");
    fields.finish_strict();
    Some(AcmeConfig {
        renew_before: renew_before.and_then(|field| duration(&field)),
        directory: directory?,
        email,
        domains: domains.unwrap_or_default(),
        ca,
        terms_accepted: accepted?,
    })
}

fn https(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    if text.value.starts_with("https://") {
        return Some(text.value);
    }
    let message = format!("`{}` must begin with `https://`", field.path);
    field
        .cx
        .error(&text.span, message, format!("for example `{DIRECTORY}`"));
    None
}

fn mail(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let form = text.value.split_once('@');
    if form.is_some_and(|(user, host)| !user.is_empty() && host.contains('.')) {
        return Some(text.value);
    }
    let message = format!("`{}` is no e-mail address: `{}`", field.path, text.value);
    field
        .cx
        .error(&text.span, message, "for example `you@example.com`");
    None
}

/// Networks, or single addresses.
pub(super) fn networks(field: &Field<'_>) -> Vec<IpNet> {
    let items = field.items();
    items.iter().filter_map(network).collect()
}

fn network(field: &Field<'_>) -> Option<IpNet> {
    let text = field.text()?;
    let single = text.value.parse::<IpAddr>().map(IpNet::from);
    match text.value.parse::<IpNet>().or(single) {
        Ok(network) => Some(network),
        Err(_) => {
            let message = format!("`{}` is no network: `{}`", field.path, text.value);
            let hint = "an address, or one with the length of its prefix, for example `10.0.0.0/8`";
            field.cx.error(&text.span, message, hint);
            None
        }
    }
}
