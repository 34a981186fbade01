//! `berth rollback`.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use berth_client::ClientError;
use berth_error::Report;

use super::versions::Of;
use crate::cli::RollbackArgs;
use crate::paths::Paths;
use crate::{printer, secret};

/// Secrets were changed since the version.
const SECRETS_CHANGED: u32 = 10220;

pub(crate) async fn run(args: &RollbackArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let of = Of::find(&args.worker, paths)?;
    let version = match &args.version {
        Some(version) => of.id(version).await?,
        None => before(&of).await?,
    };
    let asks = !args.yes && !args.json && std::io::stdin().is_terminal();
    let question = format!("Go back to {version} of `{}`?", of.name);
    if asks && !secret::confirm(&question)? {
        printer::line("nothing was changed");
        return Ok(ExitCode::SUCCESS);
    }
    let message = args.message.as_deref().unwrap_or("Rollback");
    let mut made = of.make_live(&version, Some(message), false).await;
    if let Err(error) = &made
        && error.code() == Some(SECRETS_CHANGED)
        && (args.yes || (asks && secret::confirm(&format!("{error}. Go back nevertheless?"))?))
    {
        made = of.make_live(&version, Some(message), true).await;
    }
    let deployment = made.map_err(refused)?;
    of.say_live(&deployment, &version, args.json)
}

fn refused(error: ClientError) -> Report {
    let changed = error.code() == Some(SECRETS_CHANGED);
    let report = Report::from(error);
    match changed {
        true => {
            report.with_hint("`--yes` goes back nevertheless, with the secrets of that version")
        }
        false => report,
    }
}

/// The version that was live before the one that is.
async fn before(of: &Of) -> Result<String, Report> {
    let deployments = of.deployments().await?;
    let mut versions = deployments
        .iter()
        .filter_map(|deployment| deployment["versions"][0]["version_id"].as_str());
    let live = versions.next();
    let before = versions.find(|version| Some(*version) != live);
    before.map(str::to_owned).ok_or_else(|| {
        Report::new(
            format!("no other version of `{}` was live before", of.name),
            Some("name one: `berth versions list` shows what there is".to_owned()),
        )
    })
}
