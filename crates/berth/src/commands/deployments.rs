//! `berth deployments`.

use std::process::ExitCode;

use berth_error::Report;
use serde_json::Value;

use super::versions::{Of, word};
use crate::cli::DeploymentsCommand;
use crate::paths::Paths;
use crate::printer;
use crate::table::Table;

/// Deployments that are listed for people.
const SHOWN: usize = 10;

pub(crate) async fn run(command: DeploymentsCommand, paths: &Paths) -> Result<ExitCode, Report> {
    let (worker, json, all) = match &command {
        DeploymentsCommand::List { worker, json } => (worker, *json, true),
        DeploymentsCommand::Status { worker, json } => (worker, *json, false),
    };
    let of = Of::find(worker, paths)?;
    let mut deployments = of.deployments().await?;
    if !all {
        deployments.truncate(1);
    }
    if json {
        return printer::json(&match all {
            true => deployments.into(),
            false => deployments.pop().unwrap_or(Value::Null),
        });
    }
    if deployments.is_empty() {
        printer::line(format!("nothing of `{}` is deployed", of.name));
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["CREATED", "VERSION", "AUTHOR", "MESSAGE"]);
    for deployment in deployments.iter().take(SHOWN) {
        table.row([
            word(&deployment["created_on"]),
            word(&deployment["versions"][0]["version_id"]),
            word(&deployment["author_email"]),
            word(&deployment["annotations"]["workers/message"]),
        ]);
    }
    printer::line(table.render());
    let pending = of.pending().await?;
    if !pending.is_null() {
        let version = word(&pending["version_id"]);
        printer::line(format!(
            "Version {version} of {} waits for its containers (`rollout: \"atomic\"`) and is not live: its \
             deployment goes on, or has ended half-way. Deploy again, or make it live with the containers as they \
             are: `berth versions deploy {version}`",
            word(&pending["created_on"]),
        ));
    }
    Ok(ExitCode::SUCCESS)
}
