//! `berth containers registries configure`.

use std::process::ExitCode;

use berth_distribution::credentials::{Kind, Vault, gar, is_ecr};
use berth_error::{Report, ResultExt as _};
use berth_image::Reference;

use crate::cli::ConfigureArgs;
use crate::printer;
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

/// A host as image names have it.
fn check_domain(domain: &str) -> Result<(), Report> {
    let hub = ["index.docker.io", "registry-1.docker.io", "hub.docker.com"];
    if hub.contains(&domain) {
        return Err(Report::new(
            format!("`{domain}` is not what image names have"),
            Some("Docker Hub is `docker.io`".to_owned()),
        ));
    }
    let parsed = format!("{domain}/x").parse::<Reference>();
    if parsed.is_ok_and(|parsed| parsed.host() == domain) {
        return Ok(());
    }
    Err(Report::new(
        format!("`{domain}` is not the host of a registry"),
        Some("give it as image names have it, such as `registry.example.com:5000`".to_owned()),
    ))
}

fn kind(domain: &str) -> Kind {
    if domain == "docker.io" {
        Kind::DockerHub
    } else if is_ecr(domain) {
        Kind::Ecr
    } else if domain.ends_with("-docker.pkg.dev") {
        Kind::Gar
    } else {
        Kind::Default
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_the_name() {
        assert_eq!(kind("docker.io"), Kind::DockerHub);
        assert_eq!(
            kind("123456789012.dkr.ecr.us-east-1.amazonaws.com"),
            Kind::Ecr
        );
        assert_eq!(kind("europe-west1-docker.pkg.dev"), Kind::Gar);
        assert_eq!(kind("registry.example.com:5000"), Kind::Default);
        assert!(check_domain("registry.example.com:5000").is_ok());
        for bad in ["index.docker.io", "https://x.io", "x.io/a", "", "app"] {
            assert!(check_domain(bad).is_err(), "{bad}");
        }
    }
}
