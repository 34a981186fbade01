//! `berth containers registries credentials`: what a registry takes now, for other programs. Without a
//! name it is a password for this machine's own registry; of ECR it is a token of twelve hours, not
//! the access key.

use std::process::ExitCode;
use std::time::Duration;

use berth_error::Report;
use berth_registry::auth::{Actions, Grant, Pattern};
use serde_json::json;

use crate::base;
use crate::cli::{CredentialsArgs, RegistryCommand, RegistryCredentialsArgs, RegistryStorageArgs};
use crate::commands::registry;
use crate::paths::Paths;
use crate::printer;
use crate::transfer::print_json;

/// How long a password is good if that is not said, as in wrangler.
const MINUTES: u32 = 15;

pub(super) async fn run(args: &CredentialsArgs, paths: &Paths) -> Result<ExitCode, Report> {
    if !(args.push || args.pull || args.library_push) {
        return Err(Report::new(
            "what are the credentials for?",
            Some("say `--push`, `--pull` or both".to_owned()),
        ));
    }
    let Some(domain) = args.domain.as_deref() else {
        return own(args, paths).await;
    };
    let client = base::client(&paths.data)?;
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

/// A password that `berth registry serve` of this data directory takes for a while.
async fn own(args: &CredentialsArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let actions = Actions {
        pull: args.pull,
        push: args.push || args.library_push,
        delete: false,
    };
    let credentials = RegistryCredentialsArgs {
        name: "operator".to_owned(),
        grants: vec![Grant {
            repositories: Pattern::all(),
            actions,
        }],
        expires: Duration::from_secs(60 * u64::from(args.expiration_minutes.unwrap_or(MINUTES))),
        storage: RegistryStorageArgs::default(),
        json: args.json,
    };
    registry::run(RegistryCommand::Credentials(credentials), paths).await
}
