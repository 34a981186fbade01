//! `berth containers registries credentials`: what a registry takes now, for other programs. Of ECR
//! this is a token of twelve hours, not the access key.

use std::process::ExitCode;

use berth_error::Report;
use serde_json::json;

use crate::base;
use crate::cli::CredentialsArgs;
use crate::paths::Paths;
use crate::printer;
use crate::transfer::print_json;

pub(super) async fn run(args: &CredentialsArgs, paths: &Paths) -> Result<ExitCode, Report> {
    if !(args.push || args.pull || args.library_push) {
        return Err(Report::new(
            "what are the credentials for?",
            Some("say `--push`, `--pull` or both".to_owned()),
        ));
    }
    let client = base::client(&paths.data)?;
    let default = client.registries().default.as_deref();
    let default = default.and_then(|default| default.split('/').next());
    let domain = args.domain.as_deref().or(default).ok_or_else(|| {
        Report::new(
            "no registry is named",
            Some("name one, or set `\"default\"` in `registries.json`".to_owned()),
        )
    })?;
    let credential = client.credential(domain).await?;
    let pair = credential
        .as_ref()
        .and_then(|found| Some((found.username()?, found.reveal_password()?)));
    let Some((username, password)) = pair else {
        return Err(Report::new(
            format!("no user and password are known for `{domain}`"),
            Some(format!(
                "configure it: `berth containers registries configure {domain}`, or log in: `berth \
                 docker login {domain}`"
            )),
        ));
    };
    if args.expiration_minutes.is_some() {
        printer::note(format!(
            "`{domain}` decides itself how long its credentials are good"
        ));
    }
    if args.json {
        print_json(&json!({
            "registry_host": domain,
            "username": username,
            "password": password,
        }))?;
    } else {
        printer::line(password);
    }
    Ok(ExitCode::SUCCESS)
}
