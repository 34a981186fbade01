//! `berth registry credentials`: a user name and a password that says itself what it allows.

use std::process::ExitCode;

use berth_error::Report;
use berth_registry::auth::{Actions, Anonymous, Grant, Identity, Pattern, SignedCredentials};

use super::key;
use crate::cli::RegistryCredentialsArgs;
use crate::paths::Paths;
use crate::printer;

pub(crate) fn run(args: &RegistryCredentialsArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let authority = SignedCredentials::new(key(&args.storage, paths)?, Anonymous::Nothing);
    let everything = Grant {
        repositories: Pattern::all(),
        actions: Actions::ALL,
    };
    let identity = Identity {
        name: args.name.clone(),
        grants: match args.grants.as_slice() {
            [] => vec![everything],
            grants => grants.to_vec(),
        },
    };
    let seconds = (!args.expires.is_zero()).then_some(args.expires.as_secs());
    let password = authority.issue(&identity, seconds);
    let user = SignedCredentials::user();
    if args.json {
        let json = serde_json::json!({"username": user, "password": password});
        printer::line(json.to_string());
    } else {
        printer::line(password);
        printer::note(format!("The user name is `{user}`."));
    }
    Ok(ExitCode::SUCCESS)
}
