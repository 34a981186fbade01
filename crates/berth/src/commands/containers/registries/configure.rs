//! `berth containers registries configure`.

use std::process::ExitCode;

use berth_distribution::credentials::{Kind, Vault, gar};
use berth_error::{Report, ResultExt as _};

use crate::cli::ConfigureArgs;
use crate::printer;
use crate::registries::{check_domain, kind};
use crate::secret;
use crate::transfer::print_json;

pub(super) fn run(vault: &Vault, args: &ConfigureArgs) -> Result<ExitCode, Report> {
    let domain = &args.domain;
    check_domain(domain)?;
    let kind = kind(domain);
    let public = public_credential(args, kind)?;
    let what = match kind {
        Kind::Ecr => "the secret access key",
        Kind::Gar => "the key of the service account",
        Kind::DockerHub => "the access token",
        Kind::Default => "the password",
    };
    if vault.list()?.iter().any(|(known, ..)| known == domain) {
        return Err(exists(domain));
    }
    let mut secret = secret::read(what)?;
    if kind == Kind::Gar {
        if std::path::Path::new(&secret).is_file() {
            secret = fs_err::read_to_string(&secret).context("could not read the key")?;
        }
        secret = gar::encode_key(&secret, public)?;
    }
    if !vault.add(domain, kind, public, &secret)? {
        return Err(exists(domain));
    }
    if args.json {
        print_json(&serde_json::json!({
            "domain": domain,
            "kind": kind,
            "public_credential": public,
        }))?;
    } else {
        printer::line(format!("configured {domain} ({kind}) for {public}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn exists(domain: &str) -> Report {
    Report::new(
        format!("`{domain}` is configured already"),
        Some(format!(
            "to change it: `berth containers registries delete {domain}`, then configure it again"
        )),
    )
}

/// The user, by the flag that belongs to the kind of registry.
fn public_credential(args: &ConfigureArgs, kind: Kind) -> Result<&str, Report> {
    let flags = [
        ("--aws-access-key-id", Kind::Ecr, &args.aws_access_key_id),
        (
            "--dockerhub-username",
            Kind::DockerHub,
            &args.dockerhub_username,
        ),
        ("--gar-email", Kind::Gar, &args.gar_email),
        ("--username", Kind::Default, &args.username),
    ];
    let mut wanted = "";
    let mut found = args.public_credential.as_deref();
    for (flag, of, value) in flags {
        if of == kind {
            wanted = flag;
            found = found.or(value.as_deref());
        } else if value.is_some() {
            return Err(Report::new(
                format!(
                    "{flag} is not for `{}`, which is of the kind {kind}",
                    args.domain
                ),
                None,
            ));
        }
    }
    found.filter(|value| !value.is_empty()).ok_or_else(|| {
        Report::new(
            format!("`{}` needs {wanted}", args.domain),
            Some(format!(
                "`berth containers registries configure {} {wanted} <value>`; the secret comes from \
                 standard input",
                args.domain
            )),
        )
    })
}
